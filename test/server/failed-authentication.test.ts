// Who shows bad credentials is throttled, and nobody else (L8, L10).
import { Buffer } from "node:buffer";
import { type Client, credentials, Client as GrpcClient } from "@grpc/grpc-js";
import { beforeAll, describe, expect, it } from "vitest";
import { invoke, kinds } from "../harness/kinds.ts";
import { type Secured, type SecuredOptions, secured, theWorld, type World } from "../harness/secured.ts";

let world: World;
beforeAll(async () => {
  world = await theWorld();
});

/** Callers without certificates: one address for all. */
function tls(): NonNullable<SecuredOptions["tls"]> {
  return { cert: Buffer.from(world.server.cert), key: Buffer.from(world.server.key) };
}

const behindProxy = { trustedProxies: ["127.0.0.1"], addressFrom: "x-forwarded-for" } as const;

async function told(client: Client, metadata: Readonly<Record<string, string>>): Promise<string> {
  return (await invoke(client, "unary", { metadata })).details;
}

function bad(n: number, headers: Record<string, string> = {}): Record<string, string> {
  return { authorization: `Bearer guess${n}`, ...headers };
}

async function guess(client: Client, times: number, headers: Record<string, string> = {}): Promise<void> {
  for (let n = 0; n < times; n++) expect(await told(client, bad(n, headers))).toBe("invalid credentials");
}

/** A client with no certificate. */
function stranger(wall: Secured): Client {
  return new GrpcClient(wall.address, credentials.createSsl(Buffer.from(world.ca.caPem)), {
    "grpc.use_local_subchannel_pool": 1,
  });
}

describe("L8 failed authentication", () => {
  it.each(kinds)(
    "L8 after 20 bad credentials a peer is refused before the next one of a %s call is verified",
    async (kind) => {
      await using wall = await secured();
      const client = wall.client();
      await guess(client, 20);
      const refused = await invoke(client, kind, { metadata: bad(21), keepOpen: true });
      expect(`${refused.name} ${refused.details}`).toBe("RESOURCE_EXHAUSTED rate limit exceeded");
      const seconds = Number(refused.trailers.get("retry-after")[0]);
      expect(seconds).toBeGreaterThan(290);
      expect(seconds).toBeLessThanOrEqual(300);
      expect(await wall.auditEntry(({ status }) => status === "RESOURCE_EXHAUSTED")).toMatchObject({
        decision: "deny",
        rule: "failed-authentication",
        caller: null,
      });
      expect(wall.started).toEqual([]);
    },
  );

  it("L8 calls without a credential, and expired ones, guess nothing", async () => {
    await using wall = await secured({
      rateLimit: { failedAuthentication: { points: 2, durationSec: 600 } },
    });
    const client = wall.client();
    const expired = await wall.authorized({ exp: 1_000_000_000 });
    for (let i = 0; i < 5; i++) {
      expect(await told(client, {})).toBe("missing credentials");
      expect(await told(client, expired)).toBe("expired credentials");
    }
    expect(await told(client, await wall.authorized())).toBe("OK");
  });

  it("L8 a neighbour behind the same configured balancer is not locked out, on the same connection", async () => {
    await using wall = await secured({ peer: behindProxy });
    const balancer = wall.client();
    const good = await wall.authorized();
    await guess(balancer, 20, { "x-forwarded-for": "192.0.2.66" });
    expect(await told(balancer, bad(21, { "x-forwarded-for": "192.0.2.66" }))).toBe("rate limit exceeded");
    expect(await told(balancer, { ...good, "x-forwarded-for": "192.0.2.7" })).toBe("OK");
    expect(await told(balancer, bad(1, { "x-forwarded-for": "192.0.2.7" }))).toBe("invalid credentials");
    // Who is blocked cannot write himself out of it: what stands before the proxy's entry is nobody's word.
    expect(await told(balancer, bad(22, { "x-forwarded-for": "192.0.2.7, 192.0.2.66" }))).toBe(
      "rate limit exceeded",
    );
  });

  it("L8 a neighbour behind the same address that nobody configured is let in with a good credential", async () => {
    await using wall = await secured({ tls: tls() });
    const attacker = stranger(wall);
    await guess(attacker, 20);
    expect(await told(attacker, bad(21))).toBe("rate limit exceeded");
    const neighbour = stranger(wall);
    const good = await wall.authorized();
    expect(await told(neighbour, good)).toBe("OK");
    expect(await told(neighbour, good)).toBe("OK");
    expect(await told(attacker, bad(22))).toBe("rate limit exceeded");
    // One try for each connection is all that this gives to an attacker.
    const again = stranger(wall);
    expect(await told(again, bad(23))).toBe("invalid credentials");
    expect(await told(again, bad(24))).toBe("rate limit exceeded");
    for (const client of [attacker, neighbour, again]) client.close();
  });

  it("L8 a credential that was good meanwhile passes on a connection on which others failed", async () => {
    await using wall = await secured({ tls: tls() });
    const shared = stranger(wall);
    const good = await wall.authorized();
    await guess(shared, 1);
    expect(await told(shared, good)).toBe("OK");
    await guess(shared, 19);
    expect(await told(shared, good)).toBe("OK");
    expect(await told(shared, await wall.authorized({ sub: "never-seen" }))).toBe("rate limit exceeded");
    shared.close();
  });

  it("L8 where the proxy forwards nothing that can be read, each credential is counted by itself", async () => {
    await using wall = await secured({
      peer: behindProxy,
      rateLimit: { failedAuthentication: { points: 3, durationSec: 600 } },
    });
    const balancer = wall.client();
    for (let i = 0; i < 3; i++) expect(await told(balancer, bad(1))).toBe("invalid credentials");
    expect(await told(balancer, bad(1))).toBe("rate limit exceeded");
    expect(await told(balancer, bad(2, { "x-forwarded-for": "unknown" }))).toBe("invalid credentials");
    expect(await told(balancer, await wall.authorized())).toBe("OK");
  });

  it("L8 health probes pass from a peer that is blocked", async () => {
    await using wall = await secured({
      rateLimit: { failedAuthentication: { points: 1, durationSec: 600 } },
    });
    const client = wall.client();
    await guess(client, 1);
    expect(await told(client, bad(2))).toBe("rate limit exceeded");
    const probe = await invoke(client, "unary", { path: "/grpc.health.v1.Health/Check", metadata: {} });
    expect(probe.name).not.toBe("RESOURCE_EXHAUSTED");
  });
});
