/**
 * The keys of one issuer, fetched from its JWK Set URL (RFC 7517), which may be discovered, and kept for a while.
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
import { describeError } from "../../../observability/error-description.ts";
import { LogThrottle } from "../../../observability/log-throttle.ts";
import { type JwkSet, requestJwkSet } from "./jwk-set.ts";
import type { JwksLocation } from "./jwks-location.ts";
import { type KeySet, type KeySource, keySet, type Logging } from "./key-set.ts";
import { publicJwkFrom, UnusableKey } from "./public-jwk.ts";

/** How long a set is believed, unless the issuer says less. */
const maxAgeMs = 600_000;
/** An issuer that says less is asked no more often than this; `max-age=0` is ignored. */
const minMaxAgeMs = 60_000;
const maxUnknownKeyRequests = 5;
const unknownKeyRequestEveryMs = 10_000;
/** After a failed request the issuer is left alone for this long. */
const failureCooldownMs = 3_000;
const awayMs = 60_000;
/** For the whole answer. Less than the default of `deadline.checkTimeoutMs`, so that a call can still use older keys. */
const timeoutMs = 4_000;
/** What happens with each request is logged once in this time. */
const logEveryMs = 60_000;

export interface RemoteJwksOptions {
  /** How long keys are believed while the issuer is away, in milliseconds since they were requested. */
  readonly maxStaleMs: number;
}

/** Keys from there. */
export function remoteJwks(location: JwksLocation, options: RemoteJwksOptions): KeySource {
  return new RemoteJwks(location, options);
}

/** Times are of the monotonic clock, in milliseconds: setting the wall clock back must not make keys young again. */
interface Answer {
  readonly keys: KeySet;
  /** When the request began: what the issuer changed later is not in the set. */
  readonly requestedAt: number;
  readonly maxAgeMs: number;
}

class RemoteJwks implements KeySource {
  readonly #location: JwksLocation;
  readonly #maxStaleMs: number;
  /** The last good one. */
  #answer: Answer | undefined = undefined;
  /** The request under way. Never rejects: what came of it stands in `#answer` and `#failure`. */
  #request: Promise<void> | undefined = undefined;
  #requestsSent = 0;
  #answeredRequest = 0;
  /** Of the last request; undefined after one that succeeded. */
  #failure: { readonly error: Error; readonly at: number } | undefined = undefined;
  readonly #unknownKeys = new TokenBucket(maxUnknownKeyRequests, unknownKeyRequestEveryMs);
  readonly #logged = new LogThrottle({ periodMs: logEveryMs });
  #reportedIgnored = "";

  constructor(location: JwksLocation, { maxStaleMs }: RemoteJwksOptions) {
    this.#location = location;
    this.#maxStaleMs = maxStaleMs;
  }

  get requestsSent(): number {
    return this.#requestsSent;
  }

  get answeredRequest(): number {
    return this.#answeredRequest;
  }

  /** The next set is requested in good time; nobody waits for that. */
  believed(call: Logging): KeySet | undefined {
    const answer = this.#answer;
    if (answer === undefined) return undefined;
    const now = performance.now();
    const age = now - answer.requestedAt;
    if (age >= answer.maxAgeMs / 2 && this.#request === undefined && !this.#justFailed(now))
      this.#begin(call);
    if (age < answer.maxAgeMs) return answer.keys;
    return age < this.#maxStaleMs && this.#isAway(now) ? answer.keys : undefined;
  }

  async renew(call: Logging): Promise<void> {
    const before = this.believed(call);
    await (this.#request ?? this.#beginFor(call));
    if (this.#failure === undefined) return;
    // Older keys are believed again while the issuer is away, and nobody has looked at them yet.
    if (this.believed(call) === before) throw this.#outOfReach(this.#failure.error);
  }

  /** For a token that no believed key fits. Throws where no request can be made now. */
  #beginFor(call: Logging): Promise<void> {
    const now = performance.now();
    if (this.#failure !== undefined && this.#justFailed(now)) throw this.#outOfReach(this.#failure.error);
    const isDue = this.#answer === undefined || now - this.#answer.requestedAt >= this.#answer.maxAgeMs;
    if (!isDue && !this.#unknownKeys.take(now)) {
      this.#log(
        call,
        "warn",
        {},
        "too many tokens name unknown keys; the issuer's keys are not fetched for each of them",
      );
      throw new Error(
        `the token's key (kid, alg) is not known yet, and the keys at ${this.#location.place} were fetched too often recently`,
      );
    }
    // Perhaps the keys have moved, and the new key is there.
    return this.#begin(call, !isDue);
  }

  #justFailed(now: number): boolean {
    return this.#failure !== undefined && now - this.#failure.at < failureCooldownMs;
  }

  #isAway(now: number): boolean {
    return this.#failure !== undefined && now - this.#failure.at < awayMs;
  }

  #outOfReach(cause: Error): Error {
    return new Error(`the keys at ${this.#location.place} cannot be fetched`, { cause });
  }

  #begin(call: Logging, anew = false): Promise<void> {
    const request = this.#load(call, anew).finally(() => {
      this.#request = undefined;
    });
    this.#request = request;
    return request;
  }

  async #load(call: Logging, anew: boolean): Promise<void> {
    const requestedAt = performance.now();
    try {
      this.#accept(await this.#requestKeys(anew), requestedAt, call);
      if (this.#failure !== undefined)
        this.#log(call, "info", {}, "the issuer's keys could be fetched again");
      this.#failure = undefined;
    } catch (thrown) {
      const error = thrown instanceof Error ? thrown : new Error(String(thrown));
      this.#failure = { error, at: performance.now() };
      this.#log(call, "warn", { err: describeError(error) }, this.#consequence(performance.now()));
    }
  }

  async #requestKeys(anew: boolean): Promise<JwkSet> {
    const signal = AbortSignal.timeout(timeoutMs);
    let isRemembered = false;
    try {
      const found = await this.#location.find({ signal, anew });
      isRemembered = found.isRemembered;
      return await requestJwkSet(found.uri, signal, () => {
        this.#requestsSent += 1;
      });
    } catch (cause) {
      if (isRemembered) this.#location.forget();
      if (signal.aborted) throw new Error(`no complete answer within ${timeoutMs} ms`, { cause });
      throw cause;
    }
  }

  #consequence(now: number): string {
    if (this.#answer === undefined) return "the issuer's keys could not be fetched, and none are cached";
    return now - this.#answer.requestedAt < this.#maxStaleMs
      ? "the issuer's keys could not be fetched; the last good ones are used until maxStaleSec"
      : "the issuer's keys could not be fetched, and the last good ones are older than maxStaleSec";
  }

  #accept({ keys: published, maxAgeMs: said }: JwkSet, requestedAt: number, call: Logging): void {
    const ignored: string[] = [];
    const usable = published.flatMap((jwk, index) => {
      try {
        return [publicJwkFrom(jwk)];
      } catch (error) {
        if (!(error instanceof UnusableKey)) throw error;
        ignored.push(`key ${index} ${error.message}`);
        return [];
      }
    });
    const next = keySet(usable);
    const last = this.#answer?.keys;
    // Tokens that the same keys verified before stay verified.
    const keys = last?.text === next.text ? last : next;
    this.#answer = { keys, requestedAt, maxAgeMs: Math.min(boundedAge(said), this.#maxStaleMs) };
    this.#answeredRequest = this.#requestsSent;
    this.#reportIgnored(ignored, call);
  }

  /** Once for each change, not at every refresh: a set may hold keys for encryption and be in good order. */
  #reportIgnored(ignored: readonly string[], call: Logging): void {
    const text = ignored.join("; ");
    if (text !== "" && text !== this.#reportedIgnored) {
      call.log.info(
        { jwks: this.#location.place, ignored },
        "unusable keys of the issuer's JWK Set are ignored",
      );
    }
    this.#reportedIgnored = text;
  }

  #log(call: Logging, level: "info" | "warn", details: object, message: string): void {
    const leftOut = this.#logged.admit(message);
    if (leftOut === undefined) return;
    call.log[level]({ ...details, jwks: this.#location.place, left_out: leftOut }, message);
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
