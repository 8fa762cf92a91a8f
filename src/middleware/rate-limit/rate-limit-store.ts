// The contract of a store that counts rate limits for several instances of a service.

/** How much one key may consume. */
export interface RateLimit {
  /** How much a key may consume within one window. */
  readonly points: number;
  /** The length of the window, in seconds. It starts with the first consumption. */
  readonly durationSec: number;
  /** For how long a key that went over is refused, in seconds. Default: until its window ends. */
  readonly blockDurationSec?: number | undefined;
}

/** How a key stands after a consumption. */
export interface RateLimitResult {
  /** Were the points there? */
  readonly allowed: boolean;
  /** How many points the key has left in its window. 0 for a key that is refused. */
  readonly remaining: number;
  /** For how long the key is refused, in milliseconds. 0 where `allowed`. */
  readonly retryAfterMs: number;
}

/**
 * Counts points of keys in windows, for all instances that use the same store: `rateLimit.store` of a server.
 *
 * `consume` takes `cost` points of `key` under `limit`, at once: two calls at the same time never get the same points.
 *
 * - A key's window starts with its first consumption and lasts `limit.durationSec`. While a key has points left, they
 *   are taken and the answer is `allowed`, with what `remaining` is.
 * - A consumption for which there are too few points is not `allowed`. From then on the key is refused, whatever the cost,
 *   for `limit.blockDurationSec`; without it until the window ends. Further consumptions do not make that longer. Say for
 *   how long in `retryAfterMs`. The server remembers it and does not ask for this key again until then.
 * - A `cost` of 0 takes nothing. It asks whether the key is refused now, and what it has left.
 * - A key is short text. It starts with the name of its limit, so that two limits share no key, and it is the same in
 *   every instance. It may hold an address, a certificate's fingerprint, a caller's name or the SHA-256 digest of a
 *   credential, never a credential. Two services that use one store need a prefix each.
 * - `limit` is the same object in each call of one limit. Windows and blocks may last ten years.
 *
 * Answer without a promise where you can: the call then goes on at once. A promise is waited for.
 *
 * Throw, or reject, where you cannot tell, and do so soon: give what you ask a time limit of its own. No call is refused
 * for it. The limits of the process decide that call, and further ones without asking the store. After a second one call
 * asks it again; when that is answered, all do. What is no `RateLimitResult` counts as a failure too. A promise that never
 * settles holds its call up to `deadline.checkTimeoutMs`, which ends it with UNAVAILABLE.
 *
 * `close` is called once the server has shut down: after its last call. A store that several servers share must be usable
 * after it. What it throws is logged.
 *
 * @example
 * const store: RateLimitStore = {
 *   async consume(key, cost, limit) {
 *     // One step of the database: counts, starts a window, and a block with the consumption that goes over.
 *     const { consumed, endsInMs } = await database.consume(key, cost, limit);
 *     const allowed = consumed <= limit.points;
 *     return { allowed, remaining: Math.max(0, limit.points - consumed), retryAfterMs: allowed ? 0 : endsInMs };
 *   },
 * };
 */
export interface RateLimitStore {
  consume(key: string, cost: number, limit: RateLimit): RateLimitResult | Promise<RateLimitResult>;
  close?(): Promise<void>;
}
