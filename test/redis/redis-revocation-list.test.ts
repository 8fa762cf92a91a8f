// What only Redis can do to a revocation list.
import { Redis } from "ioredis";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ConfigError } from "../../src/grpc/errors.ts";
import {
  type RedisRevocationListOptions,
  redisRevocationList,
} from "../../src/redis/redis-revocation-list.ts";
import { lacks } from "../clients/tools.ts";
import { waitMs } from "../harness/time.ts";
import { type RedisServer, startRedis } from "./redis-server.ts";

const tomorrow = Date.now() + 86_400_000;
const key = "palisade:{revocations}";

describe("A8 options of redisRevocationList", () => {
  const client = { status: "ready", call: () => {}, duplicate: () => {} };
  it.each<[object, RegExp]>([
    [{}, /redisRevocationList\.client: expected an ioredis client/],
    [{ client: "redis://127.0.0.1" }, /redisRevocationList\.client: expected an ioredis client/],
    [{ client, keyPrefix: "a{b}" }, /redisRevocationList\.keyPrefix: must not contain braces/],
    [
      { client, maxStaleSec: 1, pollMs: 501 },
      /redisRevocationList\.pollMs: must be at most half of maxStaleSec: 500/,
    ],
    [{ client, maxStaleSec: 0 }, /redisRevocationList\.maxStaleSec: must be at least 1/],
    [{ client, maxEntries: 0 }, /redisRevocationList\.maxEntries/],
    [{ client, timeout: 5 }, /redisRevocationList\.timeout: unknown option/],
    [{ client, logger: true }, /redisRevocationList\.logger/],
  ])("A8 refuses %j", (options, message) => {
    expect(() => redisRevocationList(options as RedisRevocationListOptions)).toThrow(ConfigError);
    expect(() => redisRevocationList(options as RedisRevocationListOptions)).toThrow(message);
  });
});

describe.skipIf(lacks("redis-server"))("A8 redisRevocationList", () => {
  let server: RedisServer;
  let admin: Redis;
  let end: (() => Promise<void>)[] = [];
  beforeEach(async () => {
    server = await startRedis();
    admin = connect();
  });
  afterEach(async () => {
    for (const each of end.splice(0)) await each();
    end = [];
    await server[Symbol.asyncDispose]();
  });

  function connect(): Redis {
    const client = new Redis({ host: "127.0.0.1", port: server.port, retryStrategy: () => 20 });
    client.on("error", () => {});
    end.push(async () => client.disconnect());
    return client;
  }

  function open(options: Partial<RedisRevocationListOptions> = {}) {
    const list = redisRevocationList({
      client: connect(),
      timeoutMs: waitMs / 2,
      logger: false,
      ...options,
    });
    end.push(() => list.close());
    return list;
  }

  const knows = async (list: ReturnType<typeof open>, id: string): Promise<unknown> =>
    Promise.resolve(list.isRevoked({ id, subject: "x" })).catch(String);

  it("A8 the poll sees what no message told", async () => {
    const client = connect();
    // Its second connection never comes up.
    const deaf = Object.create(client, {
      duplicate: {
        value: () => {
          const lost = new Redis({
            host: "127.0.0.1",
            port: 1,
            lazyConnect: true,
            retryStrategy: () => null,
          });
          end.push(async () => lost.disconnect());
          return lost;
        },
      },
    }) as Redis;
    const [one, other] = [open(), open({ client: deaf })];
    await expect.poll(() => knows(other, "one")).toBe(false);
    await one.revokeToken("one", tomorrow);
    await expect.poll(() => knows(other, "one")).toBe(true);
  });

  it("A8 a message is told at once: long before a poll", async () => {
    const [one, other] = [open(), open({ pollMs: 60_000, maxStaleSec: 3_600 })];
    await expect.poll(() => knows(other, "none")).toBe(false);
    await expect
      .poll(async () => (await admin.pubsub("NUMSUB", `${key}:changes`))[1])
      .toBeGreaterThanOrEqual(1);
    await one.revokeToken("one", tomorrow);
    await expect.poll(() => knows(other, "one"), { timeout: 0.9 * 60_000 }).toBe(true);
  });

  it("A8 a Redis without memory refuses visibly, and nothing is revoked", async () => {
    const list = open();
    await list.revokeToken("before", tomorrow);
    expect(await knows(list, "before")).toBe(true);
    await admin.config("SET", "maxmemory", "1");
    await expect(list.revokeToken("one", tomorrow)).rejects.toThrow(/OOM/);
    expect(await knows(list, "one")).toBe(false);
    await admin.config("SET", "maxmemory", "0");
    await list.revokeToken("one", tomorrow);
    expect(await knows(list, "one")).toBe(true);
  });

  it.each(["", ":revisions", ":ends"])("A8 instances repair a list of which %j was evicted", async (part) => {
    const [one, other] = [open(), open()];
    await one.revokeToken("one", tomorrow);
    await one.revokeSubject("ada");
    await expect.poll(() => knows(other, "one")).toBe(true);
    await admin.del(`${key}${part}`);
    await expect.poll(() => admin.hlen(key)).toBe(4);
    await expect.poll(() => admin.zcard(`${key}:revisions`)).toBe(2);
    await expect.poll(() => admin.zcard(`${key}:ends`)).toBe(2);
    expect(await knows(open(), "one")).toBe(true);
  });

  it.each<[string, () => Promise<unknown>]>([
    ["of another type", () => admin.set(key, "text")],
    ["with times that are none", () => admin.hset(key, "token:one", "soon later")],
    ["with times below zero", () => admin.hset(key, "token:one", "-1 -1")],
  ])("A8 data %s are a failure, not an empty list", async (_what, spoil) => {
    await open().revokeToken("one", tomorrow);
    await spoil();
    const list = open();
    await expect.poll(() => knows(list, "two")).toMatch(/WRONGTYPE|something other than revocations/);
  });

  it("L10 entries that have ended leave Redis with later revocations", async () => {
    const list = open();
    for (let n = 0; n < 10; n++) await list.revokeToken(`old-${n}`, Date.now() - 301_000);
    await list.revokeToken("new", tomorrow);
    await list.revokeToken("newer", tomorrow);
    expect(await admin.zcard(`${key}:revisions`)).toBe(2);
    expect(await admin.zcard(`${key}:ends`)).toBe(2);
    expect(Object.keys(await admin.hgetall(key)).sort()).toEqual([
      "epoch",
      "revision",
      "token:new",
      "token:newer",
    ]);
  });

  it("A8 lists under another prefix are others", async () => {
    const [orders, bills] = [open({ keyPrefix: "orders" }), open({ keyPrefix: "bills" })];
    await orders.revokeToken("one", tomorrow);
    await bills.revokeToken("two", tomorrow);
    await expect.poll(() => knows(bills, "two")).toBe(true);
    expect(await knows(bills, "one")).toBe(false);
  });

  it("A8 a user of Redis without INFO can use it", async () => {
    await admin.call("ACL", ["SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", "-info"]);
    const client = new Redis({
      host: "127.0.0.1",
      port: server.port,
      username: "app",
      password: "pw",
      enableReadyCheck: false,
    });
    client.on("error", () => {});
    end.push(async () => client.disconnect());
    const list = open({ client });
    await list.revokeToken("one", tomorrow);
    expect(await knows(open({ client }), "one")).toBe(true);
  });
});
