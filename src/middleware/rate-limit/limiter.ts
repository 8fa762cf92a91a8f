// One limit of the chain: counted in the store that instances share, where there is one, else in this process.
import type { CallContext } from "../../chain/context.ts";
import { isThenable } from "../../chain/thenable.ts";
import { MemoryRateLimiter } from "./memory-rate-limiter.ts";
import type { RateLimit } from "./rate-limit-store.ts";
import { countRefusedFromMemory, type SharedAnswer, type SharedStore } from "./shared-store.ts";

export interface LimiterOptions {
  readonly limit: RateLimit;
  /** What the limit's keys in the store start with: see `sharedKeyPrefix`. */
  readonly keyPrefix: string;
  /** Default: the process counts alone. */
  readonly store?: SharedStore | undefined;
}

/** Each limit has keys of its own: those of `perPeer` and `perPrincipal`, of the server and of each entry of `methods`. */
export function sharedKeyPrefix(
  limit: "peer" | "principal" | "login" | "login-connection",
  path = "",
): string {
  return `${limit}:${path}:`;
}

export class Limiter {
  readonly #limit: RateLimit;
  readonly #keyPrefix: string;
  readonly #store: SharedStore | undefined;
  /** Decides where there is no store, or it does not answer; and keeps the keys that the store refused. */
  readonly #local: MemoryRateLimiter;

  constructor({ limit, keyPrefix, store }: LimiterOptions) {
    this.#limit = limit;
    this.#keyPrefix = keyPrefix;
    this.#store = store;
    this.#local = new MemoryRateLimiter(limit);
  }

  /**
   * Consumes `cost` points. For how many milliseconds the key is refused; 0 where the points were there. A promise only
   * where the store has to be waited for. Never throws and never rejects.
   */
  consume(call: CallContext, key: string, cost: number): number | Promise<number> {
    const now = performance.now();
    if (this.#store === undefined) return this.#local.consume(key, cost, now);
    const refusedForMs = this.#local.blockedFor(key, now);
    if (refusedForMs > 0) {
      countRefusedFromMemory();
      return refusedForMs;
    }
    const answer = this.#store.consume(this.#keyPrefix + key, cost, this.#limit, call);
    if (!isThenable(answer)) return this.#decide(key, cost, answer);
    return answer.then((later) => this.#decide(key, cost, later));
  }

  #decide(key: string, cost: number, answer: SharedAnswer): number {
    const now = performance.now();
    if (answer === undefined) return this.#local.consume(key, cost, now);
    if (answer.allowed) return 0;
    this.#local.block(key, answer.retryAfterMs, now);
    return Math.max(1, Math.ceil(answer.retryAfterMs));
  }
}
