// Rate limits of all instances in one Redis, counted by rate-limiter-flexible.
import { RateLimiterRedis, RateLimiterRes } from "rate-limiter-flexible";
import { z } from "zod";
import { milliseconds, parseOptions } from "../config/options.ts";
import type {
  RateLimit,
  RateLimitResult,
  RateLimitStore,
} from "../middleware/rate-limit/rate-limit-store.ts";
import { consumeScript } from "./consume-script.ts";
import { isUsable } from "./redis-connection.ts";

/** What is used of an ioredis client, single or cluster. */
export interface RedisClient {
  readonly status: string;
  defineCommand(name: string, definition: { readonly lua: string; readonly numberOfKeys: number }): void;
  /** Made by `defineCommand`. */
  palisadeConsume?(...keyAndArguments: string[]): Promise<unknown>;
}

export interface RedisRateLimitStoreOptions {
  /**
   * An ioredis client, `new Redis(…)` or `new Redis.Cluster(…)`. It stays yours: close it after the server has shut down.
   * With its option `enableAutoPipelining: true` the commands of calls that come together leave in one packet.
   */
  readonly client: RedisClient;
  /**
   * How long Redis may take for one answer, in milliseconds. Then the process decides by itself, and asks Redis again after
   * a second. Must be shorter than `deadline.checkTimeoutMs`, which refuses the call. Default: 100.
   */
  readonly timeoutMs?: number | undefined;
  /**
   * What every key starts with. Services that use one Redis need a prefix each: else a caller of both is counted once for
   * both. Default: `palisade`.
   */
  readonly keyPrefix?: string | undefined;
}

/** The shape of `redisRateLimitStore`'s options. */
export const redisRateLimitStoreSchema: z.ZodType<RedisRateLimitStoreSettings, RedisRateLimitStoreOptions> =
  z.strictObject({
    client: z.custom<RedisClient>(isClient, "expected an ioredis client, such as new Redis(url)"),
    timeoutMs: milliseconds.default(100),
    keyPrefix: z.string().min(1).max(128).default("palisade"),
  });

interface RedisRateLimitStoreSettings {
  readonly client: RedisClient;
  readonly timeoutMs: number;
  readonly keyPrefix: string;
}

function isClient(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  return (
    typeof Reflect.get(value, "status") === "string" &&
    typeof Reflect.get(value, "defineCommand") === "function"
  );
}

/**
 * Counts rate limits and failed logins in Redis, for all instances of a service together: `rateLimit.store` of a server.
 * Windows and blocks run by the clock of Redis.
 *
 * While Redis does not answer within `timeoutMs`, is away, or refuses (no memory left, a replica that is read only), each
 * process counts by itself: see `RateLimitStore`. A client that has lost its connection is not waited for.
 *
 * @throws {ConfigError} for options that are wrong.
 * @example
 * const client = new Redis("redis://redis.internal:6379", { enableAutoPipelining: true });
 * const server = createSecureServer({ …, rateLimit: { store: redisRateLimitStore({ client, keyPrefix: "orders" }) } });
 */
export function redisRateLimitStore(options: RedisRateLimitStoreOptions): RateLimitStore {
  return new RedisRateLimitStore(parseOptions(redisRateLimitStoreSchema, options, "redisRateLimitStore"));
}

class RedisRateLimitStore implements RateLimitStore {
  readonly #client: RedisClient;
  readonly #timeoutMs: number;
  readonly #keyPrefix: string;
  readonly #limiters: WeakMap<RateLimit, RateLimiterRedis> = new WeakMap();

  constructor({ client, timeoutMs, keyPrefix }: RedisRateLimitStoreSettings) {
    this.#client = client;
    this.#timeoutMs = timeoutMs;
    this.#keyPrefix = keyPrefix;
    client.defineCommand("palisadeConsume", { lua: consumeScript, numberOfKeys: 1 });
  }

  consume(key: string, cost: number, limit: RateLimit): Promise<RateLimitResult> {
    return new Promise((resolve, reject) => {
      const late = (): void => reject(new Error(`Redis did not answer within ${this.#timeoutMs} ms`));
      // A process that was busy for so long has the answer already, and reads it before this runs.
      const timer = setTimeout(() => setImmediate(late), this.#timeoutMs);
      this.#limiterOf(limit)
        .consume(key, cost)
        .catch((counted: unknown) => {
          // Over a limit it rejects with the count, and where it fails with an error.
          if (counted instanceof RateLimiterRes) return counted;
          throw counted;
        })
        .then((counted) => resultOf(counted, limit))
        .finally(() => clearTimeout(timer))
        .then(resolve, reject);
    });
  }

  #limiterOf(limit: RateLimit): RateLimiterRedis {
    const known = this.#limiters.get(limit);
    if (known !== undefined) return known;
    const limiter = new RateLimiterRedis({
      storeClient: this.#commandsFor(limit),
      keyPrefix: this.#keyPrefix,
      points: limit.points,
      // The library's seconds are milliseconds in our script.
      duration: wholeMs(limit.durationSec),
      rejectIfRedisNotReady: true,
      // Neither its insurance nor its memory of blocked keys is used. The memory has no bound, and is searched as a whole
      // for each key beyond the first thousand; the limiter that decides in place of Redis is bounded, and knows both.
    });
    this.#limiters.set(limit, limiter);
    return limiter;
  }

  /**
   * What the library calls, in the client's place. It would define its script on the client under a fixed name, where
   * another limiter of the application replaces it.
   */
  #commandsFor({ blockDurationSec }: RateLimit): object {
    const client = this.#client;
    const blockMs = String(blockDurationSec === undefined ? 0 : wholeMs(blockDurationSec));
    return {
      get status(): string {
        return isUsable(client) ? "ready" : client.status;
      },
      rlflxIncr: (keyAndArguments: readonly string[]): Promise<unknown> => {
        if (client.palisadeConsume === undefined)
          throw new Error("the client has no command palisadeConsume");
        return client.palisadeConsume(...keyAndArguments, blockMs);
      },
    };
  }
}

function wholeMs(seconds: number): number {
  return Math.max(1, Math.ceil(seconds * 1000));
}

/** The library takes what is no number for no more than the points. */
function resultOf(counted: RateLimiterRes, { points }: RateLimit): RateLimitResult {
  const { consumedPoints, remainingPoints, msBeforeNext } = counted;
  if (!Number.isSafeInteger(consumedPoints) || !Number.isSafeInteger(msBeforeNext) || msBeforeNext < 0)
    throw new TypeError("Redis returned something other than a count");
  if (consumedPoints > points) return { allowed: false, remaining: 0, retryAfterMs: msBeforeNext };
  return { allowed: true, remaining: remainingPoints, retryAfterMs: 0 };
}
