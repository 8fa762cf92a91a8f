// What only Redis can do to API keys: records of any kind, no memory left, lost connections that listen, other prefixes.
import { Redis } from "ioredis";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { ConfigError } from "../../src/grpc/errors.ts";
import { apiKey } from "../../src/middleware/authentication/api-key.ts";
import { issueApiKey } from "../../src/middleware/authentication/memory-api-key-store.ts";
import {
  type RedisApiKeyClient,
  type RedisApiKeyStore,
  type RedisApiKeyStoreOptions,
  redisApiKeyStore,
} from "../../src/redis/redis-api-key-store.ts";
import { lacks } from "../clients/tools.ts";
import { waitMs } from "../harness/time.ts";
import { incomingCall, verdict } from "../middleware/authentication/incoming-call.ts";
import { type RedisServer, startRedis } from "./redis-server.ts";

const records = "palisade:{api-keys}";

describe.skipIf(lacks("redis-server"))("A3 API keys in Redis", () => {
  let server: RedisServer;
  let client: Redis;
  let store: RedisApiKeyStore;
  const opened: RedisApiKeyStore[] = [];
  const open = (options: Partial<RedisApiKeyStoreOptions> = {}): RedisApiKeyStore => {
    const made = redisApiKeyStore({ client, timeoutMs: waitMs, ...options });
    opened.push(made);
    return made;
  };
  beforeAll(async () => {
    server = await startRedis();
    client = new Redis({ host: "127.0.0.1", port: server.port });
  });
  afterAll(async () => {
    client.disconnect();
    await server[Symbol.asyncDispose]();
  });
  beforeEach(async () => {
    await client.flushall();
    store = open();
  });
  afterEach(async () => {
    for (const each of opened.splice(0)) await each.close();
  });

  const judged = (key: string, by = store): Promise<string> =>
    verdict(apiKey({ store: by }), incomingCall({ "x-api-key": key }));
  const { key, record } = issueApiKey({ owner: "shop", roles: ["app"] });
  const other = issueApiKey({ owner: "root", roles: ["admin"] });

  it("holds no key in clear, and no digest but that of the key", async () => {
    await store.add(record);
    const kept = JSON.stringify([await client.hgetall(records), await client.hgetall(`${records}:ids`)]);
    expect(kept).toContain(record.digest);
    expect(kept).not.toContain(key);
  });

  it("revokes a key whose id alone Redis has lost, and takes no other of that id", async () => {
    await store.add(record);
    await store.add(other.record);
    await client.hset(records, "f".repeat(64), "no record");
    await client.del(`${records}:ids`);
    const again = issueApiKey({ owner: "shop", id: record.id });
    await expect(store.add(again.record)).rejects.toThrow("is there already");
    await client.del(`${records}:ids`);
    await store.revoke(record.id);
    expect(await judged(key, open())).toMatch(/^invalid/);
    await store.revoke(other.record.id);
  });

  it.each<[string, unknown]>([
    ["is not JSON", "{"],
    ["is empty", ""],
    ["is null", null],
    ["is a list", [record]],
    ["is a text", "shop"],
    ["has no owner", { ...record, owner: undefined }],
    ["has an owner that is a number", { ...record, owner: 7 }],
    ["has the digest of another key", { ...record, digest: other.record.digest }],
    ["has a digest in upper case", { ...record, digest: record.digest.toUpperCase() }],
    ["has a prefix of the digest", { ...record, digest: record.digest.slice(0, 60) }],
    ["has a digest with NUL behind it", { ...record, digest: `${record.digest}\0` }],
    ["has an end that is text", { ...record, expiresAt: "2099-01-01" }],
    ["has an end that is a fraction", { ...record, expiresAt: 1.5 }],
    ["has an end beyond all numbers", `${JSON.stringify(record).slice(0, -1)},"expiresAt":1e999}`],
    ["has a revocation that is text", { ...record, revoked: "false" }],
    ["has a revocation that is null", { ...record, revoked: null }],
    ["has roles that are text", { ...record, roles: "admin" }],
    ["has a role that is null", { ...record, roles: [null] }],
    ["has no networks in its list", { ...record, networks: [] }],
    ["has a network that is none", { ...record, networks: ["everywhere"] }],
    ["has a field that nobody knows", { ...record, admin: true }],
    ["has a prototype", `${JSON.stringify(record).slice(0, -1)},"__proto__":{"revoked":false}}`],
    ["holds a key", { ...record, owner: other.key }],
    ["is longer than any record", { ...record, tenant: "x".repeat(100_000) }],
  ])("a record that %s lets nobody in, and is not the caller's fault", async (_what, stored) => {
    await store.add(other.record);
    const text = typeof stored === "string" && !stored.startsWith("shop") ? stored : JSON.stringify(stored);
    await client.hset(records, record.digest, text);
    const judgement = await judged(key);
    expect(judgement).toMatch(/^failure/);
    for (const secret of [key, other.key]) expect(judgement).not.toContain(secret);
    expect(await judged(other.key)).toBe("good: root");
  });

  it("a type that is no hash is Redis's failure", async () => {
    await client.set(records, "text");
    expect(await judged(key)).toMatch(/^failure.*WRONGTYPE/);
  });

  it("an empty Redis does not know that a key is bad", async () => {
    expect(await judged(key)).toMatch(/^failure.*holds no API keys under palisade:\{api-keys\}/);
    await store.add(other.record);
    expect(await judged(key)).toBe("invalid");
    await client.flushall();
    await expect.poll(() => judged(other.key)).toMatch(/holds no API keys/);
  });

  it("with no memory left, keys are good as before, and an operator is told", async () => {
    await store.add(record);
    expect(await judged(key)).toBe("good: shop");
    await client.config("SET", "maxmemory", "1");
    try {
      const fresh = open();
      expect(await judged(key, fresh)).toBe("good: shop");
      await expect(store.add(other.record)).rejects.toThrow("OOM");
      await expect(store.revoke(record.id)).rejects.toThrow("OOM");
      await expect(store.recordUse([{ id: record.id, at: 1 }])).rejects.toThrow("OOM");
      expect(await judged(key, fresh)).toBe("good: shop");
    } finally {
      await client.config("SET", "maxmemory", "0");
    }
    await store.revoke(record.id);
    await expect.poll(() => judged(key)).toBe("invalid");
    // Nothing of what failed is there.
    expect((await store.list()).map(({ record: { id, revoked } }) => [id, revoked])).toEqual([
      [record.id, true],
    ]);
  });

  it("a revocation is seen by one that hears nothing, because it asks", async () => {
    const deaf: RedisApiKeyClient = {
      get status() {
        return client.status;
      },
      call: (command, args) => client.call(command, args),
      duplicate: () => ({
        status: "ready",
        connect: async () => {},
        subscribe: async () => {},
        on: () => {},
        disconnect: () => {},
      }),
    };
    const instance = open({ client: deaf });
    await store.add(record);
    let changes = 0;
    instance.onChange(() => changes++);
    await expect.poll(() => judged(key, instance)).toBe("good: shop");
    const before = changes;
    await store.revoke(record.id);
    await expect.poll(() => changes).toBe(before + 1);
    expect(await judged(key, instance)).toBe("invalid");
  });

  it("a connection that listens is made again when it was cut", async () => {
    await store.add(record);
    await expect.poll(() => judged(key)).toBe("good: shop");
    await expect.poll(() => listeners()).toBe(1);
    await client.call("client", ["KILL", "TYPE", "pubsub"]);
    await expect.poll(() => listeners()).toBe(1);
    await store.close();
    await expect.poll(() => listeners()).toBe(0);
    expect(await judged(key)).toBe("good: shop");
    await expect.poll(() => listeners()).toBe(1);
  });
  const listeners = async (): Promise<unknown> =>
    ((await client.pubsub("NUMSUB", `${records}:changes`)) as unknown[])[1];

  it("calls that wait for one key ask once, and later ones not at all", async () => {
    await store.add(record);
    await client.config("RESETSTAT");
    const fresh = open();
    await Promise.all(Array.from({ length: 200 }, () => fresh.find(record.digest)));
    await expect
      .poll(async () => {
        await fresh.find(record.digest);
        return fresh.find(record.digest) instanceof Promise;
      })
      .toBe(false);
    for (let i = 0; i < 1_000; i++) await fresh.find(record.digest);
    const [, asked] = /cmdstat_hmget:calls=(\d+)/.exec(await client.info("commandstats")) ?? [];
    // The first change that it hears of, its own connection, may come in between.
    expect(Number(asked)).toBeLessThan(10);
  });

  it("services with a prefix each do not see each other's keys", async () => {
    const shop = open({ keyPrefix: "shop" });
    await shop.add(record);
    await store.add(other.record);
    expect(await judged(key, shop)).toBe("good: shop");
    expect(await judged(key)).toBe("invalid");
    expect(await client.keys("shop:*")).toEqual(
      expect.arrayContaining(["shop:{api-keys}", "shop:{api-keys}:ids"]),
    );
  });

  it("works with a client that has a prefix of its own, and waits to connect", async () => {
    const own = new Redis({ host: "127.0.0.1", port: server.port, keyPrefix: "own:", lazyConnect: true });
    const instance = redisApiKeyStore({ client: own, timeoutMs: waitMs });
    await instance.add(record);
    expect(await judged(key, instance)).toBe("good: shop");
    expect(await client.exists(`own:${records}`)).toBe(1);
    await instance.revoke(record.id);
    await expect.poll(() => judged(key, instance)).toBe("invalid");
    await instance.close();
    own.disconnect();
  });

  it("a client that was closed is a failure at once", async () => {
    const own = new Redis({ host: "127.0.0.1", port: server.port });
    const instance = open({ client: own });
    await own.ping();
    own.disconnect();
    await expect.poll(() => own.status).toBe("end");
    expect(await judged(key, instance)).toMatch(/^failure.*Redis is away/);
  });

  it.each<[string, object, string]>([
    ["no client", { client: undefined }, "redisApiKeyStore.client: expected an ioredis client"],
    [
      "a URL for a client",
      { client: "redis://127.0.0.1" },
      "redisApiKeyStore.client: expected an ioredis client",
    ],
    ["an empty prefix", { keyPrefix: "" }, "redisApiKeyStore.keyPrefix: expected a string that is not empty"],
    ["braces in the prefix", { keyPrefix: "{a}" }, "redisApiKeyStore.keyPrefix: must not contain braces"],
    ["no time", { timeoutMs: 0 }, "redisApiKeyStore.timeoutMs: must be at least 1"],
    ["an unknown option", { prefix: "a" }, "redisApiKeyStore.prefix: unknown option"],
  ])("%s is a ConfigError", (_what, options, problem) => {
    const attempt = () => redisApiKeyStore({ client, ...options } as RedisApiKeyStoreOptions);
    expect(attempt).toThrow(ConfigError);
    expect(attempt).toThrow(problem);
  });
});
