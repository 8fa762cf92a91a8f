// TLS over the whole server: which connections there are at all, and what a handler learns of the certificate.
import { Buffer } from "node:buffer";
import { connect as connectHttp2 } from "node:http2";
import { type ConnectionOptions, connect as connectTls } from "node:tls";
import {
  type ChannelOptions,
  Client,
  credentials,
  Metadata,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { beforeAll, describe, expect, it } from "vitest";
import { currentContext, securityContext } from "../../src/chain/current-context.ts";
import { createSecureClient } from "../../src/client/secure-client.ts";
import type { PeerCertificate } from "../../src/grpc/peer.ts";
import type { Authenticator } from "../../src/middleware/authentication/authenticator.ts";
import { allowAuthenticated } from "../../src/middleware/authorization/allow-authenticated.ts";
import {
  type CertificateRequest,
  createCertificateAuthority,
  type IssuedCertificate,
} from "../../src/testing/certificate-authority.ts";
import type { ServerTlsOptions } from "../../src/tls/server-tls-options.ts";
import { goodHandlers, invoke, kinds } from "../harness/kinds.ts";
import { registerMeterProvider } from "../harness/meters.ts";
import { eventually, type Secured, secured, theWorld, type World } from "../harness/secured.ts";
import { inTime } from "../harness/time.ts";
import { tlsConnect } from "../tls/endpoints.ts";

let world: World;
/** Of an authority that the server does not know. */
let stranger: IssuedCertificate;
let expired: IssuedCertificate;
let notYet: IssuedCertificate;
/** A server's certificate, shown by a client. */
let forServers: IssuedCertificate;
beforeAll(async () => {
  world = await theWorld();
  const others = await createCertificateAuthority({ name: "Test CA" });
  const hour = 3_600_000;
  [stranger, expired, notYet, forServers] = await Promise.all([
    others.issue({ uris: ["spiffe://test.example/client"], usage: "client" }),
    world.ca.issue({
      uris: ["spiffe://test.example/client"],
      usage: "client",
      notBefore: new Date(Date.now() - 2 * hour),
      notAfter: new Date(Date.now() - hour),
    }),
    world.ca.issue({
      uris: ["spiffe://test.example/client"],
      usage: "client",
      notBefore: new Date(Date.now() + hour),
      notAfter: new Date(Date.now() + 2 * hour),
    }),
    world.ca.issue({ dnsNames: ["client.example"], usage: "server" }),
  ]);
});

function serverTls(more: Partial<ServerTlsOptions> = {}): ServerTlsOptions {
  return {
    cert: Buffer.from(world.server.cert),
    key: Buffer.from(world.server.key),
    clientCa: Buffer.from(world.ca.caPem),
    ...more,
  };
}

const withoutClientCa = (): ServerTlsOptions => ({
  cert: Buffer.from(world.server.cert),
  key: Buffer.from(world.server.key),
});

/** A connection of bare TLS that asks for HTTP/2: resolves once the server has spoken. */
function connection(wall: Secured, options: ConnectionOptions = {}): ReturnType<typeof tlsConnect> {
  return tlsConnect(wall.port, { ALPNProtocols: ["h2"], ca: world.ca.caPem, ...options });
}

async function withClient<T>(
  wall: Secured,
  shown: IssuedCertificate | undefined,
  use: (client: Client) => Promise<T>,
  options: ChannelOptions = {},
): Promise<T> {
  const client = new Client(
    wall.address,
    credentials.createSsl(
      Buffer.from(world.ca.caPem),
      shown === undefined ? null : Buffer.from(shown.key),
      shown === undefined ? null : Buffer.from(shown.cert),
    ),
    { "grpc.use_local_subchannel_pool": 1, ...options },
  );
  try {
    return await use(client);
  } finally {
    client.close();
  }
}

/** Handlers that note the certificate of their peer, as they see it in the context and in every listener. */
function noting(seen: (PeerCertificate | undefined)[]): UntypedServiceImplementation {
  return Object.fromEntries(
    Object.entries(goodHandlers()).map(([name, handler]) => [
      name,
      (call: object, callback: unknown) => {
        const { peer } = securityContext(call);
        expect(currentContext()?.peer).toBe(peer);
        expect(peer).toMatchObject({ address: "127.0.0.1", secure: true });
        seen.push(peer.certificate);
        return Reflect.apply(handler, undefined, [call, callback]);
      },
    ]),
  ) as unknown as UntypedServiceImplementation;
}

/** Whoever has a verified certificate, and nobody else: what the mTLS authenticator will be. */
const byCertificate: Authenticator = {
  name: "certificate",
  source: "connection",
  presents: (call) => call.peer.certificate !== undefined,
  authenticate(call) {
    const name = call.peer.certificate?.name;
    if (name === undefined) throw new Error("no name");
    return {
      principal: {
        subject: name,
        kind: "service",
        scheme: "mtls",
        roles: new Set(["caller"]),
        permissions: new Set(),
        claims: {},
      },
    };
  },
};

describe("T1 protocol and ciphers", () => {
  it("T1 TLS 1.3 and HTTP/2 by default; TLS 1.2 is refused, and the refusal is counted and logged", async () => {
    const meters = registerMeterProvider();
    await using wall = await secured({ tls: serverTls() });
    const { cert, key } = world.client;
    expect(await connection(wall, { cert, key })).toMatchObject({ protocol: "TLSv1.3" });
    await expect(connection(wall, { cert, key, maxVersion: "TLSv1.2" })).rejects.toThrow(
      /protocol version|alert/,
    );
    const line = await eventually(
      () => wall.lines.find(({ reason }) => reason === "tls_handshake"),
      "a line",
    );
    expect(line).toMatchObject({ level: 40, peer: "127.0.0.1" });
    const { points } = await meters.read("palisade.connections.refused");
    expect(points).toEqual([{ attributes: { reason: "tls_handshake" }, value: 1 }]);
    await meters.shutdown();
  });

  it("T1 TLS 1.2 where it is asked for, and 1.1 never", async () => {
    await using wall = await secured({ tls: serverTls({ minVersion: "TLSv1.2" }) });
    const { cert, key } = world.client;
    expect(await connection(wall, { cert, key, maxVersion: "TLSv1.2" })).toMatchObject({
      protocol: "TLSv1.2",
    });
    expect(await connection(wall, { cert, key })).toMatchObject({ protocol: "TLSv1.3" });
    await expect(
      connection(wall, {
        cert,
        key,
        minVersion: "TLSv1",
        maxVersion: "TLSv1.1",
        ciphers: "DEFAULT@SECLEVEL=0",
      }),
    ).rejects.toThrow();
  });

  it("T1 only the ciphers that were chosen", async () => {
    const chosen = "TLS_AES_256_GCM_SHA384";
    await using wall = await secured({ tls: serverTls({ ciphers: chosen }) });
    const { cert, key } = world.client;
    const preferred = { cert, key, ciphers: `TLS_AES_128_GCM_SHA256:${chosen}` };
    expect(await connection(wall, preferred)).toMatchObject({ cipher: chosen });
    await expect(connection(wall, { cert, key, ciphers: "TLS_AES_128_GCM_SHA256" })).rejects.toThrow();
  });

  it("T1 what does not speak HTTP/2 is refused, counted and logged", async () => {
    await using wall = await secured();
    const { cert, key } = world.client;
    await expect(connection(wall, { cert, key, ALPNProtocols: ["http/1.1"] })).rejects.toThrow();
    const line = await eventually(
      () => wall.lines.find(({ reason }) => reason === "unknown_protocol" || reason === "tls_handshake"),
      "a line",
    );
    expect(line).toMatchObject({ peer: "127.0.0.1" });
  });

  it.each(kinds)("T1 T3 createSecureClient and createSecureServer agree, on a %s call", async (kind) => {
    await using wall = await secured();
    const client = createSecureClient(Client, wall.address, {
      tls: {
        ca: Buffer.from(world.ca.caPem),
        cert: Buffer.from(world.client.cert),
        key: Buffer.from(world.client.key),
      },
      channelOptions: { "grpc.use_local_subchannel_pool": 1 },
    });
    expect(await invoke(client, kind, { metadata: await wall.authorized() })).toMatchObject({ name: "OK" });
    client.close();
  });
});

interface Shown {
  readonly what: string;
  readonly certificate: () => IssuedCertificate | undefined;
  readonly require: "in" | "out";
  readonly request: "in, named" | "in, nobody" | "out";
  readonly none: "in, nobody";
}

const shown: readonly Shown[] = [
  {
    what: "a good certificate",
    certificate: () => world.client,
    require: "in",
    request: "in, named",
    none: "in, nobody",
  },
  {
    what: "no certificate",
    certificate: () => undefined,
    require: "out",
    request: "in, nobody",
    none: "in, nobody",
  },
  {
    what: "a stranger's certificate",
    certificate: () => stranger,
    require: "out",
    request: "out",
    none: "in, nobody",
  },
  {
    what: "an expired certificate",
    certificate: () => expired,
    require: "out",
    request: "out",
    none: "in, nobody",
  },
  {
    what: "one that is not valid yet",
    certificate: () => notYet,
    require: "out",
    request: "out",
    none: "in, nobody",
  },
  {
    what: "a server's certificate",
    certificate: () => forServers,
    require: "out",
    request: "out",
    none: "in, nobody",
  },
];

describe.each(shown)("T2 a client with $what", (row) => {
  const modes = [
    ["require", () => serverTls()],
    ["request", () => serverTls({ clientAuth: "request" })],
    ["none", () => withoutClientCa()],
  ] as const;

  describe.each(modes)('where clientAuth is "%s"', (mode, tls) => {
    it.each(kinds)("T2 a %s call", async (kind) => {
      const seen: (PeerCertificate | undefined)[] = [];
      await using wall = await secured({ tls: tls(), handlers: noting(seen) });
      const metadata = await wall.authorized();
      const result = await withClient(wall, row.certificate(), (client) =>
        invoke(client, kind, { metadata, call: { deadline: inTime() } }),
      );
      const expected = row[mode];
      if (expected === "out") {
        expect(result.name).toBe("UNAVAILABLE");
        expect(seen).toEqual([]);
        const line = await eventually(
          () => wall.lines.find(({ reason }) => reason === "certificate" || reason === "tls_handshake"),
          "a line about the connection",
        );
        expect(line).toMatchObject({ level: 40, peer: "127.0.0.1" });
        // Not one call was seen: the connection ended before HTTP/2.
        expect(wall.lines.filter((each) => each["grpc_code"] !== undefined)).toEqual([]);
      } else {
        expect(result.name).toBe("OK");
        expect(seen).toHaveLength(1);
        expect(seen[0]?.name).toBe(expected === "in, nobody" ? undefined : "spiffe://test.example/client");
      }
    });
  });
});

describe("T2 resumed sessions", () => {
  it.each(["TLSv1.3", "TLSv1.2"] as const)(
    "T2 a %s session is not resumed: a connection has the identity of the certificate that it shows, or none",
    async (version) => {
      for (const own of [world.client, undefined]) {
        const seen: (PeerCertificate | undefined)[] = [];
        await using wall = await secured({
          tls: serverTls({ clientAuth: "request", minVersion: version }),
          handlers: noting(seen),
        });
        const identity = own === undefined ? {} : { cert: own.cert, key: own.key };
        const options = { ca: world.ca.caPem, maxVersion: version, ...identity } as const;
        const { session } = await connection(wall, options);
        const resumed = await unaryOver(wall, { ...options, session }, await wall.authorized());
        expect(resumed).toEqual({ reused: false, code: "0" });
        expect(seen).toHaveLength(1);
        expect(seen[0]?.name).toBe(own === undefined ? undefined : "spiffe://test.example/client");
      }
    },
  );

  it("T2 A5 the session of somebody without a certificate says nothing of who brings it", async () => {
    await using wall = await secured({
      tls: serverTls({ clientAuth: "request" }),
      authentication: byCertificate,
      authorization: allowAuthenticated(),
    });
    const { session } = await connection(wall);
    const own = { ca: world.ca.caPem, cert: world.client.cert, key: world.client.key };
    expect(await unaryOver(wall, { ...own, session })).toEqual({ reused: false, code: "0" });
    expect(await unaryOver(wall, { ca: world.ca.caPem, session })).toEqual({ reused: false, code: "16" });
  });

  it("T2 the session of one server is worth nothing at another", async () => {
    await using open = await secured({ tls: serverTls({ clientAuth: "request" }) });
    await using strict = await secured({ tls: serverTls() });
    const { session } = await connection(open);
    await expect(connection(strict, { session })).rejects.toThrow();
  });
});

/** One unary call over an HTTP/2 connection with these TLS options. */
async function unaryOver(
  wall: Secured,
  options: ConnectionOptions,
  headers: Readonly<Record<string, string>> = {},
): Promise<{ readonly reused: boolean; readonly code: string }> {
  const socket = connectTls({
    host: "127.0.0.1",
    port: wall.port,
    servername: "localhost",
    ALPNProtocols: ["h2"],
    ...options,
  });
  await new Promise<void>((resolve, reject) => {
    socket.once("secureConnect", () => resolve());
    socket.once("error", reject);
  });
  const reused = socket.isSessionReused();
  const session = connectHttp2(`https://localhost:${wall.port}`, { createConnection: () => socket });
  session.on("error", () => {});
  const stream = session.request({
    ":method": "POST",
    ":path": "/test.v1.Kinds/Unary",
    "content-type": "application/grpc",
    te: "trailers",
    ...headers,
  });
  const body = Buffer.from('{"text":"x"}');
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(body.length, 1);
  stream.end(Buffer.concat([prefix, body]));
  const code = await new Promise<string>((resolve) => {
    const note = (headers: Readonly<Record<string, unknown>>): void => {
      if (headers["grpc-status"] !== undefined) resolve(String(headers["grpc-status"]));
    };
    stream.on("response", note);
    stream.on("trailers", note);
    stream.on("error", (error) => resolve(error.message));
    stream.on("close", () => resolve("closed"));
    stream.resume();
  });
  session.destroy();
  return { reused, code };
}

describe("T5 the certificate in the handler", () => {
  interface Named {
    readonly what: string;
    readonly request: CertificateRequest;
    readonly name: string | undefined;
  }

  const named: readonly Named[] = [
    {
      what: "a SPIFFE ID before a DNS name and the CN",
      request: { uris: ["spiffe://test.example/a"], dnsNames: ["a.example"], commonName: "a" },
      name: "spiffe://test.example/a",
    },
    {
      what: "a DNS name before the CN",
      request: { dnsNames: ["a.example"], commonName: "a" },
      name: "a.example",
    },
    { what: "the CN where there is nothing else", request: { commonName: "a" }, name: "a" },
    {
      what: "nobody where two URIs are named",
      request: { uris: ["spiffe://test.example/a", "spiffe://test.example/b"], commonName: "a" },
      name: undefined,
    },
    { what: "nobody where two CNs are named", request: { commonName: ["a", "b"] }, name: undefined },
  ];

  it.each(named)("T5 names $what", async ({ request, name }) => {
    const issued = await world.ca.issue({ ...request, usage: "client" });
    const seen: (PeerCertificate | undefined)[] = [];
    await using wall = await secured({ handlers: noting(seen) });
    const metadata = await wall.authorized();
    await withClient(wall, issued, (client) => invoke(client, "unary", { metadata }));
    expect(seen).toHaveLength(1);
    expect(seen[0]).toMatchObject({
      name,
      uris: request.uris ?? [],
      dnsNames: request.dnsNames ?? [],
      fingerprint256: issued.fingerprint256,
      serialNumber: expect.stringMatching(/^[0-9A-F]+$/),
      issuer: "CN=Test CA",
    });
    expect(seen[0]?.notAfter).toBeGreaterThan(Date.now());
    expect(seen[0]?.notBefore).toBeLessThan(Date.now());
  });

  it.each(kinds)("T5 a %s handler sees it, in `getAuthContext` too", async (kind) => {
    const seen: (PeerCertificate | undefined)[] = [];
    await using wall = await secured({ handlers: noting(seen) });
    await invoke(wall.client(), kind, { metadata: await wall.authorized() });
    expect(seen[0]?.fingerprint256).toBe(world.client.fingerprint256);
  });

  it.each(kinds)("T5 A5 it can be the principal of a %s call", async (kind) => {
    await using wall = await secured({
      tls: serverTls({ clientAuth: "request" }),
      authentication: byCertificate,
      authorization: allowAuthenticated(),
    });
    expect(await invoke(wall.client(), kind, { metadata: new Metadata() })).toMatchObject({ name: "OK" });
    expect(await wall.callLine((line) => line["grpc_code"] === "OK")).toMatchObject({
      principal: "spiffe://test.example/client",
      scheme: "mtls",
    });
    const unnamed = await withClient(wall, undefined, (client) => invoke(client, kind));
    expect(unnamed).toMatchObject({ name: "UNAUTHENTICATED", details: "missing credentials" });
  });
});
