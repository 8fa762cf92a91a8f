// Revoked tokens and subjects of all instances in one Redis.
import { randomUUID } from "node:crypto";
import { z } from "zod";
import { parseOptions } from "../config/options.ts";
import { StoreRequests } from "../config/store-requests.ts";
import type {
  RevocationPage,
  RevocationSource,
} from "../middleware/authentication/revocation/revocation-mirror.ts";
import { beyondEndMs, type Revocation } from "../middleware/authentication/revocation/revocations.ts";
import {
  checkPoll,
  type SharedRevocationList,
  type SharedRevocationListOptions,
  type SharedRevocationListSettings,
  SharedRevocations,
  sharedRevocationListShape,
} from "../middleware/authentication/revocation/shared-revocation-list.ts";
import {
  isUsable,
  listenTo,
  type RedisCommandClient,
  redisCommandClient,
  redisKeyPrefix,
} from "./redis-connection.ts";
import { addScript, readScript } from "./revocation-scripts.ts";

export interface RedisRevocationListOptions extends SharedRevocationListOptions {
  /**
   * An ioredis client, `new Redis(…)` or `new Redis.Cluster(…)`. It stays yours: close it after the server has shut down. The
   * list opens a second connection with its options, and closes that with itself.
   */
  readonly client: RedisCommandClient;
  /**
   * What the names of all that it keeps start with, before `:{revocations}`. One for each issuer. The braces keep it on one node
   * of a cluster. Default: `palisade`.
   */
  readonly keyPrefix?: string | undefined;
}

interface RedisRevocationListSettings extends SharedRevocationListSettings {
  readonly client: RedisCommandClient;
  readonly keyPrefix: string;
}

/** The shape of `redisRevocationList`'s options. */
export const redisRevocationListSchema: z.ZodType<RedisRevocationListSettings> = z
  .strictObject({
    client: redisCommandClient,
    keyPrefix: redisKeyPrefix,
    ...sharedRevocationListShape,
  })
  .superRefine(checkPoll);

/** A `RevocationList` in Redis. `close` leaves the client open. */
export type RedisRevocationList = SharedRevocationList;

/**
 * A list of revoked tokens in Redis 5 or newer, for one issuer and all instances of a service. What one instance revokes, every
 * instance refuses within a second, and open calls end. Each has the whole list in memory, so a call does not wait for Redis.
 *
 * While Redis cannot be read the last known list serves for `maxStaleSec`; then callers are told UNAVAILABLE, which never counts
 * against them. Revoking rejects while Redis is away. A Redis that lost its data gets back what the instances know. Set
 * `maxmemory-policy` to `noeviction`, and persistence on.
 *
 * Throws `ConfigError` for options that are wrong.
 *
 * @example
 * const client = new Redis("redis://redis.internal:6379");
 * const revocations = redisRevocationList({ client, keyPrefix: "orders" });
 * jwt({ issuer: "https://id.example", audience: "orders", revocations });
 * await revocations.revokeSubject("ada");
 */
export function redisRevocationList(options: RedisRevocationListOptions): RedisRevocationList {
  const settings = parseOptions(redisRevocationListSchema, options, "redisRevocationList");
  return new SharedRevocations(new RedisRevocations(settings), settings);
}

class RedisRevocations implements RevocationSource {
  readonly name = "redisRevocationList";
  readonly #client: RedisCommandClient;
  readonly #requests: StoreRequests;
  readonly #maxEntries: number;
  readonly #keys: readonly string[];
  readonly #channel: string;

  constructor({ client, timeoutMs, keyPrefix, maxEntries }: RedisRevocationListSettings) {
    this.#client = client;
    this.#requests = new StoreRequests({ store: "Redis", timeoutMs });
    this.#maxEntries = maxEntries;
    const entries = `${keyPrefix}:{revocations}`;
    this.#keys = [entries, `${entries}:revisions`, `${entries}:ends`];
    this.#channel = `${entries}:changes`;
  }

  async read(afterRevision: number, limit: number): Promise<RevocationPage> {
    const answer = await this.#run(readScript, [afterRevision, limit]);
    const [generation, revision, found, times] = Array.isArray(answer) ? answer : [];
    if (typeof generation !== "string" || !Array.isArray(found) || !Array.isArray(times)) throw notAList();
    const entries = times.map((time: unknown, index) => ({
      revision: wholeNumber(found[2 * index + 1]),
      revocation: revocationFrom(found[2 * index], time),
    }));
    return { generation, revision: wholeNumber(revision), entries };
  }

  async add(revocations: readonly Revocation[]): Promise<"stored" | "full"> {
    const entries = revocations.flatMap(({ kind, name, before, ends }) => [`${kind}:${name}`, before, ends]);
    const answer = await this.#run(addScript, [
      randomUUID(),
      this.#channel,
      this.#maxEntries,
      beyondEndMs,
      ...entries,
    ]);
    if (answer === "stored" || answer === "full") return answer;
    throw notAList();
  }

  watch(changed: () => void): () => void {
    return listenTo(this.#client.duplicate(), this.#channel, changed);
  }

  #run(script: string, values: readonly (string | number)[]): Promise<unknown> {
    return this.#requests.send(() => {
      // Else the command waits for a connection, and those of all callers with it.
      if (!isUsable(this.#client)) throw new Error(`Redis is away: the client is ${this.#client.status}`);
      return this.#client.call("eval", [script, this.#keys.length, ...this.#keys, ...values]);
    });
  }
}

function revocationFrom(entry: unknown, times: unknown): Revocation {
  const [, kind, name] = /^(token|subject):(.+)$/su.exec(String(entry)) ?? [];
  const [, before, ends] = /^(\d+) (\d+)$/.exec(String(times)) ?? [];
  if ((kind !== "token" && kind !== "subject") || name === undefined) throw notAList();
  return { kind, name, before: wholeNumber(before), ends: wholeNumber(ends) };
}

function wholeNumber(value: unknown): number {
  const number = typeof value === "string" && value !== "" ? Number(value) : Number.NaN;
  if (!Number.isSafeInteger(number) || number < 0) throw notAList();
  return number;
}

function notAList(): TypeError {
  return new TypeError("Redis holds something other than revocations under keyPrefix");
}
