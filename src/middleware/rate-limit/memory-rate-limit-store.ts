// The in-process limiter as a store.
import { MemoryRateLimiter } from "./memory-rate-limiter.ts";
import type { RateLimit, RateLimitResult, RateLimitStore } from "./rate-limit-store.ts";

/**
 * A store in this process's memory, for servers of one process that count together: give all of them the same one. A
 * server without `rateLimit.store` counts like this by itself.
 *
 * It holds at most 100,000 keys for each limit. Where a limit's table is full, keys with points left make room, refused
 * keys stay until their time is over, and when all are refused new keys share one count.
 *
 * @example
 * const store = memoryRateLimitStore();
 * const [internal, external] = [createSecureServer({ …, rateLimit: { store } }), createSecureServer({ …, rateLimit: { store } })];
 */
export function memoryRateLimitStore(): RateLimitStore {
  return new MemoryRateLimitStore();
}

class MemoryRateLimitStore implements RateLimitStore {
  /** By limit, because a table holds windows of one length. Limits are the application's, so there are few. */
  readonly #tables: Map<string, MemoryRateLimiter> = new Map();
  readonly #known: WeakMap<RateLimit, MemoryRateLimiter> = new WeakMap();

  consume(key: string, cost: number, limit: RateLimit): RateLimitResult {
    const table = this.#tableOf(limit);
    const now = performance.now();
    const retryAfterMs = cost === 0 ? table.refusedFor(key, now) : table.consume(key, cost, now);
    if (retryAfterMs > 0) return { allowed: false, remaining: 0, retryAfterMs };
    return { allowed: true, remaining: table.left(key, now), retryAfterMs };
  }

  #tableOf(limit: RateLimit): MemoryRateLimiter {
    const known = this.#known.get(limit);
    if (known !== undefined) return known;
    const { points, durationSec, blockDurationSec } = limit;
    const name = `${points} ${durationSec} ${blockDurationSec}`;
    const table = this.#tables.get(name) ?? new MemoryRateLimiter(limit);
    this.#tables.set(name, table);
    this.#known.set(limit, table);
    return table;
  }
}
