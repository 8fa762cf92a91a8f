// API keys of all instances in one Redis: digests and what they grant, never a key.
import { randomUUID } from "node:crypto";
import { z } from "zod";
import { milliseconds, parseOptions } from "../config/options.ts";
import { StoreRequests } from "../config/store-requests.ts";
import type { ApiKeyRecord } from "../middleware/authentication/api-key.ts";
import type { RecordChange, StoredApiKey } from "../middleware/authentication/api-key-administration.ts";
import { recordFromJson } from "../middleware/authentication/api-key-record.ts";
import type { ApiKeyUse } from "../middleware/authentication/api-key-uses.ts";
import {
  type SharedApiKeyStore,
  SharedApiKeys,
  type SharedKeyTable,
} from "../middleware/authentication/shared-api-keys.ts";
import { changeScript, useScript } from "./api-key-scripts.ts";
import {
  isUsable,
  listenTo,
  type RedisCommandClient,
  redisCommandClient,
  redisKeyPrefix,
} from "./redis-connection.ts";

/** What is used of an ioredis client, single or cluster. */
export type RedisApiKeyClient = RedisCommandClient;

export interface RedisApiKeyStoreOptions {
  /**
   * An ioredis client, `new Redis(…)` or `new Redis.Cluster(…)`. It stays yours: close it after the server has shut down. The
   * store opens a second connection with its options, and closes that with itself.
   */
  readonly client: RedisApiKeyClient;
  /**
   * How long Redis may take for one answer, in milliseconds; then the caller is told UNAVAILABLE. Must be shorter than
   * `deadline.checkTimeoutMs`. Default: 1,000.
   */
  readonly timeoutMs?: number | undefined;
  /**
   * What the names of all that it keeps start with, before `:{api-keys}`. The braces keep it on one node of a cluster.
   * Default: `palisade`.
   */
  readonly keyPrefix?: string | undefined;
}

interface RedisApiKeyStoreSettings {
  readonly client: RedisApiKeyClient;
  readonly timeoutMs: number;
  readonly keyPrefix: string;
}

/** The shape of `redisApiKeyStore`'s options. */
export const redisApiKeyStoreSchema: z.ZodType<RedisApiKeyStoreSettings, RedisApiKeyStoreOptions> =
  z.strictObject({
    client: redisCommandClient,
    timeoutMs: milliseconds.default(1_000),
    keyPrefix: redisKeyPrefix,
  });

/** An `ApiKeyStore` in Redis, and what an operator does with its keys. `close` leaves the client open. */
export type RedisApiKeyStore = SharedApiKeyStore;

/**
 * Keeps API keys in Redis, for all instances of a service. A change by `add`, `revoke`, `rotate` or `palisade api-key` is seen by
 * every instance within a second: Redis tells them, and each asks beside that.
 *
 * Records are answered from memory for as long as Redis confirms that nothing changed. A second after it last did, and for
 * keys that were not used before, Redis is asked. While it does not answer within `timeoutMs`, is away, or holds no keys at
 * all (another database or prefix, or one that lost its data), callers are told UNAVAILABLE, which never counts against them.
 *
 * Throws `ConfigError` for options that are wrong.
 *
 * @example
 * const client = new Redis("redis://redis.internal:6379");
 * apiKey({ store: redisApiKeyStore({ client }) })
 */
export function redisApiKeyStore(options: RedisApiKeyStoreOptions): RedisApiKeyStore {
  return new SharedApiKeys(
    new RedisApiKeys(parseOptions(redisApiKeyStoreSchema, options, "redisApiKeyStore")),
  );
}

/** The field of the records that no digest can be. It goes where they go, when Redis loses or evicts them. */
const versionField = "version";
/** How often a change is tried again that another one came before. */
const maxAttempts = 10;
/** How many uses go with one command: Redis does nothing else meanwhile. */
const maxUses = 500;

class RedisApiKeys implements SharedKeyTable {
  readonly name = "redisApiKeyStore";
  readonly #client: RedisApiKeyClient;
  readonly #requests: StoreRequests;
  /** A hash: the records as JSON by their digests, and their version. */
  readonly #records: string;
  /** A hash: digests by ids. */
  readonly #ids: string;
  /** A hash: times of last use by ids. */
  readonly #uses: string;
  readonly #channel: string;

  constructor({ client, timeoutMs, keyPrefix }: RedisApiKeyStoreSettings) {
    this.#client = client;
    this.#requests = new StoreRequests({ store: "Redis", timeoutMs });
    this.#records = `${keyPrefix}:{api-keys}`;
    this.#ids = `${this.#records}:ids`;
    this.#uses = `${this.#records}:uses`;
    this.#channel = `${this.#records}:changes`;
  }

  async find(digest: string): Promise<{ record: string | undefined; version: string }> {
    const [version, record] = asList(await this.#call("hmget", [this.#records, versionField, digest]));
    return { record: asText(record), version: this.#versionIn(version) };
  }

  async version(): Promise<string> {
    const ask = this.#asking("hget", [this.#records, versionField]);
    return this.#versionIn(await this.#requests.sendAhead(ask));
  }

  watch(changed: () => void): () => void {
    return listenTo(this.#client.duplicate(), this.#channel, changed);
  }

  async list(): Promise<readonly StoredApiKey[]> {
    const records = await this.#allOf(this.#records);
    records.delete(versionField);
    const uses = await this.#allOf(this.#uses);
    return [...records.values()].map((json) => {
      const record = recordFromJson(json, this.name);
      const usedAt = uses.get(record.id);
      return usedAt === undefined ? { record } : { record, lastUsedAt: Number(usedAt) };
    });
  }

  async insert(record: ApiKeyRecord): Promise<"inserted" | "taken"> {
    await this.#mendIds();
    const result = await this.#change([{ was: "", record }]);
    if (result === "changed") return "inserted";
    if (result === "taken") return "taken";
    throw new Error(`${this.name}: Redis answered with something else than expected`);
  }

  async change(
    id: string,
    change: (record: ApiKeyRecord) => RecordChange,
  ): Promise<"changed" | "unknown" | "taken"> {
    await this.#mendIds();
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const digest = asText(await this.#call("hget", [this.#ids, id]));
      if (digest === undefined) return "unknown";
      const was = asText(await this.#call("hget", [this.#records, digest]));
      if (was === undefined) return "unknown";
      const { record, added } = change(recordFromJson(was, this.name));
      const changes = [{ was, record }, ...(added === undefined ? [] : [{ was: "", record: added }])];
      const result = await this.#change(changes);
      if (result === "changed" || result === "taken") return result;
    }
    throw new Error(`${this.name}: the key was changed by others each time; try again`);
  }

  async recordUse(uses: readonly ApiKeyUse[]): Promise<void> {
    for (let start = 0; start < uses.length; start += maxUses) {
      const values = uses.slice(start, start + maxUses).flatMap(({ id, at }) => [id, at]);
      await this.#call("eval", [useScript, 2, this.#ids, this.#uses, ...values]);
    }
  }

  #change(changes: readonly { readonly was: string; readonly record: ApiKeyRecord }[]): Promise<unknown> {
    const values = changes.flatMap(({ was, record }) => [
      record.digest,
      record.id,
      was,
      JSON.stringify(record),
    ]);
    const keys = [this.#records, this.#ids];
    return this.#call("eval", [changeScript, keys.length, ...keys, randomUUID(), this.#channel, ...values]);
  }

  /**
   * Redis may have evicted the ids alone: then a key could be found by its digest, and not be revoked by its id. An id that is
   * there stays.
   */
  async #mendIds(): Promise<void> {
    const [ids, fields] = [await this.#call("hlen", [this.#ids]), await this.#call("hlen", [this.#records])];
    // One field of the records is their version.
    if (Number(ids) >= Number(fields) - 1) return;
    for (const [digest, json] of await this.#allOf(this.#records)) {
      const id = idIn(json);
      if (digest !== versionField && id !== undefined) await this.#call("hsetnx", [this.#ids, id, digest]);
    }
  }

  /** In steps, so that Redis answers others between them. */
  async #allOf(hash: string): Promise<Map<string, string>> {
    const all = new Map<string, string>();
    let cursor = "0";
    do {
      const [next, entries] = asList(await this.#call("hscan", [hash, cursor, "COUNT", 500]));
      const texts = asList(entries).map((text) => asText(text) ?? "");
      for (let i = 0; i + 1 < texts.length; i += 2) all.set(texts[i] ?? "", texts[i + 1] ?? "");
      cursor = asText(next) ?? "0";
    } while (cursor !== "0");
    return all;
  }

  #call(command: string, args: (string | number)[]): Promise<unknown> {
    return this.#requests.send(this.#asking(command, args));
  }

  #asking(command: string, args: (string | number)[]): () => Promise<unknown> {
    return () => {
      // Else the command waits for a connection, and those of all callers with it.
      if (!isUsable(this.#client)) throw new Error(`Redis is away: the client is ${this.#client.status}`);
      return this.#client.call(command, args);
    };
  }

  #versionIn(value: unknown): string {
    const version = asText(value);
    if (version === undefined)
      throw new Error(
        `${this.name}: Redis holds no API keys under ${this.#records}; check keyPrefix and the database, or add the first key`,
      );
    return version;
  }
}

/** What is no record is told to whoever reads it; it keeps no other key from being revoked. */
function idIn(json: string): string | undefined {
  try {
    return recordFromJson(json, "redisApiKeyStore").id;
  } catch {
    return undefined;
  }
}

function asList(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw new TypeError("Redis returned something other than a list");
  return value;
}

function asText(value: unknown): string | undefined {
  if (value === null || value === undefined) return undefined;
  if (typeof value !== "string") throw new TypeError("Redis returned something other than text");
  return value;
}
