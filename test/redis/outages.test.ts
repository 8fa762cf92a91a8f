// A server whose Redis is away, hangs, is full or slow: the process decides by itself, and Redis again when it is back.
import { once } from "node:events";
import { type AddressInfo, createServer, connect as dial, type Socket } from "node:net";
import { Redis } from "ioredis";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { redisRateLimitStore } from "../../src/redis/redis-rate-limit-store.ts";
import { lacks } from "../clients/tools.ts";
import { invoke, kinds } from "../harness/kinds.ts";
import { eventually, type Secured, type SecuredOptions, secured } from "../harness/secured.ts";
import { type RedisServer, startRedis } from "./redis-server.ts";

const over = "rate limit exceeded";
const gone = "the rate limit store does not answer; until it does, this process counts in its own memory";
const back = "the rate limit store answers again";

describe.skipIf(lacks("redis-server"))("L1 while Redis does not answer", () => {
  let redis: RedisServer;
  let client: Redis;
  beforeEach(async () => {
    redis = await startRedis();
    client = await connected(redis.port);
  });
  afterEach(async () => {
    client.disconnect();
    redis.goOn();
    await redis[Symbol.asyncDispose]();
  });

  async function connected(port: number): Promise<Redis> {
    const made = new Redis({ host: "127.0.0.1", port, retryStrategy: () => 20 });
    made.on("error", () => {});
    await eventually(() => made.status === "ready", "a connection");
    return made;
  }

  /** `points` for the peer, in an hour. `timeoutMs`: as long as the checks of a call allow, where nothing is to be late. */
  const wallWith = (
    points: number,
    { timeoutMs = 4_000, ...options }: SecuredOptions["rateLimit"] & { readonly timeoutMs?: number } = {},
  ): Promise<Secured> =>
    secured({
      rateLimit: {
        perPeer: { points, durationSec: 3_600 },
        perPrincipal: false,
        store: redisRateLimitStore({ client, timeoutMs }),
        ...options,
      },
    });

  const said = (wall: Secured, text: string): number => wall.lines.filter(({ msg }) => msg === text).length;
  const call = async (wall: Secured): Promise<string> =>
    (await invoke(wall.client(), "unary", { metadata: await wall.authorized() })).details;

  /** Makes calls until the store decides again. */
  async function untilBack(wall: Secured): Promise<void> {
    const client = wall.client();
    const metadata = await wall.authorized();
    while (said(wall, back) === 0) await invoke(client, "unary", { metadata });
  }

  it.each(kinds)("%s calls go on when it is killed, by the limits of the process", async (kind) => {
    await using wall = await wallWith(3);
    const metadata = await wall.authorized();
    const caller = wall.client();
    const told = async (): Promise<string> => (await invoke(caller, kind, { metadata })).details;
    expect(await told()).toBe("OK");
    await redis.kill();
    for (let i = 0; i < 3; i++) expect(await told()).toBe("OK");
    expect(await told()).toBe(over);
    expect(said(wall, gone)).toBe(1);
  });

  it("it decides again by itself when it was restarted", async () => {
    await using wall = await wallWith(1_000_000);
    expect(await call(wall)).toBe("OK");
    await redis.kill();
    expect(await call(wall)).toBe("OK");
    await eventually(() => said(wall, gone) === 1, "the line that it is gone");
    await redis.start();
    await untilBack(wall);
    // In Redis is what was consumed since: one probe, and what came after it.
    const before = Number(await client.get(`palisade:${await peerKeyIn(client)}`));
    expect(await call(wall)).toBe("OK");
    expect(Number(await client.get(`palisade:${await peerKeyIn(client)}`))).toBe(before + 1);
    expect(said(wall, gone)).toBe(1);
    expect(said(wall, back)).toBe(1);
  });

  it("one call waits for its time limit when it hangs, and those after it do not", async () => {
    await using wall = await wallWith(1_000_000, { timeoutMs: 300 });
    expect(await call(wall)).toBe("OK");
    redis.hang();
    expect(await call(wall)).toBe("OK");
    expect(said(wall, gone)).toBe(1);
    // A hundred, one after the other, would take half a minute if each waited. One a second may.
    const started = performance.now();
    const caller = wall.client();
    const metadata = await wall.authorized();
    for (let i = 0; i < 100; i++) expect((await invoke(caller, "unary", { metadata })).details).toBe("OK");
    const took = performance.now() - started;
    const probes = Math.ceil(took / 1_000);
    expect(took).toBeLessThan(100 * 300);
    expect(probes).toBeLessThan(30);
    redis.goOn();
    await untilBack(wall);
  });

  it("the process decides while it has no memory left", async () => {
    await using wall = await wallWith(3);
    expect(await call(wall)).toBe("OK");
    await client.config("SET", "maxmemory", "1");
    for (let i = 0; i < 3; i++) expect(await call(wall)).toBe("OK");
    expect(await call(wall)).toBe(over);
    expect(wall.lines.find(({ msg }) => msg === gone)).toMatchObject({
      level: 40,
      err: { message: expect.stringContaining("OOM") },
    });
  });

  it("the process decides while it answers too slowly", async () => {
    await using proxy = await slowProxy(redis.port);
    client.disconnect();
    client = await connected(proxy.port);
    await using wall = await wallWith(1_000_000, { timeoutMs: 1_000 });
    expect(await call(wall)).toBe("OK");
    expect(said(wall, gone)).toBe(0);
    proxy.slow();
    expect(await call(wall)).toBe("OK");
    expect(wall.lines.find(({ msg }) => msg === gone)).toMatchObject({
      err: { message: "Redis did not answer within 1000 ms" },
    });
    proxy.fast();
    await untilBack(wall);
  });

  it("a key that was over its limit stays refused, without asking", async () => {
    await using wall = await wallWith(1);
    expect(await call(wall)).toBe("OK");
    expect(await call(wall)).toBe(over);
    const commands = await commandsOf(client);
    for (let i = 0; i < 20; i++) expect(await call(wall)).toBe(over);
    expect((await commandsOf(client)) - commands).toBe(0);
    await redis.kill();
    for (let i = 0; i < 20; i++) expect(await call(wall)).toBe(over);
    expect(said(wall, gone)).toBe(0);
  });

  it("L8 failed logins are counted by the process, and a block stays", async () => {
    await using wall = await wallWith(1_000_000, {
      failedAuthentication: { points: 3, durationSec: 600, blockDurationSec: 600 },
    });
    const caller = wall.client();
    const guess = async (): Promise<string> =>
      (await invoke(caller, "unary", { metadata: { authorization: "Bearer wrong" } })).details;
    await redis.kill();
    for (let i = 0; i < 3; i++) expect(await guess()).toBe("invalid credentials");
    expect(await guess()).toBe(over);
    await redis.start();
    expect(await guess()).toBe(over);
  });
});

async function peerKeyIn(client: Redis): Promise<string> {
  const [key = ""] = await client.keys("palisade:peer:*");
  return key.slice("palisade:".length);
}

/** How often our script was run. */
async function commandsOf(client: Redis): Promise<number> {
  const stats = await client.info("commandstats");
  return [...stats.matchAll(/cmdstat_eval(?:sha)?:calls=(\d+)/g)].reduce((sum, [, n]) => sum + Number(n), 0);
}

interface SlowProxy extends AsyncDisposable {
  readonly port: number;
  slow(): void;
  fast(): void;
}

/** Holds back what Redis answers. */
async function slowProxy(redisPort: number): Promise<SlowProxy> {
  let isSlow = false;
  const held: (() => void)[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = dial(redisPort, "127.0.0.1");
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on("error", () => {});
    }
    near.on("data", (chunk) => far.write(chunk));
    far.on("data", (chunk) => {
      if (isSlow) held.push(() => near.write(chunk));
      else near.write(chunk);
    });
    near.on("close", () => far.destroy());
    far.on("close", () => near.destroy());
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return {
    port: (server.address() as AddressInfo).port,
    slow() {
      isSlow = true;
    },
    fast() {
      isSlow = false;
      for (const write of held.splice(0)) write();
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}
