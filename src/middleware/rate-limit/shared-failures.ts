/**
 * What other instances counted of a caller's failed logins.
 *
 * A failure is counted in the store when it is judged, and no call waits for that: the answer tells what all instances
 * counted. Of a caller that has not failed here, the store is asked at most once a second, at the same time as for the peer
 * limit, so that it costs no round trip of its own. A caller that another instance blocks may therefore make guesses here
 * for up to a second; the first one that is judged ends it.
 */
import type { CallContext } from "../../chain/context.ts";
import { isThenable } from "../../chain/thenable.ts";
import type { MemoryRateLimiter } from "./memory-rate-limiter.ts";
import type { RateLimit } from "./rate-limit-store.ts";
import type { SharedAnswer, SharedStore } from "./shared-store.ts";

export interface SharedFailuresOptions {
  readonly store: SharedStore;
  readonly limit: RateLimit;
  readonly keyPrefix: string;
  /** Is told what others counted. */
  readonly local: MemoryRateLimiter;
  /** Called when others counted failures of `key`. */
  readonly onLearned: (key: string) => void;
}

/** How long an answer is good for. */
const freshMs = 1_000;
/** Callers whose answers are remembered. Beyond, all are forgotten, and asked for again. */
const maxAsked = 10_000;

export class SharedFailures {
  readonly #options: SharedFailuresOptions;
  /** Callers that were asked about since `#forgetAt` was set: what is waited for, and undefined once it came. */
  readonly #asked: Map<string, Promise<void> | undefined> = new Map();
  #forgetAt = Number.NEGATIVE_INFINITY;

  constructor(options: SharedFailuresOptions) {
    this.#options = options;
  }

  /** Resolves when it is known what others counted of `key`; undefined where that is known. Never rejects. */
  learn(call: CallContext, key: string): Promise<void> | undefined {
    const { store, limit, keyPrefix, local } = this.#options;
    const now = performance.now();
    if (now >= this.#forgetAt || this.#asked.size >= maxAsked) {
      this.#asked.clear();
      this.#forgetAt = now + freshMs;
    }
    if (this.#asked.has(key)) return this.#asked.get(key);
    if (local.blockedFor(key, now) > 0) return undefined;
    const answer = store.consume(keyPrefix + key, 0, limit, call);
    if (!isThenable(answer)) {
      this.#asked.set(key, undefined);
      this.#take(key, answer);
      return undefined;
    }
    const learned = answer.then((later) => {
      if (this.#asked.get(key) === learned) this.#asked.set(key, undefined);
      this.#take(key, later);
    });
    this.#asked.set(key, learned);
    return learned;
  }

  /** Counts a failure for all. Nobody waits for it. */
  count(call: CallContext, key: string): void {
    this.#consume(call, key, (answer) => {
      // That was the last one: the block begins now, for all.
      if (answer?.allowed === true && answer.remaining === 0) this.#consume(call, key, () => {});
    });
  }

  #consume(call: CallContext, key: string, then: (answer: SharedAnswer) => void): void {
    const { store, limit, keyPrefix } = this.#options;
    const answer = store.consume(keyPrefix + key, 1, limit, call);
    const take = (result: SharedAnswer): void => {
      this.#take(key, result);
      then(result);
    };
    if (isThenable(answer)) void answer.then(take);
    else take(answer);
  }

  #take(key: string, answer: SharedAnswer): void {
    if (answer === undefined) return;
    const { limit, local, onLearned } = this.#options;
    const now = performance.now();
    if (!answer.allowed) local.block(key, answer.retryAfterMs, now);
    else if (answer.remaining < limit.points) local.raise(key, limit.points - answer.remaining, now);
    else return;
    onLearned(key);
  }
}
