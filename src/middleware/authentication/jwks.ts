// The keys of one issuer: given directly, or fetched from its JWK Set URL (RFC 7517), cached, rotated, cooled down.
import type { CallContext } from "../../call/context.ts";
import { describeError } from "../../call/error-description.ts";
import { isObject } from "./compact-jws.ts";
import {
  keyFromJwk,
  type SignatureAlgorithm,
  UnusableKey,
  type VerificationKey,
} from "./verification-key.ts";

/** Which key a token asks for. */
export interface KeyQuery {
  readonly alg: SignatureAlgorithm;
  readonly kid: string | undefined;
}

export interface KeySource {
  /**
   * The keys that may have signed such a token: none where no key fits, a promise only where keys must be fetched.
   * A rejection means that the keys are out of reach, not that the token is bad. `call` gives the logger.
   */
  find(query: KeyQuery, call: CallContext): readonly VerificationKey[] | Promise<readonly VerificationKey[]>;
  /** Is the key still one of this issuer's? */
  holds(key: VerificationKey, call: CallContext): boolean;
}

/** A token without `kid` is tried against so many keys at most: each try is a signature to compute. */
const maxCandidates = 10;

/** The set is fetched again in the background once it is older than this. */
const refreshAfterMs = 600_000;
/** A token with a key id that nobody knows may cause one fetch in this time, whoever sends how many of them. */
const unknownKeyCooldownMs = 30_000;
/** After a failed fetch the provider is left alone for this long. */
const failureCooldownMs = 3_000;
const fetchTimeoutMs = 5_000;
const maxResponseBytes = 1024 * 1024;
const maxKeys = 100;

/** Keys that never change. One without a `kid` (PEM, KeyObject) fits any `kid` of its algorithm. */
export function fixedKeys(keys: readonly VerificationKey[]): KeySource {
  return {
    find: ({ alg, kid }) =>
      candidates(
        keys,
        (key) =>
          key.algorithms.includes(alg) && (kid === undefined || key.kid === undefined || key.kid === kid),
      ),
    holds: (key) => keys.includes(key),
  };
}

/** Keys from `uri`, which the caller of this function has checked to be https (or http to loopback). */
export function remoteJwks(uri: URL): KeySource {
  return new RemoteJwks(uri);
}

class RemoteJwks implements KeySource {
  readonly #uri: URL;
  /** For the log: a query may hold a secret. */
  readonly #place: string;
  /** The last good set, by the text of each key: a key that stays is imported once and stays the same object. */
  #keys: ReadonlyMap<string, VerificationKey> | undefined = undefined;
  #present: ReadonlySet<VerificationKey> = new Set();
  #pending: Promise<void> | undefined = undefined;
  /** Why the last fetch failed; undefined after one that succeeded. */
  #failure: Error | undefined = undefined;
  #reportedIgnored = "";
  // Times of the monotonic clock, in milliseconds: setting the wall clock back must not stop the refresh.
  #refreshAt = 0;
  #unknownKeyFetchAt = 0;
  #retryAt = 0;

  constructor(uri: URL) {
    this.#uri = uri;
    this.#place = `${uri.origin}${uri.pathname}`;
  }

  find(query: KeyQuery, call: CallContext): readonly VerificationKey[] | Promise<readonly VerificationKey[]> {
    if (this.#keys === undefined) return this.#fetchThenFind(query, call);
    this.#refreshIfOld(call);
    const found = this.#fitting(query);
    return found.length > 0 ? found : this.#findUnknown(query, call);
  }

  holds(key: VerificationKey, call: CallContext): boolean {
    this.#refreshIfOld(call);
    return this.#present.has(key);
  }

  #fitting({ alg, kid }: KeyQuery): readonly VerificationKey[] {
    return candidates(
      this.#present,
      (key) => key.algorithms.includes(alg) && (kid === undefined || key.kid === kid),
    );
  }

  /** Nobody waits for it: the last good set serves until a better one is there, through an outage as well. */
  #refreshIfOld(call: CallContext): void {
    if (this.#pending !== undefined) return;
    const now = performance.now();
    if (now < this.#refreshAt || now < this.#retryAt) return;
    this.#fetchOnce(call).catch(() => {
      // Reported by #fetchOnce; the next call after the cooldown tries again.
    });
  }

  /**
   * No key fits: the issuer may have rotated. One fetch serves all who wait. The cooldown starts with a fetch that an
   * unknown key caused and with no other, so a rotation right after start or refresh is seen at once, and one that a
   * flood of made-up ids has slowed down is seen after the cooldown at the latest.
   */
  #findUnknown(
    query: KeyQuery,
    call: CallContext,
  ): readonly VerificationKey[] | Promise<readonly VerificationKey[]> {
    if (this.#pending === undefined && this.#failure === undefined) {
      const now = performance.now();
      if (now < this.#unknownKeyFetchAt) return [];
      this.#unknownKeyFetchAt = now + unknownKeyCooldownMs;
    }
    return this.#fetchThenFind(query, call);
  }

  async #fetchThenFind(query: KeyQuery, call: CallContext): Promise<readonly VerificationKey[]> {
    // While the provider is away nobody can say whether a key id is made up or new, so this is not the caller's fault.
    if (this.#pending === undefined && this.#failure !== undefined && performance.now() < this.#retryAt) {
      throw new Error(`the keys at ${this.#uri.origin} are out of reach`, { cause: this.#failure });
    }
    await this.#fetchOnce(call);
    return this.#fitting(query);
  }

  #fetchOnce(call: CallContext): Promise<void> {
    this.#pending ??= this.#fetch(call).finally(() => {
      this.#pending = undefined;
    });
    return this.#pending;
  }

  async #fetch(call: CallContext): Promise<void> {
    try {
      const jwks = await fetchJwks(this.#uri);
      this.#replace(jwks, call);
      this.#failure = undefined;
      this.#refreshAt = performance.now() + refreshAfterMs;
    } catch (error) {
      this.#failure = error instanceof Error ? error : new Error(String(error));
      this.#retryAt = performance.now() + failureCooldownMs;
      call.log.warn(
        { err: describeError(this.#failure), jwks: this.#place },
        this.#keys === undefined
          ? "the issuer's keys could not be fetched, and none are cached"
          : "the issuer's keys could not be fetched; the last good ones stay",
      );
      throw this.#failure;
    }
  }

  #replace(jwks: readonly Readonly<Record<string, unknown>>[], call: CallContext): void {
    const keys = new Map<string, VerificationKey>();
    const ignored: string[] = [];
    for (const [index, jwk] of jwks.entries()) {
      const { kty, kid, alg, use, key_ops, n, e, crv, x, y } = jwk;
      const text = JSON.stringify([kty, kid, alg, use, key_ops, n, e, crv, x, y, "d" in jwk, "k" in jwk]);
      try {
        keys.set(text, this.#keys?.get(text) ?? keyFromJwk(jwk));
      } catch (error) {
        if (!(error instanceof UnusableKey)) throw error;
        ignored.push(`key ${index} ${error.message}`);
      }
    }
    this.#keys = keys;
    this.#present = new Set(keys.values());
    this.#reportIgnored(ignored, call);
  }

  /** Once for each change, not at every refresh: a set may hold keys for encryption and be in good order. */
  #reportIgnored(ignored: readonly string[], call: CallContext): void {
    const text = ignored.join("; ");
    if (text !== "" && text !== this.#reportedIgnored) {
      call.log.info({ jwks: this.#place, ignored }, "keys of the issuer's JWK Set are ignored");
    }
    this.#reportedIgnored = text;
  }
}

function candidates(
  keys: Iterable<VerificationKey>,
  fits: (key: VerificationKey) => boolean,
): VerificationKey[] {
  const found: VerificationKey[] = [];
  for (const key of keys) {
    if (!fits(key)) continue;
    found.push(key);
    if (found.length === maxCandidates) break;
  }
  return found;
}

/**
 * Throws for everything that is not a well-formed JWK Set (RFC 7517 section 5), so that it never replaces a good one.
 * A well-formed set is what the issuer says, an empty one included: then it vouches for no key.
 */
async function fetchJwks(uri: URL): Promise<readonly Readonly<Record<string, unknown>>[]> {
  // A redirect could lead anywhere, to plain http too.
  const response = await fetch(uri, {
    redirect: "error",
    headers: { accept: "application/jwk-set+json, application/json" },
    signal: AbortSignal.timeout(fetchTimeoutMs),
  });
  if (response.status !== 200) {
    await response.body?.cancel();
    throw new Error(`the JWK Set URL answered HTTP ${response.status}`);
  }
  const set: unknown = JSON.parse(await readBounded(response));
  if (!isObject(set) || !Array.isArray(set["keys"]))
    throw new Error("the answer is not a JWK Set: no array `keys`");
  const jwks: unknown[] = set["keys"];
  if (jwks.length > maxKeys) throw new Error(`the JWK Set has more than ${maxKeys} keys`);
  if (!jwks.every(isJwk)) throw new Error("the answer is not a JWK Set: a key has no `kty`");
  return jwks;
}

function isJwk(value: unknown): value is Record<string, unknown> {
  return isObject(value) && typeof value["kty"] === "string";
}

async function readBounded(response: Response): Promise<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let bytes = 0;
  let text = "";
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength;
    // Leaving the loop cancels the body.
    if (bytes > maxResponseBytes) throw new Error(`the JWK Set is larger than ${maxResponseBytes} bytes`);
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}
