// The store in Redis by itself: the contract, what a failure is, and what lies in Redis.
import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ConfigError } from "../../src/grpc/errors.ts";
import { redisRateLimitStore } from "../../src/redis/index.ts";
import { lacks } from "../clients/tools.ts";
import { eventually } from "../harness/secured.ts";
import { waitMs } from "../harness/time.ts";
import { describeStoreContract } from "../middleware/rate-limit/store-contract.ts";
import { type RedisServer, startRedis } from "./redis-server.ts";

const limit = { points: 2, durationSec: 600 };

describe.skipIf(lacks("redis-server"))("redisRateLimitStore", () => {
  let redis: RedisServer;
  const clients: Redis[] = [];
  const connect = (options: object = {}): Redis => {
    const client = new Redis({ host: "127.0.0.1", port: redis.port, ...options });
    client.on("error", () => {});
    clients.push(client);
    return client;
  };
  /** Nothing here is about time: a busy machine must not be taken for a slow Redis. */
  const storeOver = (client: Redis) => redisRateLimitStore({ client, timeoutMs: waitMs });
  const ready = async (client: Redis): Promise<Redis> => {
    await eventually(() => client.status === "ready", "a connection");
    return client;
  };

  let client: Redis;
  beforeAll(async () => {
    redis = await startRedis();
    client = await ready(connect());
  });
  afterAll(async () => {
    for (const each of clients) each.disconnect();
    await redis[Symbol.asyncDispose]();
  });

  describeStoreContract("in Redis", () => storeOver(client));

  it("L1 keeps one key for a caller, which Redis drops by itself", async () => {
    const store = redisRateLimitStore({ client, timeoutMs: waitMs, keyPrefix: "orders" });
    await store.consume("peer::ip:192.0.2.1", 1, limit);
    expect(await client.keys("orders:*")).toEqual(["orders:peer::ip:192.0.2.1"]);
    expect(await client.get("orders:peer::ip:192.0.2.1")).toBe("1");
    expect(await client.pttl("orders:peer::ip:192.0.2.1")).toBeGreaterThan(500_000);
    // A question leaves nothing.
    await store.consume("asked", 0, limit);
    expect(await client.exists("orders:asked")).toBe(0);
  });

  it("L1 asks Redis once for each consumption, and both of one tick leave together where ioredis pipelines", async () => {
    const pipelining = await ready(connect({ enableAutoPipelining: true }));
    const store = storeOver(pipelining);
    await store.consume("warm", 1, limit);
    const monitor = await (await ready(connect())).monitor();
    const seen: string[] = [];
    monitor.on("monitor", (_time: string, args: string[], source: string) => {
      if (source !== "lua") seen.push(args[0]?.toLowerCase() ?? "");
    });
    await Promise.all([store.consume("one", 1, limit), store.consume("other", 1, limit)]);
    await eventually(() => seen.length >= 2, "two commands");
    monitor.disconnect();
    expect(seen).toEqual(["evalsha", "evalsha"]);
  });

  it("L1 stays its own where the application limits rates over the same client", async () => {
    const { RateLimiterRedis } = await import("rate-limiter-flexible");
    const store = storeOver(client);
    await store.consume("shared", 1, { points: 2, durationSec: 0.5 });
    const theirs = new RateLimiterRedis({
      storeClient: client,
      points: 2,
      duration: 100,
      keyPrefix: "theirs",
    });
    await theirs.consume("shared");
    expect(await client.pttl("theirs:shared")).toBeGreaterThan(90_000);
    await store.consume("afterwards", 1, { points: 2, durationSec: 0.5 });
    expect(await client.pttl("palisade:afterwards")).toBeLessThanOrEqual(500);
  });

  it("L1 waits for a client that is connecting", async () => {
    expect(await storeOver(connect()).consume("early", 1, limit)).toMatchObject({ allowed: true });
  });

  it("L1 connects a client that connects with its first command", async () => {
    const lazy = connect({ lazyConnect: true });
    expect(await storeOver(lazy).consume("lazy", 1, limit)).toMatchObject({ allowed: true });
  });

  it("L1 rejects at once while the client is not connected", async () => {
    const away = connect({ port: 1, retryStrategy: () => waitMs });
    await eventually(() => away.status === "reconnecting", "a lost connection");
    await expect(storeOver(away).consume("any", 1, limit)).rejects.toThrow("not ready");
  });

  it("L1 rejects where Redis refuses: the key holds something else", async () => {
    await client.lpush("palisade:list", "one");
    await expect(storeOver(client).consume("list", 1, limit)).rejects.toThrow("WRONGTYPE");
    await client.set("palisade:text", "many");
    await expect(storeOver(client).consume("text", 1, limit)).rejects.toThrow();
  });

  it("L1 rejects where Redis has no memory left", async () => {
    const store = storeOver(client);
    await store.consume("full", 1, limit);
    await client.config("SET", "maxmemory", "1");
    try {
      await expect(store.consume("full", 1, limit)).rejects.toThrow("OOM");
    } finally {
      await client.config("SET", "maxmemory", "0");
    }
    expect(await store.consume("full", 1, limit)).toMatchObject({ allowed: true });
  });

  it("L1 rejects after timeoutMs where Redis hangs", async () => {
    const hanging = await ready(connect());
    const store = redisRateLimitStore({ client: hanging, timeoutMs: 20 });
    redis.hang();
    try {
      await expect(store.consume("hung", 1, limit)).rejects.toThrow("did not answer within 20 ms");
    } finally {
      redis.goOn();
    }
  });

  it("L1 takes no answer for late because this process was busy for longer than timeoutMs", async () => {
    // By a patient one, so that Redis has the script.
    await storeOver(client).consume("busy", 1, limit);
    const answer = redisRateLimitStore({ client, timeoutMs: 100 }).consume("busy", 1, limit);
    const until = performance.now() + 500;
    while (performance.now() < until);
    expect(await answer).toMatchObject({ allowed: true });
  });

  it.each(["+OK", "$-1", ":1", "*2\r\n$1\r\nx\r\n$1\r\ny", "*2\r\n:1\r\n:-5", "*0"])(
    "L1 rejects an answer that is no count: %j",
    async (reply) => {
      const server = await answering(reply);
      const { port } = server.address() as AddressInfo;
      const strange = new Redis({ host: "127.0.0.1", port, enableReadyCheck: false });
      clients.push(strange);
      await eventually(() => strange.status === "ready", "a connection");
      await expect(storeOver(strange).consume("any", 1, limit)).rejects.toThrow();
      strange.disconnect();
      server.close();
    },
  );
});

/** Something that answers every command alike. */
async function answering(reply: string): Promise<Server> {
  const server = createServer((socket: Socket) => {
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      const text = String(chunk).toLowerCase();
      const isOurs = text.includes("eval");
      for (let commands = text.split(/(?<=^|\r\n)\*/).length - 1; commands > 0; commands -= 1)
        socket.write(`${isOurs ? reply : "+OK"}\r\n`);
    });
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return server;
}

describe("redisRateLimitStore's options", () => {
  const client = { status: "ready", defineCommand() {} };

  it.each<[string, unknown, string]>([
    ["no client", {}, "redisRateLimitStore.client: expected an ioredis client, such as new Redis(url)"],
    ["a URL", { client: "redis://localhost" }, "redisRateLimitStore.client: expected an ioredis client"],
    ["a time limit of 0", { client, timeoutMs: 0 }, "redisRateLimitStore.timeoutMs: must be at least 1"],
    [
      "no prefix",
      { client, keyPrefix: "" },
      "redisRateLimitStore.keyPrefix: expected a string that is not empty",
    ],
    ["a misspelt one", { client, timeout: 1 }, "redisRateLimitStore.timeout: unknown option"],
  ])("%s is refused", (_, options, message) => {
    expect(() => redisRateLimitStore(options as never)).toThrow(ConfigError);
    expect(() => redisRateLimitStore(options as never)).toThrow(message);
  });
});
