/**
 * The keys of one issuer: given directly, or fetched from its JWK Set URL (RFC 7517) and kept for a while.
 *
 * What a token gets whose key (`kid`) is not in the set at hand:
 *
 * - The set is requested again. If the request began after the token arrived and the answer lacks the key, the issuer itself
 *   says that it has no such key: the token is invalid, and counts as a failed login. Issuers publish a key before they sign
 *   with it (OpenID Connect Core section 10.1.1), so no honest token gets this answer.
 * - If no such request can be made (the issuer is away, or too many were made just now), nobody can tell a made-up key from
 *   a new one: the caller is told UNAVAILABLE, and nothing is counted. An attacker gains no guess by that: a token whose key
 *   nobody knows is compared with nothing. It costs less than one that is verified, and limits by peer count it.
 *
 * The same holds for a token without `kid` of an issuer whose keys have none, where no key at hand verifies it. A token that
 * names a known key and is not signed by it is forged: an issuer that replaces a key under the same `kid` is understood
 * when the set is refreshed.
 *
 * A flood of made-up keys causes `maxUnknownKeyRequests` requests at once and then one in `unknownKeyRequestEveryMs`,
 * whoever sends it. Each answer serves all callers, so the flood delays callers with a new key by that time at most. All who
 * wait share a request, but for those who came when the issuer had perhaps read it: its answer may be older than their key.
 *
 * Removed keys: after `maxAgeMs` a set is requested before any of its keys is believed, however long nobody called; from
 * half of that time on it is requested in the background, so that on a busy server nobody waits. Only while the issuer is
 * away, which is when a request failed within `awayMs`, older keys are believed, until `maxStaleMs`.
 */
import type { CallContext } from "../../chain/context.ts";
import { describeError } from "../../observability/error-description.ts";
import { LogThrottle } from "../../observability/log-throttle.ts";
import { type JwksAnswer, requestJwks } from "./jwks-request.ts";
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
   * The keys that may have signed such a token: none where the issuer has none that fits, a promise only where keys must be
   * fetched. A rejection means that nobody can tell now, not that the token is bad. `call` gives the logger.
   */
  find(query: KeyQuery, call: CallContext): readonly VerificationKey[] | Promise<readonly VerificationKey[]>;
  /**
   * For a token without `kid` that was signed by none of the keys that `find` gave: others that may have signed it. An
   * issuer whose keys have no `kid` may have rotated them, and nothing else tells.
   */
  findOthers(
    query: KeyQuery,
    tried: readonly VerificationKey[],
    call: CallContext,
  ): readonly VerificationKey[] | Promise<readonly VerificationKey[]>;
  /** Is the key one of this issuer's, as far as can be told without waiting? */
  holds(key: VerificationKey, call: CallContext): boolean;
}

/** A token without `kid` is tried against so many keys at most: each try is a signature to compute. */
const maxCandidates = 10;

/** How long a set is believed, unless the issuer says less. */
const maxAgeMs = 600_000;
/** An issuer that says less is asked no more often than this; `max-age=0` is ignored. */
const minMaxAgeMs = 60_000;
const maxUnknownKeyRequests = 5;
const unknownKeyRequestEveryMs = 10_000;
/** After a failed request the issuer is left alone for this long. */
const failureCooldownMs = 3_000;
const awayMs = 60_000;
/** What happens with each request is logged once in this time. */
const logEveryMs = 60_000;

/** Keys that never change. One without a `kid` (PEM, KeyObject) fits any `kid` of its algorithm. */
export function fixedKeys(keys: readonly VerificationKey[]): KeySource {
  return {
    find: ({ alg, kid }) =>
      candidates(
        keys,
        (key) =>
          key.algorithms.includes(alg) && (kid === undefined || key.kid === undefined || key.kid === kid),
      ),
    findOthers: () => [],
    holds: (key) => keys.includes(key),
  };
}

export interface RemoteJwksOptions {
  /** How long keys are believed while the issuer is away, in milliseconds since they were requested. */
  readonly maxStaleMs: number;
}

/** Keys from `uri`, which the caller of this function has checked to be https (or http to loopback). */
export function remoteJwks(uri: URL, options: RemoteJwksOptions): KeySource {
  return new RemoteJwks(uri, options);
}

/** Times are of the monotonic clock, in milliseconds: setting the wall clock back must not make keys young again. */
interface KeySet {
  /** By the text of each key: one that stays is imported once and stays the same object. */
  readonly byText: ReadonlyMap<string, VerificationKey>;
  readonly keys: ReadonlySet<VerificationKey>;
  /** When the request began: what the issuer changed later is not in the set. */
  readonly requestedAt: number;
  readonly maxAgeMs: number;
}

interface KeyRequest {
  /** Not yet connected, so that the answer will be younger than every token that is here by now. */
  joinable: boolean;
  /** Never rejects: what came of it stands in the fields of `RemoteJwks`. */
  readonly done: Promise<void>;
}

/** Looks into the set at hand. */
type Look = () => readonly VerificationKey[];

class RemoteJwks implements KeySource {
  readonly #uri: URL;
  /** For the log: a query may hold a secret. */
  readonly #place: string;
  readonly #maxStaleMs: number;
  /** The last good set. */
  #set: KeySet | undefined = undefined;
  #request: KeyRequest | undefined = undefined;
  /** Of the last request; undefined after one that succeeded. */
  #failure: { readonly error: Error; readonly at: number } | undefined = undefined;
  readonly #unknownKeys = new TokenBucket(maxUnknownKeyRequests, unknownKeyRequestEveryMs);
  readonly #logged = new LogThrottle({ periodMs: logEveryMs });
  #reportedIgnored = "";

  constructor(uri: URL, { maxStaleMs }: RemoteJwksOptions) {
    this.#uri = uri;
    this.#place = `${uri.origin}${uri.pathname}`;
    this.#maxStaleMs = maxStaleMs;
  }

  find(query: KeyQuery, call: CallContext): readonly VerificationKey[] | Promise<readonly VerificationKey[]> {
    // A key is for its own algorithms: one that is known and named with another says enough.
    if (this.#knows(query.kid, call)) return this.#fitting(query, call);
    return this.#find(() => this.#fitting(query, call), call);
  }

  #knows(kid: string | undefined, call: CallContext): boolean {
    if (kid === undefined) return false;
    for (const key of this.#believed(call)?.keys ?? []) if (key.kid === kid) return true;
    return false;
  }

  findOthers(
    query: KeyQuery,
    tried: readonly VerificationKey[],
    call: CallContext,
  ): readonly VerificationKey[] | Promise<readonly VerificationKey[]> {
    const namesAll = [...(this.#set?.keys ?? [])].every(({ kid }) => kid !== undefined);
    if (namesAll) return [];
    return this.#find(() => this.#fitting(query, call).filter((key) => !tried.includes(key)), call);
  }

  #find(look: Look, call: CallContext): readonly VerificationKey[] | Promise<readonly VerificationKey[]> {
    const found = look();
    return found.length > 0 ? found : this.#findLater(look, call);
  }

  holds(key: VerificationKey, call: CallContext): boolean {
    return this.#believed(call)?.keys.has(key) === true;
  }

  /** The set at hand, where it is believed. The next one is requested in good time; nobody waits for that. */
  #believed(call: CallContext): KeySet | undefined {
    const set = this.#set;
    if (set === undefined) return undefined;
    const now = performance.now();
    const age = now - set.requestedAt;
    if (age >= set.maxAgeMs / 2 && this.#request === undefined && !this.#justFailed(now)) this.#begin(call);
    if (age < set.maxAgeMs) return set;
    return age < this.#maxStaleMs && this.#isAway(now) ? set : undefined;
  }

  #fitting({ alg, kid }: KeyQuery, call: CallContext): readonly VerificationKey[] {
    return candidates(
      this.#believed(call)?.keys ?? [],
      (key) => key.algorithms.includes(alg) && (kid === undefined || key.kid === kid),
    );
  }

  /** Waits for a request that began after the token arrived: the second one at the latest. */
  async #findLater(look: Look, call: CallContext): Promise<readonly VerificationKey[]> {
    let request = this.#request ?? this.#beginFor(call);
    const { joinable } = request;
    await request.done;
    let found = look();
    if (found.length > 0 || joinable) return this.#answer(found);
    request = this.#request ?? this.#beginFor(call);
    await request.done;
    found = look();
    return this.#answer(found);
  }

  #answer(found: readonly VerificationKey[]): readonly VerificationKey[] {
    if (found.length === 0 && this.#failure !== undefined) throw this.#outOfReach(this.#failure.error);
    return found;
  }

  /** For a token that no believed key fits. Throws where no request can be made now. */
  #beginFor(call: CallContext): KeyRequest {
    const now = performance.now();
    if (this.#failure !== undefined && this.#justFailed(now)) throw this.#outOfReach(this.#failure.error);
    const isDue = this.#set === undefined || now - this.#set.requestedAt >= this.#set.maxAgeMs;
    if (!isDue && !this.#unknownKeys.take(now)) {
      this.#log(call, "warn", {}, "tokens name unknown keys more often than the issuer's keys are fetched");
      throw new Error(
        `the token's key (kid, alg) is not known yet, and the keys at ${this.#uri.origin} were fetched too often just now`,
      );
    }
    return this.#begin(call);
  }

  #justFailed(now: number): boolean {
    return this.#failure !== undefined && now - this.#failure.at < failureCooldownMs;
  }

  #isAway(now: number): boolean {
    return this.#failure !== undefined && now - this.#failure.at < awayMs;
  }

  #outOfReach(cause: Error): Error {
    return new Error(`the keys at ${this.#uri.origin} are out of reach`, { cause });
  }

  #begin(call: CallContext): KeyRequest {
    const done = this.#load(call, () => {
      request.joinable = false;
    }).then(() => {
      this.#request = undefined;
    });
    const request: KeyRequest = { joinable: true, done };
    this.#request = request;
    return request;
  }

  async #load(call: CallContext, onConnect: () => void): Promise<void> {
    const requestedAt = performance.now();
    try {
      this.#replace(await requestJwks(this.#uri, onConnect), requestedAt, call);
      if (this.#failure !== undefined)
        this.#log(call, "info", {}, "the issuer's keys could be fetched again");
      this.#failure = undefined;
    } catch (thrown) {
      const error = thrown instanceof Error ? thrown : new Error(String(thrown));
      this.#failure = { error, at: performance.now() };
      this.#log(call, "warn", { err: describeError(error) }, this.#consequence(performance.now()));
    }
  }

  #consequence(now: number): string {
    if (this.#set === undefined) return "the issuer's keys could not be fetched, and none are cached";
    return now - this.#set.requestedAt < this.#maxStaleMs
      ? "the issuer's keys could not be fetched; the last good ones serve until maxStaleSec"
      : "the issuer's keys could not be fetched, and the last good ones are older than maxStaleSec";
  }

  #replace({ keys: jwks, maxAgeMs: said }: JwksAnswer, requestedAt: number, call: CallContext): void {
    const byText = new Map<string, VerificationKey>();
    const ignored: string[] = [];
    for (const [index, jwk] of jwks.entries()) {
      const { kty, kid, alg, use, key_ops, n, e, crv, x, y } = jwk;
      const text = JSON.stringify([kty, kid, alg, use, key_ops, n, e, crv, x, y, "d" in jwk, "k" in jwk]);
      try {
        byText.set(text, this.#set?.byText.get(text) ?? keyFromJwk(jwk));
      } catch (error) {
        if (!(error instanceof UnusableKey)) throw error;
        ignored.push(`key ${index} ${error.message}`);
      }
    }
    this.#set = {
      byText,
      keys: new Set(byText.values()),
      requestedAt,
      maxAgeMs: Math.min(boundedAge(said), this.#maxStaleMs),
    };
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

  #log(call: CallContext, level: "info" | "warn", details: object, message: string): void {
    const leftOut = this.#logged.admit(message);
    if (leftOut === undefined) return;
    call.log[level]({ ...details, jwks: this.#place, left_out: leftOut }, message);
  }
}

function boundedAge(said: number | undefined): number {
  return said === undefined || said === 0 ? maxAgeMs : Math.min(Math.max(said, minMaxAgeMs), maxAgeMs);
}

/** Counted in whole times and not in parts of tokens, which do not add up. */
class TokenBucket {
  readonly #refillMs: number;
  readonly #emptyMs: number;
  #fullAt = 0;

  constructor(capacity: number, refillMs: number) {
    this.#refillMs = refillMs;
    this.#emptyMs = capacity * refillMs;
  }

  take(now: number): boolean {
    const fullAt = Math.max(now, this.#fullAt) + this.#refillMs;
    if (fullAt - now > this.#emptyMs) return false;
    this.#fullAt = fullAt;
    return true;
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
