// Servers without encryption, each for a reason that is named: this machine alone (T6), or a mesh in front (T8).
import dns from "node:dns";
import { mkdtemp, rm } from "node:fs/promises";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { Client, credentials, Metadata, type UntypedServiceImplementation } from "@grpc/grpc-js";
import { afterEach, describe, expect, it, vi } from "vitest";
import { securityContext } from "../../src/chain/current-context.ts";
import { bearerToken } from "../../src/client/bearer-token.ts";
import { createSecureClient } from "../../src/client/secure-client.ts";
import type { PeerCertificate } from "../../src/grpc/peer.ts";
import { anonymous } from "../../src/middleware/authentication/anonymous.ts";
import { allowAuthenticated } from "../../src/middleware/authorization/allow-authenticated.ts";
import type { MethodPolicy } from "../../src/middleware/authorization/authorizer.ts";
import { createSecureServer } from "../../src/server/secure-server.ts";
import { goodHandlers, invoke, kinds, kindsDefinition } from "../harness/kinds.ts";
import { registerMeterProvider } from "../harness/meters.ts";
import { eventually, keptLog, type Secured, secured } from "../harness/secured.ts";
import { inTime } from "../harness/time.ts";

afterEach(() => {
  vi.restoreAllMocks();
});

const loopback = { plaintext: "loopback" } as const;
const mesh = { plaintext: "mesh", trustForwardedClientCertFrom: ["127.0.0.0/8"] } as const;

async function withPlainClient<T>(target: string, use: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client(target, credentials.createInsecure(), {
    "grpc.use_local_subchannel_pool": 1,
    "grpc.enable_http_proxy": 0,
  });
  try {
    return await use(client);
  } finally {
    client.close();
  }
}

/** An address of this machine that others can reach, where it has one. */
const outside = Object.values(networkInterfaces())
  .flat()
  .find((each) => each?.family === "IPv4" && !each.internal)?.address;

describe("T6 plaintext for this machine alone", () => {
  it.each(kinds)("T6 a %s call over loopback passes the whole wall", async (kind) => {
    await using wall = await secured({ tls: loopback });
    const target = `127.0.0.1:${wall.port}`;
    const metadata = await wall.authorized();
    expect(await withPlainClient(target, (client) => invoke(client, kind, { metadata }))).toMatchObject({
      name: "OK",
    });
    expect(await withPlainClient(target, (client) => invoke(client, kind))).toMatchObject({
      name: "UNAUTHENTICATED",
    });
  });

  function bare(): ReturnType<typeof createSecureServer> {
    const server = createSecureServer({
      tls: loopback,
      authentication: anonymous(),
      authorization: allowAuthenticated(),
      logger: false,
    });
    server.addService(kindsDefinition, goodHandlers());
    return server;
  }

  it.each([
    "0.0.0.0:0",
    "[::]:0",
    "10.0.0.1:0",
    "localhost.example:0",
    "127.0.0.1.example:0",
    "[::ffff:127.0.0.1]:0",
    "2130706433:0",
    "127.1:0",
    ...(outside === undefined ? [] : [`${outside}:0`]),
  ])("T6 listen(%j) is a ConfigError, alone and among others", async (address) => {
    await expect(bare().listen(address)).rejects.toThrow(/tls\.plaintext "loopback" only this machine/);
    await expect(bare().listen(["127.0.0.1:0", address])).rejects.toThrow(/tls\.plaintext "loopback"/);
  });

  it.each(["127.0.0.1:0", "localhost:0", "127.0.0.2:0"])("T6 listen(%j) is fine", async (address) => {
    const server = bare();
    expect((await server.listen(address)).port).toBeGreaterThan(0);
    await server.shutdown({ graceMs: 0 });
  });

  it("T6 a name that resolves to elsewhere is a ConfigError, and nothing stays bound", async () => {
    const lookup = vi.spyOn(dns.promises, "lookup");
    lookup.mockResolvedValue([{ address: "0.0.0.0", family: 4 }] as never);
    await expect(bare().listen("localhost:0")).rejects.toThrow(/so 0\.0\.0\.0 cannot be bound/);
    expect(lookup).toHaveBeenCalled();
  });

  it("T6 a Unix socket is fine", async () => {
    const directory = await mkdtemp(join(tmpdir(), "palisade-unix-"));
    const server = bare();
    const path = join(directory, "orders.sock");
    expect(await server.listen(`unix:${path}`)).toMatchObject({ address: `unix:${path}` });
    const told = await withPlainClient(`unix:${path}`, (client) => invoke(client, "unary"));
    // The anonymous are told apart from the authenticated: the call arrived.
    expect(told.name).toBe("PERMISSION_DENIED");
    await server.shutdown({ graceMs: 0 });
    await rm(directory, { recursive: true, force: true });
  });
});

const hash = "468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de688";
const forwarded = `By=spiffe://mesh.example/orders;Hash=${hash};URI=spiffe://mesh.example/caller`;
const header = "x-forwarded-client-cert";

interface Seen {
  readonly certificate: PeerCertificate | undefined;
  readonly header: readonly unknown[];
}

/** Handlers that note whom they see, and whether the header reached them. */
function noting(seen: Seen[]): UntypedServiceImplementation {
  return Object.fromEntries(
    Object.entries(goodHandlers()).map(([name, handler]) => [
      name,
      (call: { metadata: Metadata }, callback: unknown) => {
        seen.push({ certificate: securityContext(call).peer.certificate, header: call.metadata.get(header) });
        return Reflect.apply(handler, undefined, [call, callback]);
      },
    ]),
  ) as unknown as UntypedServiceImplementation;
}

async function metadataWith(wall: Secured, ...values: readonly string[]): Promise<Metadata> {
  const metadata = new Metadata();
  for (const [key, value] of Object.entries(await wall.authorized())) metadata.set(key, value);
  for (const value of values) metadata.add(header, value);
  return metadata;
}

describe("T8 plaintext behind a mesh", () => {
  it.each(kinds)("T8 a trusted peer's forwarded certificate is the peer's on a %s call", async (kind) => {
    const seen: Seen[] = [];
    await using wall = await secured({ tls: mesh, handlers: noting(seen) });
    await withPlainClient(`127.0.0.1:${wall.port}`, async (client) => {
      expect(await invoke(client, kind, { metadata: await metadataWith(wall, forwarded) })).toMatchObject({
        name: "OK",
      });
      // Another caller over the same connection.
      expect(await invoke(client, kind, { metadata: await metadataWith(wall) })).toMatchObject({
        name: "OK",
      });
    });
    expect(seen.map(({ certificate }) => certificate?.name)).toEqual([
      "spiffe://mesh.example/caller",
      undefined,
    ]);
    expect(seen.flatMap((each) => each.header)).toEqual([]);
  });

  it("T8 of several header fields the last one counts", async () => {
    const seen: Seen[] = [];
    await using wall = await secured({ tls: mesh, handlers: noting(seen) });
    const metadata = await metadataWith(wall, `Hash=${hash};URI=spiffe://admin`, forwarded);
    await withPlainClient(`127.0.0.1:${wall.port}`, (client) => invoke(client, "unary", { metadata }));
    expect(seen.map(({ certificate }) => certificate?.name)).toEqual(["spiffe://mesh.example/caller"]);
  });

  it.each(kinds)(
    "T8 a header that cannot be understood refuses a %s call, good token or not",
    async (kind) => {
      await using wall = await secured({ tls: mesh });
      const metadata = await metadataWith(wall, `Subject="a,${forwarded}`);
      const told = await withPlainClient(`127.0.0.1:${wall.port}`, (client) =>
        invoke(client, kind, { metadata }),
      );
      expect(told).toMatchObject({ name: "UNAUTHENTICATED", details: "invalid credentials" });
      expect(wall.started).toEqual([]);
      const line = await wall.callLine((each) => each["grpc_code"] === "UNAUTHENTICATED");
      expect(JSON.stringify(line)).not.toContain("spiffe://mesh.example/caller");
    },
  );

  it.each([
    ["from another network", ["10.0.0.0/8", "fd00::/8"]],
    ["where only Unix sockets may", ["unix"]],
  ])("T8 a connection %s is refused, counted and logged", async (_what, trustForwardedClientCertFrom) => {
    const meters = registerMeterProvider();
    await using wall = await secured({ tls: { plaintext: "mesh", trustForwardedClientCertFrom } });
    const metadata = await metadataWith(wall, forwarded);
    const told = await withPlainClient(`127.0.0.1:${wall.port}`, (client) =>
      invoke(client, "unary", { metadata, call: { deadline: inTime() } }),
    );
    expect(told.name).toBe("UNAVAILABLE");
    expect(wall.started).toEqual([]);
    const line = await eventually(
      () => wall.lines.find(({ reason }) => reason === "untrusted_peer"),
      "a line about the connection",
    );
    expect(line).toMatchObject({ level: 40, peer: "127.0.0.1" });
    const { points } = await meters.read("palisade.connections.refused");
    expect(points.map(({ attributes }) => attributes)).toEqual([{ reason: "untrusted_peer" }]);
    await meters.shutdown();
  });

  it("T8 a Unix socket is trusted where it is listed", async () => {
    const directory = await mkdtemp(join(tmpdir(), "palisade-mesh-"));
    const seen: Seen[] = [];
    const server = createSecureServer({
      tls: { plaintext: "mesh", trustForwardedClientCertFrom: ["unix"] },
      authentication: anonymous(),
      authorization: { name: "all", compile: () => ({ forMethod: () => everybody }) },
      logger: false,
    });
    server.addService(kindsDefinition, noting(seen));
    const path = join(directory, "orders.sock");
    await server.listen(`unix:${path}`);
    const metadata = new Metadata();
    metadata.set(header, forwarded);
    const told = await withPlainClient(`unix:${path}`, (client) => invoke(client, "unary", { metadata }));
    expect(told.name).toBe("OK");
    expect(seen.map(({ certificate }) => certificate?.name)).toEqual(["spiffe://mesh.example/caller"]);
    await server.shutdown({ graceMs: 0 });
    await rm(directory, { recursive: true, force: true });
  });
});

const everybody: MethodPolicy = {
  access: "checked",
  decide: () => ({ effect: "allow", rule: "all" }),
};

describe("T8 on other servers the header is worth nothing", () => {
  it.each(kinds)("T8 over TLS it is taken out of a %s call", async (kind) => {
    const seen: Seen[] = [];
    await using wall = await secured({ handlers: noting(seen) });
    const metadata = await metadataWith(wall, forwarded);
    expect(await invoke(wall.client(), kind, { metadata })).toMatchObject({ name: "OK" });
    expect(seen).toHaveLength(1);
    expect(seen[0]?.header).toEqual([]);
    expect(seen[0]?.certificate?.name).toBe("spiffe://test.example/client");
  });

  it("T8 over plaintext loopback it is no certificate", async () => {
    const seen: Seen[] = [];
    await using wall = await secured({ tls: loopback, handlers: noting(seen) });
    const metadata = await metadataWith(wall, forwarded);
    await withPlainClient(`127.0.0.1:${wall.port}`, (client) => invoke(client, "unary", { metadata }));
    expect(seen).toEqual([{ certificate: undefined, header: [] }]);
  });
});

describe("L5 L11 a forwarded certificate without end", () => {
  it("L11 takes no longer than an honest one of its size", async () => {
    await using wall = await secured({ tls: mesh, limits: { maxMetadataBytes: 200_000 } });
    await withPlainClient(`127.0.0.1:${wall.port}`, async (client) => {
      const metadata = await wall.authorized();
      const timed = async (header: string): Promise<readonly [name: string, ms: number]> => {
        const started = performance.now();
        const { name } = await invoke(client, "unary", {
          metadata: { ...metadata, "x-forwarded-client-cert": header },
        });
        return [name, performance.now() - started];
      };
      const spaces = " ".repeat(60_000);
      // Tried again where it looks wrong: only what takes too long does so each time.
      for (let attempt = 1; ; attempt++) {
        const [honest, honestMs] = await timed(`${forwarded};X="${spaces}"`);
        const [hostile, hostileMs] = await timed(`${forwarded};X=${spaces}"`);
        expect([honest, hostile]).toEqual(["OK", "UNAUTHENTICATED"]);
        const most = 1000 + 5 * honestMs;
        if (hostileMs < most) break;
        if (attempt === 5) expect(hostileMs).toBeLessThan(most);
      }
    });
  });

  it.each(kinds)(
    "L5 of a %s call over the limit is not read: the call is refused for its size",
    async (kind) => {
      await using wall = await secured({ tls: mesh });
      await withPlainClient(`127.0.0.1:${wall.port}`, async (client) => {
        const metadata = {
          ...(await wall.authorized()),
          "x-forwarded-client-cert": forwarded,
          "x-a": "a".repeat(9000),
        };
        expect(await invoke(client, kind, { metadata })).toMatchObject({
          name: "RESOURCE_EXHAUSTED",
          details: "metadata too large",
        });
        const entry = await wall.auditEntry(() => true);
        expect(JSON.stringify(entry)).not.toContain("spiffe://mesh.example/caller");
      });
    },
  );
});

describe("T6 K2 the client of a mesh", () => {
  it.each(kinds)("T6 K2 credentials pass on a %s call, and it is said once", async (kind) => {
    await using wall = await secured({ tls: mesh });
    const { logger, lines } = keptLog();
    const token = (await wall.authorized()).authorization.replace("Bearer ", "");
    const options = {
      tls: { plaintext: "mesh" },
      credentials: bearerToken(token),
      logger,
      channelOptions: { "grpc.use_local_subchannel_pool": 1 },
    } as const;
    for (let i = 0; i < 2; i++) {
      const client = createSecureClient(Client, `127.0.0.1:${wall.port}`, options);
      expect(await invoke(client, kind)).toMatchObject({ name: "OK" });
      client.close();
    }
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatchObject({ level: 40, target: `127.0.0.1:${wall.port}` });
    expect(JSON.stringify(lines)).not.toContain(token);
  });
});
