// Several instances of a service, each in a process of its own, that count in one Redis.
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Client, credentials } from "@grpc/grpc-js";
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { issueApiKey } from "../../src/middleware/authentication/memory-api-key-store.ts";
import { lacks } from "../clients/tools.ts";
import { forkProgram } from "../harness/child-process.ts";
import { invoke, kinds, paths } from "../harness/kinds.ts";
import type { InstanceOptions } from "./instance.ts";
import { type RedisServer, startRedis } from "./redis-server.ts";

const program = fileURLToPath(new URL("./instance.ts", import.meta.url));
const { key, record } = issueApiKey({ owner: "shop" });
const good = { "x-api-key": key };
const bad = (n: number): Record<string, string> => ({ "x-api-key": `guess${n}` });

interface Instance extends AsyncDisposable {
  readonly client: Client;
}

describe.skipIf(lacks("redis-server"))("instances that count in one Redis", () => {
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(() => redis[Symbol.asyncDispose]());

  async function startInstance(options: Omit<InstanceOptions, "redisPort" | "keys">): Promise<Instance> {
    const wanted: InstanceOptions = { redisPort: redis.port, keys: [record], ...options };
    const forked = await forkProgram<number>(program, [JSON.stringify(wanted)], ["--import", "tsx"]);
    const client = new Client(`127.0.0.1:${forked.first}`, credentials.createInsecure());
    return {
      client,
      async [Symbol.asyncDispose]() {
        client.close();
        const exited = once(forked.process, "exit");
        forked.process.send("stop");
        // By itself: nothing of the store keeps the process.
        expect(await exited).toEqual([0, null]);
      },
    };
  }

  /** Two that count together, and with nobody else. */
  async function two(
    options: Omit<InstanceOptions, "redisPort" | "keys">,
  ): Promise<readonly [Instance, Instance]> {
    await redis.kill();
    await redis.start();
    return await Promise.all([startInstance(options), startInstance(options)]);
  }

  /** What callers of one instance are told: so many calls, fifty at once. */
  async function flood(
    { client }: Instance,
    calls: number,
    path = paths.unary,
  ): Promise<Record<string, number>> {
    const told: Record<string, number> = {};
    let made = 0;
    const caller = async (): Promise<void> => {
      while (made < calls) {
        made += 1;
        const { details } = await invoke(client, "unary", { metadata: good, path });
        told[details] = (told[details] ?? 0) + 1;
      }
    };
    await Promise.all(Array.from({ length: 50 }, caller));
    return told;
  }

  const total = (told: readonly Record<string, number>[], text: string): number =>
    told.reduce((sum, each) => sum + (each[text] ?? 0), 0);

  it.each(["perPeer", "perPrincipal"] as const)(
    "L1 admit together 1,000 of 10,000 calls within one per cent: %s",
    async (limit) => {
      const off = { perPeer: false, perPrincipal: false } as const;
      const [one, other] = await two({
        rateLimit: { ...off, [limit]: { points: 1_000, durationSec: 3_600 } },
      });
      await using _one = one;
      await using _other = other;
      const told = await Promise.all([flood(one, 5_000), flood(other, 5_000)]);
      expect(total(told, "OK")).toBeGreaterThanOrEqual(990);
      expect(total(told, "OK")).toBeLessThanOrEqual(1_010);
      expect(total(told, "OK") + total(told, "rate limit exceeded")).toBe(10_000);
    },
  );

  it("L1 share what calls of single methods cost, and count limits of their own apart", async () => {
    const [one, other] = await two({
      rateLimit: { perPeer: { points: 100, durationSec: 3_600 }, perPrincipal: false },
      methods: {
        [paths.unary]: { rateLimit: { cost: 10 } },
        [paths.server_stream]: { rateLimit: { perPeer: { points: 3, durationSec: 3_600 } } },
      },
    });
    await using _one = one;
    await using _other = other;
    const names = async (instance: Instance, kind: "unary" | "server_stream"): Promise<string> =>
      (await invoke(instance.client, kind, { metadata: good })).name;
    for (let i = 0; i < 5; i++) {
      expect(await names(one, "unary")).toBe("OK");
      expect(await names(other, "unary")).toBe("OK");
    }
    expect(await names(one, "unary")).toBe("RESOURCE_EXHAUSTED");
    expect(await names(other, "unary")).toBe("RESOURCE_EXHAUSTED");
    for (const instance of [one, other, one]) expect(await names(instance, "server_stream")).toBe("OK");
    expect(await names(other, "server_stream")).toBe("RESOURCE_EXHAUSTED");
  });

  it.each(kinds)("L1 %s: a limit that one instance reached holds at the other", async (kind) => {
    const [one, other] = await two({ rateLimit: { perPrincipal: { points: 2, durationSec: 3_600 } } });
    await using _one = one;
    await using _other = other;
    for (let i = 0; i < 2; i++) expect((await invoke(one.client, kind, { metadata: good })).name).toBe("OK");
    const refused = await invoke(other.client, kind, { metadata: good });
    expect(`${refused.name} ${refused.details}`).toBe("RESOURCE_EXHAUSTED rate limit exceeded");
    expect(Number(refused.trailers.get("retry-after")[0])).toBeGreaterThan(3_000);
  });

  const failedAuthentication = { points: 5, durationSec: 600, blockDurationSec: 3_600 };

  it("L8 block a caller that failed to log in at another", async () => {
    const [one, other] = await two({
      rateLimit: { failedAuthentication },
      peer: { trustedProxies: ["127.0.0.1"], addressFrom: "x-forwarded-for" },
    });
    await using _one = one;
    await using _other = other;
    const from = (address: string, n: number): Record<string, string> => ({
      ...bad(n),
      "x-forwarded-for": address,
    });
    const told = async (instance: Instance, metadata: Record<string, string>): Promise<string> =>
      (await invoke(instance.client, "unary", { metadata })).details;
    for (let n = 0; n < 5; n++) expect(await told(one, from("192.0.2.66", n))).toBe("invalid credentials");
    expect(await told(one, from("192.0.2.66", 5))).toBe("rate limit exceeded");
    // The block is for all: it lasts longer than the window.
    const redisClient = new Redis({ host: "127.0.0.1", port: redis.port });
    while ((await redisClient.pttl("palisade:login::ip:192.0.2.66")) < 3_000_000);
    redisClient.disconnect();
    // It never failed there.
    const blocked = await invoke(other.client, "unary", { metadata: from("192.0.2.66", 6) });
    expect(blocked.details).toBe("rate limit exceeded");
    expect(Number(blocked.trailers.get("retry-after")[0])).toBeGreaterThan(3_000);
    expect(await told(other, from("192.0.2.7", 7))).toBe("invalid credentials");
    expect(await told(other, { ...good, "x-forwarded-for": "192.0.2.8" })).toBe("OK");
  });

  it("L8 count failures together, wherever each was made", async () => {
    const [one, other] = await two({ rateLimit: { failedAuthentication } });
    await using _one = one;
    await using _other = other;
    const redisClient = new Redis({ host: "127.0.0.1", port: redis.port });
    const counted = async (): Promise<number> => {
      const keys = await redisClient.keys("palisade:login:*");
      const values = await Promise.all(keys.map((name) => redisClient.get(name)));
      return values.reduce((sum, value) => sum + Number(value), 0);
    };
    let verified = 0;
    for (let n = 0; n < 20; n++) {
      const { client } = n % 2 === 0 ? one : other;
      const { details } = await invoke(client, "unary", { metadata: bad(n) });
      if (details !== "invalid credentials") continue;
      verified += 1;
      // A call does not wait for that, and on a busy machine several are faster than Redis.
      while ((await counted()) < Math.min(verified, failedAuthentication.points));
    }
    redisClient.disconnect();
    // A few more may be judged before an instance hears of the other's: each by itself would judge ten.
    expect(verified).toBeGreaterThanOrEqual(5);
    expect(verified).toBeLessThanOrEqual(8);
    for (const { client } of [one, other])
      expect((await invoke(client, "unary", { metadata: bad(99) })).details).toBe("rate limit exceeded");
  });
});
