import { Buffer } from "node:buffer";
import { createServer, type Server as HttpServer } from "node:http";
import { connect as connectTcp } from "node:net";
import { connect as connectTls, createServer as createTlsServer } from "node:tls";
import {
  type CallOptions,
  type ChannelCredentials,
  Client,
  credentials,
  InterceptingCall,
  type Interceptor,
  Metadata,
  ServerCredentials,
  status,
} from "@grpc/grpc-js";
import { afterAll, afterEach, beforeAll, describe, expect, expectTypeOf, it } from "vitest";
import { apiKeyCredentials } from "../../src/client/api-key-credentials.ts";
import { bearerToken } from "../../src/client/bearer-token.ts";
import { createSecureClient, type SecureClientOptions } from "../../src/client/secure-client.ts";
import { ConfigError } from "../../src/grpc/errors.ts";
import {
  type CertificateAuthority,
  createCertificateAuthority,
} from "../../src/testing/certificate-authority.ts";
import { withTimeEnough } from "../harness/time.ts";
import {
  type ByteCounter,
  calls,
  countBytes,
  kinds,
  OrdersClient,
  type OrdersServer,
  startOrders,
  tlsFor,
} from "./orders.ts";

const secret = "s3cr3t-t0ken.abc";
const closing: { close(): unknown }[] = [];

function closeLater<T extends { close(): unknown }>(resource: T): T {
  closing.push(resource);
  return resource;
}

function client(target: string, options: SecureClientOptions): OrdersClient {
  return closeLater(createSecureClient(OrdersClient, target, options));
}

function problemsOf(make: () => unknown): readonly string[] {
  try {
    make();
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

let ca: CertificateAuthority;
let caFile: Buffer;
let server: OrdersServer;

beforeAll(async () => {
  ca = await createCertificateAuthority();
  caFile = Buffer.from(ca.caPem);
  server = await startOrders(await tlsFor(ca, ["orders.internal"]));
});

afterAll(() => server.close());

afterEach(async () => {
  for (const resource of closing.splice(0).reverse()) await resource.close();
  server.arrivals.length = 0;
});

describe("createSecureClient over TLS", () => {
  it.each(kinds)("K2 sends the bearer token and the API key with a %s call", async (kind) => {
    const orders = client(`127.0.0.1:${server.port}`, {
      tls: { ca: caFile },
      credentials: [bearerToken(secret), apiKeyCredentials("key-1")],
    });
    expect((await calls[kind](orders, new Metadata(), {})).code).toBe(status.OK);
    expect(server.arrivals.map(({ metadata }) => metadata.get("authorization"))).toEqual([
      [`Bearer ${secret}`],
    ]);
    expect(server.arrivals.map(({ metadata }) => metadata.get("x-api-key"))).toEqual([["key-1"]]);
  });

  it.each(kinds)("K2 never sends two values of authorization with a %s call", async (kind) => {
    const orders = client(`127.0.0.1:${server.port}`, {
      tls: { ca: caFile },
      credentials: bearerToken(secret),
    });
    const metadata = new Metadata();
    metadata.set("authorization", "Bearer another");
    expect((await calls[kind](orders, metadata, {})).code).toBe(status.INTERNAL);
    expect((await calls[kind](orders, new Metadata(), {})).code).toBe(status.OK);
    expect(server.arrivals).toHaveLength(1);
  });

  it("K2 tells a source the method and the URL of its service", async () => {
    const asked: unknown[] = [];
    const orders = client(`127.0.0.1:${server.port}`, {
      tls: { ca: caFile, serverName: "orders.internal" },
      credentials: {
        name: "recording",
        getCredentials(call) {
          asked.push(call);
          return {};
        },
      },
    });
    expect((await calls.unary(orders, new Metadata(), {})).code).toBe(status.OK);
    expect(asked).toEqual([
      { method: "/orders.v1.Orders/GetOrder", serviceUrl: "https://orders.internal/orders.v1.Orders" },
    ]);
  });

  it("K2 sends the call credentials of a single call over TLS", async () => {
    const orders = client(`127.0.0.1:${server.port}`, { tls: { ca: caFile } });
    const loose = looseCredentials();
    expect((await calls.unary(orders, new Metadata(), { credentials: loose })).code).toBe(status.OK);
    expect(server.arrivals[0]?.metadata.get("authorization")).toEqual([`Bearer ${secret}`]);
  });

  it("K1 shows the client's certificate to a server that demands one", async () => {
    const issued = await ca.issue({ ipAddresses: ["127.0.0.1"] });
    const pair = { cert_chain: Buffer.from(issued.cert), private_key: Buffer.from(issued.key) };
    const strict = closeLater(await startOrders(ServerCredentials.createSsl(caFile, [pair], true)));
    const own = { cert: Buffer.from(issued.cert), key: Buffer.from(issued.key) };
    const known = client(`127.0.0.1:${strict.port}`, { tls: { ca: caFile, ...own } });
    expect((await calls.unary(known, new Metadata(), {})).code).toBe(status.OK);
    const unknown = client(`127.0.0.1:${strict.port}`, { tls: { ca: caFile } });
    expect((await calls.unary(unknown, new Metadata(), {})).code).toBe(status.UNAVAILABLE);
    expect(strict.arrivals).toHaveLength(1);
  });

  it("K2 has the type of the client class", () => {
    const orders = client(`127.0.0.1:${server.port}`, {});
    expectTypeOf(createSecureClient(OrdersClient, "orders.internal")).toEqualTypeOf<OrdersClient>();
    expectTypeOf(createSecureClient(Client, "orders.internal")).toEqualTypeOf<Client>();
    expect(orders).toBeInstanceOf(OrdersClient);
  });
});

describe("createSecureClient verifies the server", () => {
  let nodeTls: string | undefined;
  beforeAll(() => {
    nodeTls = process.env["NODE_TLS_REJECT_UNAUTHORIZED"];
  });
  afterEach(() => {
    if (nodeTls === undefined) delete process.env["NODE_TLS_REJECT_UNAUTHORIZED"];
    else process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = nodeTls;
  });

  /** Servers that must not be believed, and what is said of them. */
  const impostors: readonly [string, () => Promise<OrdersServer>, RegExp][] = [
    [
      "of another CA",
      async () => startOrders(await tlsFor(await createCertificateAuthority())),
      /certificate/,
    ],
    ["of another name", async () => startOrders(await tlsFor(ca, ["other.internal"], [])), /does not match/],
  ];

  it.each(impostors)("T3 refuses a server %s, and sends it nothing", async (_name, start, reason) => {
    const impostor = closeLater(await start());
    const orders = client(`127.0.0.1:${impostor.port}`, {
      tls: { ca: caFile },
      credentials: bearerToken(secret),
    });
    for (const kind of kinds) {
      const { code, details } = await calls[kind](orders, new Metadata(), {});
      expect([kind, code]).toEqual([kind, status.UNAVAILABLE]);
      expect(details).toMatch(reason);
    }
    expect(impostor.arrivals).toEqual([]);
  });

  it.each(impostors)(
    "T3 refuses a server %s with NODE_TLS_REJECT_UNAUTHORIZED=0 too",
    async (_name, start) => {
      const impostor = closeLater(await start());
      process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = "0";
      // That the variable works: Node alone now connects.
      await new Promise<void>((resolve, reject) => {
        const options = { port: impostor.port, host: "127.0.0.1", ca: caFile, ALPNProtocols: ["h2"] };
        const socket = connectTls(options, () => resolve(void socket.destroy()));
        socket.on("error", reject);
      });
      const orders = client(`127.0.0.1:${impostor.port}`, {
        tls: { ca: caFile },
        credentials: bearerToken(secret),
      });
      expect((await calls.unary(orders, new Metadata(), {})).code).toBe(status.UNAVAILABLE);
      expect(impostor.arrivals).toEqual([]);
    },
  );

  it("T3 verifies another name only where it is spelled out", async () => {
    const named = closeLater(await startOrders(await tlsFor(ca, ["orders.internal"], [])));
    const target = `127.0.0.1:${named.port}`;
    const spelled = client(target, { tls: { ca: caFile, serverName: "orders.internal" } });
    expect((await calls.unary(spelled, new Metadata(), {})).code).toBe(status.OK);
    const misspelled = client(target, { tls: { ca: caFile, serverName: "order.internal" } });
    expect((await calls.unary(misspelled, new Metadata(), {})).code).toBe(status.UNAVAILABLE);
  });

  it("T1 refuses TLS 1.2 by default and accepts it when asked to", async () => {
    const { cert, key } = await ca.issue({ ipAddresses: ["127.0.0.1"] });
    const versions: (string | null)[] = [];
    const old = createTlsServer({ cert, key, maxVersion: "TLSv1.2", ALPNProtocols: ["h2"] }, (socket) => {
      versions.push(socket.getProtocol());
      socket.destroy();
    });
    await new Promise<void>((resolve) => old.listen(0, "127.0.0.1", resolve));
    closeLater(old);
    const address = old.address();
    const target = `127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
    await calls.unary(client(target, { tls: { ca: caFile } }), new Metadata(), {});
    expect(versions).toEqual([]);
    await calls.unary(client(target, { tls: { ca: caFile, minVersion: "TLSv1.2" } }), new Metadata(), {});
    expect(versions).toContain("TLSv1.2");
  });
});

function looseCredentials(): ReturnType<typeof credentials.createFromMetadataGenerator> {
  return credentials.createFromMetadataGenerator((_call, callback) =>
    callback(null, withHeader("authorization")),
  );
}

function withHeader(name: string): Metadata {
  const metadata = new Metadata();
  metadata.set(name, `Bearer ${secret}`);
  return metadata;
}

/** Adds a header on the way out, as a call's own interceptor. */
function addingHeader(name: string): Interceptor {
  return (options, next) =>
    new InterceptingCall(next(options), {
      start(metadata, listener, proceed) {
        metadata.merge(withHeader(name));
        proceed(metadata, listener);
      },
    });
}

const addingCredentials: Interceptor = (options, next) =>
  new InterceptingCall(next({ ...options, credentials: looseCredentials() }));

interface Smuggling {
  readonly by: string;
  readonly metadata?: Metadata;
  readonly options?: CallOptions;
  readonly channelOptions?: SecureClientOptions["channelOptions"];
}

const smuggling: readonly Smuggling[] = [
  { by: "call credentials", options: { credentials: looseCredentials() } },
  { by: "empty call credentials", options: { credentials: credentials.createEmpty() } },
  { by: "metadata authorization", metadata: withHeader("authorization") },
  { by: "metadata Authorization", metadata: withHeader("Authorization") },
  { by: "metadata x-api-key", metadata: withHeader("x-api-key") },
  { by: "metadata cookie", metadata: withHeader("cookie") },
  { by: "metadata proxy-authorization", metadata: withHeader("proxy-authorization") },
  {
    by: "a call's interceptor that adds a header",
    options: { interceptors: [addingHeader("authorization")] },
  },
  { by: "a call's interceptor that adds credentials", options: { interceptors: [addingCredentials] } },
  { by: "a call's interceptor provider", options: { interceptor_providers: [() => addingCredentials] } },
  { by: "the client's interceptor", channelOptions: { interceptors: [addingHeader("x-api-key")] } },
  {
    by: "the client's transformer",
    channelOptions: {
      callInvocationTransformer: (call) => {
        call.metadata.merge(withHeader("authorization"));
        call.callOptions = { ...call.callOptions, credentials: looseCredentials() };
        return call;
      },
    },
  },
];

describe("createSecureClient on a plaintext channel", () => {
  let counter: ByteCounter;
  afterEach(() => counter?.close());

  it.each(smuggling)("K2 sends not one byte of a call with credentials added by $by", async (how) => {
    counter = await countBytes();
    const orders = createSecureClient(OrdersClient, `127.0.0.1:${counter.port}`, {
      tls: { plaintext: "loopback" },
      ...(how.channelOptions === undefined ? {} : { channelOptions: how.channelOptions }),
    });
    for (const kind of kinds) {
      const { code, details, error } = await calls[kind](
        orders,
        how.metadata ?? new Metadata(),
        how.options ?? {},
      );
      expect([kind, code]).toEqual([kind, status.UNAUTHENTICATED]);
      expect(details).toMatch(/plaintext.*nothing was sent/);
      expect(`${error?.message} ${error?.stack} ${JSON.stringify(error)}`).not.toContain(secret);
    }
    expect(await counter.seen()).toEqual({ connections: 0, bytes: 0 });
    orders.close();
  });

  it("K2 sends a call without credentials to the same listener, so that the listener would have seen one", async () => {
    counter = await countBytes();
    const orders = createSecureClient(OrdersClient, `127.0.0.1:${counter.port}`, {
      tls: { plaintext: "loopback" },
    });
    await withTimeEnough(300, async (ms) => {
      await calls.unary(orders, new Metadata(), { deadline: Date.now() + ms });
      return (await counter.seen()).bytes > 0;
    });
    orders.close();
  });

  it("K2 refuses credential sources at construction, before a byte is sent", async () => {
    counter = await countBytes();
    const { port } = counter;
    const make = () =>
      createSecureClient(OrdersClient, `127.0.0.1:${port}`, {
        tls: { plaintext: "loopback" },
        credentials: bearerToken(secret),
      });
    expect(problemsOf(make)).toEqual([expect.stringContaining("credentials: not sent without encryption")]);
    expect(await counter.seen()).toEqual({ connections: 0, bytes: 0 });
  });

  it.each(kinds)("T6 makes a %s call without credentials to this machine", async (kind) => {
    const plain = closeLater(await startOrders(ServerCredentials.createInsecure()));
    const orders = client(`127.0.0.1:${plain.port}`, { tls: { plaintext: "loopback" } });
    const metadata = new Metadata();
    metadata.set("x-request-id", "r-1");
    expect((await calls[kind](orders, metadata, {})).code).toBe(status.OK);
    expect(plain.arrivals[0]?.metadata.get("x-request-id")).toEqual(["r-1"]);
  });

  it.each(["orders.internal:50051", "10.0.0.1:50051", "localhost.evil.com:1", "dns://8.8.8.8/localhost:1"])(
    "T6 refuses plaintext to %s",
    (target) => {
      const make = () => createSecureClient(OrdersClient, target, { tls: { plaintext: "loopback" } });
      expect(problemsOf(make)).toEqual([expect.stringContaining("tls.plaintext")]);
    },
  );
});

describe("createSecureClient and proxies", () => {
  const before = process.env["grpc_proxy"];
  afterEach(() => {
    if (before === undefined) delete process.env["grpc_proxy"];
    else process.env["grpc_proxy"] = before;
  });

  /** An HTTP proxy that keeps a copy of what passes. */
  async function startProxy(passed: Buffer[]): Promise<HttpServer> {
    const proxy = createServer();
    proxy.on("connect", (request, socket) => {
      passed.push(Buffer.from(`CONNECT ${request.url}`));
      const upstream = connectTcp(Number(request.url?.split(":")[1]), "127.0.0.1", () => {
        socket.write("HTTP/1.1 200 OK\r\n\r\n");
        socket.on("data", (chunk: Buffer) => passed.push(chunk));
        socket.pipe(upstream).pipe(socket);
      });
      socket.on("error", () => upstream.destroy());
      upstream.on("error", () => socket.destroy());
    });
    await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
    const address = proxy.address();
    process.env["grpc_proxy"] = `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
    return closeLater(proxy);
  }

  it("T3 keeps TLS end to end through a proxy", async () => {
    const passed: Buffer[] = [];
    await startProxy(passed);
    const orders = client(`127.0.0.1:${server.port}`, {
      tls: { ca: caFile },
      credentials: bearerToken(secret),
    });
    expect((await calls.unary(orders, new Metadata(), {})).code).toBe(status.OK);
    expect(String(passed[0])).toBe(`CONNECT 127.0.0.1:${server.port}`);
    expect(Buffer.concat(passed).includes(secret)).toBe(false);
    expect(server.arrivals).toHaveLength(1);
  });

  it("T3 verifies the server behind a proxy by the target's name", async () => {
    await startProxy([]);
    const impostor = closeLater(await startOrders(await tlsFor(ca, ["other.internal"], [])));
    const orders = client(`127.0.0.1:${impostor.port}`, { tls: { ca: caFile } });
    const { code, details } = await calls.unary(orders, new Metadata(), {});
    expect([code, details]).toEqual([status.UNAVAILABLE, expect.stringContaining("does not match")]);
  });

  it("T6 never sends plaintext to a proxy", async () => {
    const passed: Buffer[] = [];
    await startProxy(passed);
    const plain = closeLater(await startOrders(ServerCredentials.createInsecure()));
    const orders = client(`127.0.0.1:${plain.port}`, { tls: { plaintext: "loopback" } });
    expect((await calls.unary(orders, new Metadata(), {})).code).toBe(status.OK);
    expect(passed).toEqual([]);
  });
});

describe("createSecureClient and deadlines", () => {
  it.each(kinds)("K4 ends a %s call to a handler that never answers", async (kind) => {
    const silent = closeLater(await startOrders(await tlsFor(ca), { answers: false }));
    await withTimeEnough(400, async (deadlineMs) => {
      const orders = client(`127.0.0.1:${silent.port}`, { tls: { ca: caFile }, deadlineMs });
      expect((await calls[kind](orders, new Metadata(), {})).code).toBe(status.DEADLINE_EXCEEDED);
      return silent.arrivals.length > 0;
    });
    expect(silent.arrivals).toHaveLength(1);
  });

  it.each(kinds)("K4 gives a %s call five seconds where nothing else is said", async (kind) => {
    const orders = client(`127.0.0.1:${server.port}`, { tls: { ca: caFile } });
    const start = Date.now();
    await calls[kind](orders, new Metadata(), {});
    const end = Date.now();
    expect(server.arrivals[0]?.deadline).toBeGreaterThan(start + 4_000);
    expect(server.arrivals[0]?.deadline).toBeLessThanOrEqual(end + 5_000);
  });

  it.each(kinds)("K4 lets the deadline of a %s call win, longer, infinite or shorter", async (kind) => {
    const orders = client(`127.0.0.1:${server.port}`, { tls: { ca: caFile }, deadlineMs: 5_000 });
    const long = Date.now() + 600_000;
    await calls[kind](orders, new Metadata(), { deadline: long });
    await calls[kind](orders, new Metadata(), { deadline: new Date(long) });
    await calls[kind](orders, new Metadata(), { deadline: Number.POSITIVE_INFINITY });
    const [number, date, infinite] = server.arrivals.map(({ deadline }) => deadline);
    expect(number).toBeGreaterThan(long - 60_000);
    expect(date).toBeGreaterThan(long - 60_000);
    expect(infinite).toBe(Number.POSITIVE_INFINITY);
    const past = await calls[kind](orders, new Metadata(), { deadline: Date.now() - 1 });
    expect(past.code).toBe(status.DEADLINE_EXCEEDED);
  });

  it("K4 keeps the default where transformers and interceptors of the user are there", async () => {
    const order: string[] = [];
    const watching: Interceptor = (options, next) => {
      order.push(`interceptor ${typeof options.deadline}`);
      return new InterceptingCall(next(options));
    };
    const orders = client(`127.0.0.1:${server.port}`, {
      tls: { ca: caFile },
      channelOptions: {
        interceptors: [watching],
        callInvocationTransformer: (call) => {
          order.push("transformer");
          const { deadline: _, ...rest } = call.callOptions;
          call.callOptions = rest;
          return call;
        },
      },
    });
    await calls.unary(orders, new Metadata(), {});
    expect(order).toEqual(["transformer", "interceptor number"]);
    expect(server.arrivals[0]?.deadline).toBeLessThan(Number.POSITIVE_INFINITY);
  });

  it("K4 leaves the options object of the caller as it is", async () => {
    const orders = client(`127.0.0.1:${server.port}`, { tls: { ca: caFile } });
    const shared: CallOptions = {};
    await calls.unary(orders, new Metadata(), shared);
    expect(shared).toEqual({});
  });
});

describe("createSecureClient checks what it is given", () => {
  const wrong: readonly [string, unknown, string][] = [
    ["an unknown option", { retries: 3 }, "retries: unknown option"],
    ["a deadline of nothing", { deadlineMs: 0 }, "deadlineMs"],
    ["a deadline beyond 32 bits", { deadlineMs: 2 ** 31 }, "deadlineMs"],
    ["an infinite deadline", { deadlineMs: Number.POSITIVE_INFINITY }, "deadlineMs"],
    ["a fraction", { deadlineMs: 0.5 }, "deadlineMs"],
    ["credentials that are no source", { credentials: secret }, "credentials: expected a credential source"],
    ["loose call credentials", { credentials: credentials.createEmpty() }, "credentials: expected"],
    ["a list with something else in it", { credentials: [bearerToken("t"), {}] }, "credentials: expected"],
    ["tls that is no object", { tls: "insecure" }, "tls: expected an object"],
    [
      "a switch that turns verification off",
      { tls: { rejectUnauthorized: false } },
      "tls.rejectUnauthorized",
    ],
    ["a CA that is not there", { tls: { ca: "/nonexistent/ca.crt" } }, "tls.ca"],
    [
      "an unknown channel option",
      { channelOptions: { "grpc.keepalive_time": 1 } },
      "channelOptions.grpc.keepalive_time: unknown",
    ],
    [
      "a hidden name override",
      { channelOptions: { "grpc.ssl_target_name_override": "x" } },
      "use tls.serverName",
    ],
    ["another authority", { channelOptions: { "grpc.default_authority": "x" } }, "use tls.serverName"],
    ["a proxy's target", { channelOptions: { "grpc.http_connect_target": "x:1" } }, "grpc_proxy"],
    ["a proxy's user", { channelOptions: { "grpc.http_connect_creds": secret } }, "grpc_proxy"],
    ["a trace of what TLS protects", { channelOptions: { "grpc-node.tls_enable_trace": 1 } }, "stderr"],
    ["another channel", { channelOptions: { channelOverride: {} } }, "channelOverride"],
    ["a channel factory", { channelOptions: { channelFactoryOverride: () => {} } }, "channelFactoryOverride"],
    [
      "an interceptor that is none",
      { channelOptions: { interceptors: [1] } },
      "channelOptions.interceptors.0",
    ],
  ];

  it.each(wrong)("K2 refuses %s", (_name, options, problem) => {
    const problems = problemsOf(() =>
      createSecureClient(OrdersClient, "localhost:1", options as SecureClientOptions),
    );
    expect(problems).toEqual([expect.stringContaining(problem)]);
    expect(problems.join()).not.toContain(secret);
  });

  it("T6 refuses a proxy for plaintext", () => {
    const make = () =>
      createSecureClient(OrdersClient, "localhost:1", {
        tls: { plaintext: "loopback" },
        channelOptions: { "grpc.enable_http_proxy": 1 },
      });
    expect(problemsOf(make)).toEqual([expect.stringContaining("channelOptions.grpc.enable_http_proxy")]);
  });

  it.each(["", "https://orders.internal:50051", "HTTP://orders.internal", "orders internal:1", "orders\n:1"])(
    "T3 refuses the target %j",
    (target) => {
      expect(problemsOf(() => createSecureClient(OrdersClient, target))).toEqual([
        expect.stringContaining("target: "),
      ]);
    },
  );

  it("refuses what is no class, such as the definition", () => {
    const { service } = OrdersClient as unknown as { readonly service: never };
    for (const wrong of [service, undefined as never]) {
      expect(problemsOf(() => createSecureClient(wrong, "localhost:1"))).toEqual([
        expect.stringMatching(/^ClientConstructor: expected the class of a client, such as Orders of /),
      ]);
    }
  });

  it("K2 refuses a class that does not pass its options on", () => {
    class Forgetful extends Client {
      constructor(address: string, channel: ChannelCredentials) {
        super(address, channel);
      }
    }
    expect(
      problemsOf(() => createSecureClient(Forgetful, "localhost:1", { credentials: bearerToken("t") })),
    ).toEqual([expect.stringContaining("ClientConstructor: ")]);
  });
});
