// The identity of the call that is being handled goes on to the next service (K3), and to nobody else.
import { Buffer } from "node:buffer";
import { EventEmitter, once } from "node:events";
import { setImmediate as turn } from "node:timers/promises";
import {
  Client,
  credentials as grpcCredentials,
  Metadata,
  ServerCredentials,
  type ServerUnaryCall,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { currentContext, securityContext } from "../../src/chain/current-context.ts";
import { apiKeyCredentials } from "../../src/client/api-key-credentials.ts";
import { bearerToken } from "../../src/client/bearer-token.ts";
import { compositeCredentials } from "../../src/client/composite-credentials.ts";
import { forwardIdentity } from "../../src/client/forward-identity.ts";
import { createSecureClient, type SecureClientOptions } from "../../src/client/secure-client.ts";
import { ConfigError, StatusError } from "../../src/grpc/errors.ts";
import type { MethodKind } from "../../src/grpc/method.ts";
import { anonymous } from "../../src/middleware/authentication/anonymous.ts";
import { anyOf } from "../../src/middleware/authentication/any-of.ts";
import { apiKey } from "../../src/middleware/authentication/api-key.ts";
import type { Authenticator } from "../../src/middleware/authentication/authenticator.ts";
import { jwt } from "../../src/middleware/authentication/jwt/jwt.ts";
import { issueApiKey, memoryApiKeyStore } from "../../src/middleware/authentication/memory-api-key-store.ts";
import { mtls } from "../../src/middleware/authentication/mtls.ts";
import { optional } from "../../src/middleware/authentication/optional.ts";
import { allowAuthenticated } from "../../src/middleware/authorization/allow-authenticated.ts";
import { rbac } from "../../src/middleware/authorization/rbac.ts";
import { invoke, kinds, type Note, type Result } from "../harness/kinds.ts";
import {
  eventually,
  type Secured,
  type SecuredOptions,
  secured,
  theWorld,
  type World,
} from "../harness/secured.ts";
import { inTime, withTimeEnough } from "../harness/time.ts";
import { calls, type Ended, OrdersClient, type OrdersServer, startOrders, tlsFor } from "./orders.ts";

let world: World;
/** A service that is not ours and shows all that it was sent. */
let next: OrdersServer;
const closing: (() => unknown)[] = [];

beforeAll(async () => {
  world = await theWorld();
  next = await startOrders(await tlsFor(world.ca));
});
afterAll(() => next.close());
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
  next.arrivals.length = 0;
});

function tls(): { ca: Buffer; cert: Buffer; key: Buffer } {
  return {
    ca: Buffer.from(world.ca.caPem),
    cert: Buffer.from(world.client.cert),
    key: Buffer.from(world.client.key),
  };
}

/** A client of the service that shows what it was sent. */
function ordersClient(options: SecureClientOptions = {}): OrdersClient {
  const client = createSecureClient(OrdersClient, `127.0.0.1:${next.port}`, {
    tls: { ca: Buffer.from(world.ca.caPem) },
    credentials: forwardIdentity(),
    ...options,
  });
  closing.push(() => client.close());
  return client;
}

/** A client of a service of ours. */
function kindsClient(server: Secured, options: SecureClientOptions = {}): Client {
  const client = createSecureClient(Client, server.address, {
    tls: tls(),
    credentials: forwardIdentity(),
    ...options,
  });
  closing.push(() => client.close());
  return client;
}

async function serve(options: SecuredOptions): Promise<Secured> {
  const server = await secured({
    rateLimit: { perPeer: false, perPrincipal: false, inFlightPerPrincipal: false },
    ...options,
  });
  closing.push(() => server.close());
  return server;
}

function call(orders: OrdersClient, metadata = new Metadata(), kind: MethodKind = "unary"): Promise<Ended> {
  return calls[kind](orders, metadata, {});
}

/** What came with the last call, each header with its values. */
function arrived(): Readonly<Record<string, readonly unknown[]>> {
  const metadata = next.arrivals.at(-1)?.metadata ?? new Metadata();
  const names = ["authorization", "x-api-key", "x-user-id", "x-tenant-id", "x-request-id"];
  return Object.fromEntries(names.map((name) => [name, metadata.get(name)]));
}

/** A unary handler that does `work` and answers. */
function unary(
  work: (handled: ServerUnaryCall<Note, Note>) => Promise<unknown>,
): UntypedServiceImplementation {
  return {
    async unary(handled: ServerUnaryCall<Note, Note>) {
      const done = await work(handled);
      return { text: JSON.stringify(done ?? null) };
    },
  } as unknown as UntypedServiceImplementation;
}

/** Handles one call whose handler does `work`, and gives what that came to. */
async function inHandler<T>(
  work: (handled: ServerUnaryCall<Note, Note>) => Promise<T>,
  options: SecuredOptions & { readonly metadata?: Readonly<Record<string, string>> } = {},
): Promise<T> {
  const { metadata, ...serverOptions } = options;
  let outcome: { readonly value: T } | undefined;
  const server = await serve({
    handlers: unary(async (handled) => {
      outcome = { value: await work(handled) };
    }),
    ...serverOptions,
  });
  const sent = metadata ?? (await server.authorized());
  const result = await invoke(server.client(), "unary", { metadata: sent });
  if (outcome === undefined)
    throw new Error(`the handler did not come to its end: ${JSON.stringify(result)}`);
  return outcome.value;
}

describe("K3 forwardIdentity()", () => {
  it.each(kinds)("sends the caller's token, user, tenant and request id with a %s call", async (kind) => {
    const orders = ordersClient();
    const authorization = `Bearer ${await world.token({ sub: "ada", tenant: "acme" })}`;
    const told = await inHandler(() => call(orders, new Metadata(), kind), {
      metadata: { authorization, "x-request-id": "req-7" },
    });
    expect(told.code).toBe(status.OK);
    expect(arrived()).toEqual({
      authorization: [authorization],
      "x-api-key": [],
      "x-user-id": ["ada"],
      "x-tenant-id": ["acme"],
      "x-request-id": ["req-7"],
    });
  });

  it("sends no tenant where the caller has none, and a request id of ours where it sent none", async () => {
    const orders = ordersClient();
    const id = await inHandler(
      async (handled) => {
        await call(orders);
        return securityContext(handled).requestId;
      },
      { metadata: { authorization: `Bearer ${await world.token({ tenant: undefined })}` } },
    );
    expect(arrived()).toMatchObject({ "x-tenant-id": [], "x-request-id": [id] });
  });

  it.each(kinds)(
    "carries user, tenant, request id and deadline through three services in %s calls",
    async (kind) => {
      const seen: unknown[] = [];
      const see = (service: string): void => {
        const context = currentContext();
        seen.push([
          service,
          context?.principal?.subject,
          context?.principal?.tenant,
          context?.requestId,
          context?.deadline,
        ]);
      };
      const c = await serve({
        handlers: handlersOf(async () => see("c")),
      });
      const toC = kindsClient(c);
      const b = await serve({
        handlers: handlersOf(async () => {
          see("b");
          return invoke(toC, kind, { call: { deadline: Number.POSITIVE_INFINITY } });
        }),
      });
      const toB = kindsClient(b);
      const a = await serve({
        handlers: handlersOf(async () => {
          see("a");
          return invoke(toB, kind, { call: { deadline: Number.POSITIVE_INFINITY } });
        }),
      });
      const deadline = inTime();
      const result = await invoke(a.client(), kind, {
        metadata: { ...(await a.authorized({ sub: "eve", tenant: "t-1" })), "x-request-id": "req-9" },
        call: { deadline },
      });
      expect(result.code).toBe(status.OK);
      const told = seen as [string, string, string, string, number][];
      expect(told.map(([...all]) => all.slice(0, 4))).toEqual([
        ["a", "eve", "t-1", "req-9"],
        ["b", "eve", "t-1", "req-9"],
        ["c", "eve", "t-1", "req-9"],
      ]);
      // A timeout of whole milliseconds travels, and takes time to.
      for (const [, , , , at] of told) expect(Math.abs(at - deadline)).toBeLessThan(20_000);
    },
  );

  it.each(kinds)(
    "cancels the calls of three services when the first one's caller cancels its %s call",
    async (kind) => {
      const ends: string[] = [];
      const forever =
        (service: string, onStart: () => void = () => {}) =>
        async (): Promise<void> => {
          const signal = currentContext()?.signal;
          onStart();
          if (signal !== undefined && !signal.aborted) await once(signal, "abort");
          ends.push(service);
        };
      let reached: () => void = () => {};
      const atC = new Promise<void>((resolve) => {
        reached = resolve;
      });
      const c = await serve({ handlers: handlersOf(forever("c", () => reached())) });
      const toC = kindsClient(c);
      const b = await serve({
        handlers: handlersOf(async () => {
          const result = await invoke(toC, kind, { call: { deadline: Number.POSITIVE_INFINITY } });
          ends.push(`b: ${result.name}`);
        }),
      });
      const toB = kindsClient(b);
      const a = await serve({
        handlers: handlersOf(async () => {
          const result = await invoke(toB, kind, { call: { deadline: Number.POSITIVE_INFINITY } });
          ends.push(`a: ${result.name}`);
        }),
      });
      const result = invoke(a.client(), kind, {
        metadata: await a.authorized(),
        onCall: (made) => void atC.then(() => made.cancel()),
      });
      expect((await result).code).toBe(status.CANCELLED);
      await eventually(() => ends.length === 3, "the end of all three");
      expect([...ends].sort()).toEqual(["a: CANCELLED", "b: CANCELLED", "c"]);
    },
  );

  it("ends the next call when the time of the handled call is up", async () => {
    const silent = await startOrders(await tlsFor(world.ca), { answers: false });
    closing.push(() => silent.close());
    const orders = createSecureClient(OrdersClient, `127.0.0.1:${silent.port}`, {
      tls: { ca: Buffer.from(world.ca.caPem) },
      credentials: forwardIdentity(),
    });
    closing.push(() => orders.close());
    const codes: status[] = [];
    const server = await serve({
      handlers: unary(async () => {
        codes.push((await calls.unary(orders, new Metadata(), { deadline: inTime() })).code);
      }),
    });
    await withTimeEnough(200, async (ms) => {
      const metadata = await server.authorized();
      await invoke(server.client(), "unary", { metadata, call: { deadline: Date.now() + ms } });
      if (silent.arrivals.length === 0) return false;
      await eventually(() => codes.length > 0, "the end of the next call");
      return true;
    });
    expect([status.DEADLINE_EXCEEDED, status.CANCELLED]).toContain(codes.at(-1));
  });

  it("leaves a nearer deadline of the call itself, and the client's default one", async () => {
    const orders = ordersClient({ deadlineMs: 7_000 });
    const before = Date.now();
    await inHandler(async () => {
      await call(orders);
      await calls.unary(orders, new Metadata(), { deadline: before + 30_000 });
    });
    const [byDefault, own] = next.arrivals.map(({ deadline }) => deadline - before);
    expect(byDefault).toBeLessThan(60_000);
    expect(own).toBeLessThan(31_000);
  });

  it("has one listener on the handled call, however many outgoing calls it makes", async () => {
    const orders = ordersClient();
    const said: string[] = [];
    vi.spyOn(process, "emitWarning").mockImplementation((warning) => void said.push(String(warning)));
    const added = await inHandler(async (handled) => {
      const { signal } = securityContext(handled);
      const add = vi.spyOn(signal, "addEventListener");
      await Promise.all(Array.from({ length: 20 }, () => call(orders)));
      return add.mock.calls.length;
    });
    vi.restoreAllMocks();
    expect(added).toBe(1);
    expect(said).toEqual([]);
  });

  it("sends nothing by a client of the same handler that does not forward", async () => {
    const forwarding = ordersClient();
    const plain = ordersClient({ credentials: [] });
    await inHandler(async () => {
      await call(forwarding);
      await call(plain);
    });
    expect(arrived()).toEqual({
      authorization: [],
      "x-api-key": [],
      "x-user-id": [],
      "x-tenant-id": [],
      "x-request-id": [],
    });
  });

  it("goes with other sources of the client", async () => {
    const orders = ordersClient({ credentials: [apiKeyCredentials("own-key"), forwardIdentity()] });
    await inHandler(() => call(orders));
    expect(arrived()).toMatchObject({ "x-api-key": ["own-key"], "x-user-id": ["ada"] });
  });

  it("refuses a call for which another source gives a token too", async () => {
    const orders = ordersClient({ credentials: [bearerToken("own"), forwardIdentity()] });
    const told = await inHandler(() => call(orders));
    expect(told).toMatchObject({
      code: status.UNAUTHENTICATED,
      details: expect.stringContaining("another source already gives authorization"),
    });
    expect(next.arrivals).toEqual([]);
  });
});

/** All four handlers do `work`, then answer as good ones do. */
function handlersOf(work: () => Promise<unknown>): UntypedServiceImplementation {
  type Call = AsyncIterable<Note> & { write(note: Note): void; end(): void };
  return {
    async unary() {
      await work();
      return { text: "done" };
    },
    async clientStream(handled: Call) {
      for await (const _note of handled);
      await work();
      return { text: "done" };
    },
    async *serverStream() {
      await work();
      yield { text: "done" };
    },
    async *bidiStream(handled: Call) {
      for await (const _note of handled);
      await work();
      yield { text: "done" };
    },
  } as unknown as UntypedServiceImplementation;
}

describe("K3 forwardIdentity() in every kind of handler", () => {
  type Streams = NodeJS.EventEmitter & { request: Note; write(note: Note): void; end(): void };
  type Answer = (error: unknown, note?: Note) => void;
  type Handlers = (orders: OrdersClient) => Readonly<Record<string, unknown>>;
  const rows: readonly [string, MethodKind, Handlers][] = [
    [
      "a callback handler",
      "unary",
      (orders) => ({
        unary: (_call: unknown, answer: Answer) => void call(orders).then(() => answer(null, { text: "" })),
      }),
    ],
    [
      "an async handler",
      "unary",
      (orders) => ({ unary: async () => ({ text: `${(await call(orders)).code}` }) }),
    ],
    [
      "a timer of a handler",
      "unary",
      (orders) => ({
        unary: (_call: unknown, answer: Answer) => {
          setTimeout(() => void call(orders).then(() => answer(null, { text: "" })), 1);
        },
      }),
    ],
    [
      "an async generator",
      "server_stream",
      (orders) => ({
        async *serverStream() {
          yield { text: "first" };
          await call(orders);
          yield { text: "last" };
        },
      }),
    ],
    [
      "a data listener of a client stream",
      "client_stream",
      (orders) => ({
        clientStream(handled: Streams, answer: Answer) {
          const made: Promise<unknown>[] = [];
          handled.on("data", () => made.push(call(orders)));
          handled.on("end", () => void Promise.all(made).then(() => answer(null, { text: "" })));
        },
      }),
    ],
    [
      "an end listener of a bidirectional stream",
      "bidi_stream",
      (orders) => ({
        bidiStream(handled: Streams) {
          handled.on("data", () => {});
          handled.on("end", () => void call(orders).then(() => handled.end()));
        },
      }),
    ],
    [
      "a data listener of a bidirectional stream",
      "bidi_stream",
      (orders) => ({
        bidiStream(handled: Streams) {
          handled.on("data", (note: Note) => {
            void call(orders).then(() => {
              handled.write(note);
              handled.end();
            });
          });
        },
      }),
    ],
    [
      "the callback of another outgoing call",
      "unary",
      (orders) => ({
        unary(_call: unknown, answer: Answer) {
          orders.getOrder({ id: "1" }, new Metadata(), {}, () => {
            next.arrivals.length = 0;
            orders.getOrder({ id: "2" }, new Metadata(), {}, () => answer(null, { text: "" }));
          });
        },
      }),
    ],
    [
      "a listener on a stream of another outgoing call",
      "unary",
      (orders) => ({
        unary(_call: unknown, answer: Answer) {
          orders.listOrders({}, new Metadata(), {}).on("data", () => {
            next.arrivals.length = 0;
            orders.getOrder({ id: "2" }, new Metadata(), {}, () => answer(null, { text: "" }));
          });
        },
      }),
    ],
    [
      "a handler that names its call as the parent, in no context",
      "unary",
      (orders) => ({
        async unary(handled: ServerUnaryCall<Note, Note>) {
          await outside(() => calls.unary(orders, new Metadata(), { parent: handled }));
          return { text: "" };
        },
      }),
    ],
  ];

  it.each(rows)("works in %s", async (_name, kind, handlers) => {
    const orders = ordersClient();
    const server = await serve({ handlers: handlers(orders) as UntypedServiceImplementation });
    const metadata = await server.authorized({ sub: "grace" });
    expect((await invoke(server.client(), kind, { metadata })).code).toBe(status.OK);
    expect(arrived()).toMatchObject({ "x-user-id": ["grace"], authorization: [metadata.authorization] });
  });
});

/** Work that was queued here runs where no call is handled. */
const queue: (() => void)[] = [];
const worker = setInterval(() => {
  for (const work of queue.splice(0)) work();
}, 1);
afterAll(() => clearInterval(worker));

function outside<T>(work: () => Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    queue.push(() => void work().then(resolve, reject));
  });
}

describe("K3 attacks on forwardIdentity()", () => {
  it("1,000 interleaved calls of 20 users over one client never mix, from the first connection on", async () => {
    const orders = ordersClient();
    const server = await serve({
      limits: { maxConcurrentStreams: 2_000 },
      handlers: {
        unary(handled: { request: Note }, answer: (error: unknown, note: Note) => void) {
          const wanted = new Metadata();
          wanted.set("x-wanted", handled.request.text);
          orders.getOrder({ id: "1" }, wanted, {}, () => {
            // The first one's answer may come in the context of the call that opened the connection.
            orders.getOrder({ id: "2" }, wanted, {}, () => answer(null, handled.request));
          });
        },
      } as unknown as UntypedServiceImplementation,
    });
    const users = Array.from({ length: 20 }, (_, index) => `user-${index}`);
    const tokens = new Map(
      await Promise.all(users.map(async (user) => [user, await world.token({ sub: user })] as const)),
    );
    const client = server.client();
    const results = await Promise.all(
      Array.from({ length: 1_000 }, async (_, index) => {
        const user = users[index % users.length] ?? "";
        if (index % 7 === 0) await turn();
        return invoke(client, "unary", {
          metadata: { authorization: `Bearer ${tokens.get(user)}` },
          messages: [{ text: user }],
        });
      }),
    );
    expect(results.filter(({ code }) => code !== status.OK)).toEqual([]);
    expect(next.arrivals).toHaveLength(2_000);
    const mixed = next.arrivals.filter(({ metadata }) => {
      const [wanted] = metadata.get("x-wanted");
      const [token] = metadata.get("authorization");
      return metadata.get("x-user-id")[0] !== wanted || token !== `Bearer ${tokens.get(String(wanted))}`;
    });
    expect(mixed).toEqual([]);
  });

  it.each(["x-user-id", "x-tenant-id"])("never sends what the caller says in %s", async (header) => {
    const orders = ordersClient();
    const { authorization } = {
      authorization: `Bearer ${await world.token({ sub: "eve", tenant: undefined })}`,
    };
    await inHandler((handled) => call(orders, handled.metadata), {
      metadata: { authorization, [header]: "somebody-else" },
    });
    expect(arrived()).toMatchObject({ "x-user-id": ["eve"], "x-tenant-id": [] });
  });

  it("takes the names from the verified identity where the handler hands on or sets other ones", async () => {
    const orders = ordersClient();
    const own = new Metadata();
    own.set("x-user-id", "root");
    own.set("x-tenant-id", "other");
    own.set("authorization", "Bearer another");
    own.set("x-kept", "1");
    const told = await inHandler(() => call(orders, own));
    expect(told.code).toBe(status.OK);
    expect(arrived()).toMatchObject({ "x-user-id": ["ada"], "x-tenant-id": ["acme"] });
    expect(next.arrivals[0]?.metadata.get("authorization")).not.toEqual(["Bearer another"]);
    expect(next.arrivals[0]?.metadata.get("x-kept")).toEqual(["1"]);
    // The handler's own object is as it was.
    expect(own.get("x-user-id")).toEqual(["root"]);
  });

  it("keeps the caller's credentials where a handler hands on its call's metadata", async () => {
    const secret = "s3cret";
    const owns = speakingFor("ada", ["x-session", "X-Session-Proof-bin"]);
    const server = await serve({
      authentication: owns,
      handlers: unary(async (handled) => call(orders, handled.metadata)),
    });
    const orders = ordersClient();
    const metadata = new Metadata();
    metadata.set("x-session", secret);
    metadata.set("x-session-proof-bin", Buffer.from(secret));
    metadata.set("cookie", `session=${secret}`);
    metadata.set("proxy-authorization", `Basic ${secret}`);
    metadata.set("x-kept", "1");
    const result = await invoke(server.client(), "unary", { metadata });
    expect(result.name).toBe("OK");
    const sent = next.arrivals.at(-1)?.metadata ?? new Metadata();
    expect(sent.get("x-kept")).toEqual(["1"]);
    expect(sent.get("x-session-proof-bin")).toEqual([]);
    expect(JSON.stringify(sent.getMap())).not.toContain(secret);
  });

  it("sends the credentials that a handler itself gives a call for the next service", async () => {
    const own = new Metadata();
    own.set("x-session", "own");
    own.set("cookie", "session=own");
    await inHandler(() => call(ordersClient(), own), {
      authentication: speakingFor("ada", ["x-session"]),
      metadata: { "x-session": "callers", cookie: "session=callers" },
    });
    expect(next.arrivals[0]?.metadata.get("x-session")).toEqual(["own"]);
    expect(next.arrivals[0]?.metadata.get("cookie")).toEqual(["session=own"]);
  });

  it("gives nothing to another client that is called with the same options object", async () => {
    const forwarding = ordersClient();
    const plain = ordersClient({ credentials: [] });
    const options = {};
    await inHandler(async () => {
      await calls.unary(forwarding, new Metadata(), options);
      await calls.unary(plain, new Metadata(), options);
    });
    expect(options).toEqual({});
    expect(arrived()).toMatchObject({ authorization: [], "x-user-id": [] });
  });

  it("gives nothing to a channel that a transformer puts in the place of the client's own", async () => {
    const stolen = await startOrders(ServerCredentials.createInsecure());
    closing.push(() => stolen.close());
    const wrong = new OrdersClient(`127.0.0.1:${stolen.port}`, grpcCredentials.createInsecure());
    closing.push(() => wrong.close());
    const orders = ordersClient({
      channelOptions: {
        callInvocationTransformer: (properties) =>
          ({ ...properties, channel: wrong.getChannel() }) as typeof properties,
      },
    });
    const told = await inHandler(() => call(orders));
    expect(told).toMatchObject({
      code: status.UNAUTHENTICATED,
      details: expect.stringContaining("another channel"),
    });
    expect(stolen.arrivals).toEqual([]);
  });

  it("refuses a client without encryption when it is made, and sends a byte to nobody", async () => {
    expect(() => ordersClient({ tls: { plaintext: "loopback" } })).toThrow(ConfigError);
    await inHandler(async () => {
      expect(() => ordersClient({ tls: { plaintext: "loopback" } })).toThrow(/not sent without encryption/);
    });
  });

  it("goes over a mesh that is named", async () => {
    vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    const sidecar = await startOrders(ServerCredentials.createInsecure());
    closing.push(() => sidecar.close());
    const orders = createSecureClient(OrdersClient, `127.0.0.1:${sidecar.port}`, {
      tls: { plaintext: "mesh" },
      credentials: forwardIdentity(),
    });
    closing.push(() => orders.close());
    expect((await inHandler(() => call(orders))).code).toBe(status.OK);
    expect(sidecar.arrivals[0]?.metadata.get("x-user-id")).toEqual(["ada"]);
    vi.restoreAllMocks();
  });

  it("is refused by compositeCredentials, and twice in one client", () => {
    expect(() => compositeCredentials({ ca: Buffer.from(world.ca.caPem) }, forwardIdentity())).toThrow(
      /sources\.0: forwardIdentity\(\) works in createSecureClient alone/,
    );
    expect(() => ordersClient({ credentials: [forwardIdentity(), forwardIdentity()] })).toThrow(
      /given twice/,
    );
  });

  it("gives nothing to a source that wraps it", async () => {
    const wrapped = forwardIdentity();
    const orders = ordersClient({
      credentials: { name: "wrapping", getCredentials: (request) => wrapped.getCredentials(request) },
    });
    const told = await inHandler(() => call(orders));
    expect(told).toMatchObject({
      code: status.UNAUTHENTICATED,
      details: expect.stringContaining("createSecureClient alone"),
    });
    expect(next.arrivals).toEqual([]);
  });

  const refusals: readonly [string, () => Promise<Ended>, status, RegExp][] = [
    [
      "outside of a handler",
      async () => call(ordersClient()),
      status.UNAUTHENTICATED,
      /no call of a secured server is being handled here; use a client with clientCredentials\(…\) or bearerToken\(…\)/,
    ],
    [
      "in work that somebody else does",
      () => inHandler(() => outside(() => call(ordersClient()))),
      status.UNAUTHENTICATED,
      /no call of a secured server/,
    ],
    [
      "for a parent that is no call of a secured server",
      () => inHandler(() => calls.unary(ordersClient(), new Metadata(), { parent: bareCall() })),
      status.UNAUTHENTICATED,
      /no call of a secured server/,
    ],
    [
      "in a timer after the call ended",
      () => detached(),
      status.UNAUTHENTICATED,
      /has ended; for what goes on after it/,
    ],
    ["after the caller cancelled", () => afterCancel(), status.CANCELLED, /was cancelled or is out of time/],
    [
      "for an anonymous caller",
      () =>
        inHandler(() => call(ordersClient()), {
          authentication: anonymous(),
          authorization: rbac({
            roles: { a: {} },
            rules: { "/test.v1.Kinds/Unary": "public", "/test.v1.Kinds/*": { roles: ["a"] } },
          }),
          metadata: {},
        }),
      status.UNAUTHENTICATED,
      /has no verified caller/,
    ],
    [
      "for a caller without a credential on a public method",
      () =>
        inHandler(() => call(ordersClient()), {
          authentication: optional(theJwt()),
          authorization: rbac({
            roles: { a: {} },
            rules: { "/test.v1.Kinds/Unary": "public", "/test.v1.Kinds/*": { roles: ["a"] } },
          }),
          metadata: {},
        }),
      status.UNAUTHENTICATED,
      /has no verified caller/,
    ],
    [
      "for a subject that reads as two",
      () => asSubject("ada, root"),
      status.UNAUTHENTICATED,
      /the subject of the caller cannot be sent as a header/,
    ],
    [
      "for a subject beyond ASCII",
      () => asSubject("José"),
      status.UNAUTHENTICATED,
      /cannot be sent as a header/,
    ],
    [
      "for a subject with a line break",
      () => asSubject("a\r\nx-user-id: root"),
      status.UNAUTHENTICATED,
      /cannot be sent/,
    ],
    [
      "for a tenant that reads as two",
      () => asSubject("ada", "a,b"),
      status.UNAUTHENTICATED,
      /the tenant of the caller/,
    ],
    [
      "with a credential that has expired",
      () => withExpired(),
      status.UNAUTHENTICATED,
      /has expired; only its caller/,
    ],
  ];

  it.each(refusals)("refuses a call %s, and sends nothing", async (_name, attempt, code, text) => {
    const told = await attempt();
    expect(told.code).toBe(code);
    expect(told.details).toMatch(text);
    expect(next.arrivals).toEqual([]);
  });

  /** A call of a grpc-js server without a chain, as far as grpc-js looks at a parent. */
  function bareCall(): ServerUnaryCall<Note, Note> {
    const bare = Object.assign(new EventEmitter(), { getDeadline: () => Number.POSITIVE_INFINITY });
    return bare as unknown as ServerUnaryCall<Note, Note>;
  }

  function theJwt(): Authenticator {
    return jwt({ issuer: world.issuer.issuer, audience: "kinds", jwksUri: world.issuer.jwksUri });
  }

  async function detached(): Promise<Ended> {
    const orders = ordersClient();
    let late: Promise<Ended> | undefined;
    const server = await serve({
      handlers: unary(async (handled) => {
        const { log } = securityContext(handled);
        expect(log).toBeDefined();
        const ended = new Promise<void>((resolve) => {
          answered = resolve;
        });
        late = ended.then(() => new Promise((resolve) => setTimeout(() => resolve(call(orders)), 1)));
      }),
    });
    let answered: () => void = () => {};
    await invoke(server.client(), "unary", { metadata: await server.authorized() });
    answered();
    return (await late) ?? Promise.reject(new Error("the handler did not run"));
  }

  async function afterCancel(): Promise<Ended> {
    const orders = ordersClient();
    let made: Promise<Ended> | undefined;
    let start: () => void = () => {};
    const started = new Promise<void>((resolve) => {
      start = resolve;
    });
    const server = await serve({
      handlers: unary(async (handled) => {
        const { signal } = securityContext(handled);
        const aborted = once(signal, "abort");
        start();
        await aborted;
        made = call(orders);
        await made;
      }),
    });
    await invoke(server.client(), "unary", {
      metadata: await server.authorized(),
      onCall: (outgoing) => void started.then(() => outgoing.cancel()),
    });
    return eventually(() => made, "the call after the end");
  }

  async function asSubject(sub: string, tenant = "acme"): Promise<Ended> {
    return inHandler(() => call(ordersClient()), {
      metadata: { authorization: `Bearer ${await world.token({ sub, tenant })}` },
    });
  }

  /** A call that outlives its credential. */
  function withExpired(): Promise<Ended> {
    const expiring: Authenticator = {
      name: "jwt",
      source: "metadata",
      headers: ["authorization"],
      presents: () => true,
      authenticate: () => ({
        principal: {
          subject: "ada",
          kind: "user",
          scheme: "jwt",
          roles: new Set(["caller"]),
          permissions: new Set(),
          claims: {},
          expiresAt: Date.now() - 1,
        },
      }),
    };
    return inHandler(() => call(ordersClient()), { authentication: expiring });
  }
});

/** Knows every caller as this user, for whom an application speaks. */
function speakingFor(subject: string, headers: readonly string[] = ["authorization"]): Authenticator {
  return {
    name: "speaking",
    source: "metadata",
    headers,
    presents: () => true,
    authenticate: () => ({
      principal: {
        subject,
        kind: "user",
        scheme: "forwarded",
        roles: new Set(["caller"]),
        permissions: new Set(),
        claims: {},
      },
    }),
  };
}

describe("K3 forwardIdentity() of callers without a token of their own", () => {
  it("never sends an API key on, nor a token that came beside it", async () => {
    const { key, record } = issueApiKey({ owner: "billing", roles: ["caller"], tenant: "acme" });
    const keys = apiKey({ store: memoryApiKeyStore([record]) });
    const orders = ordersClient();
    const authorization = `Bearer ${await world.token({ sub: "eve" })}`;
    const tokens = jwt({ issuer: world.issuer.issuer, audience: "kinds", jwksUri: world.issuer.jwksUri });
    const told = await inHandler((handled) => call(orders, handled.metadata), {
      authentication: anyOf(keys, tokens),
      metadata: { "x-api-key": key, authorization },
    });
    expect(told.code).toBe(status.OK);
    expect(arrived()).toMatchObject({
      "x-api-key": [],
      authorization: [],
      "x-user-id": [],
      "x-tenant-id": ["acme"],
    });
  });

  it("does not make the owner of an API key the user of that name at the next service", async () => {
    const { key, record } = issueApiKey({ owner: "ada", roles: ["caller"] });
    const callers: unknown[] = [];
    const trusting = await serve({
      authentication: mtls({ roles: { "spiffe://test.example/client": ["caller"] } }),
      authorization: allowAuthenticated(),
      trustedActors: ["spiffe://test.example/client"],
      handlers: unary(async () => {
        const context = currentContext();
        callers.push([context?.principal?.kind, context?.principal?.subject, context?.actor?.subject]);
      }),
    });
    const toNext = kindsClient(trusting);
    await inHandler(() => invoke(toNext, "unary"), {
      authentication: apiKey({ store: memoryApiKeyStore([record]) }),
      metadata: { "x-api-key": key },
    });
    await inHandler(() => invoke(toNext, "unary"), {
      authentication: speakingFor("ada"),
      metadata: { authorization: "x" },
    });
    expect(callers).toEqual([
      ["service", "spiffe://test.example/client", undefined],
      ["user", "ada", "spiffe://test.example/client"],
    ]);
  });

  it("sends the token of a client that acts for itself, and no user", async () => {
    const orders = ordersClient();
    const authorization = `Bearer ${await world.token({ sub: "batch", client_id: "batch" })}`;
    const kind = await inHandler(
      async (handled) => {
        await call(orders);
        return securityContext(handled).principal?.kind;
      },
      { metadata: { authorization } },
    );
    expect(kind).toBe("service");
    expect(arrived()).toMatchObject({ authorization: [authorization], "x-user-id": [] });
  });

  it("names no user for a caller with a client certificate", async () => {
    const orders = ordersClient();
    const told = await inHandler(() => call(orders), {
      authentication: mtls({ roles: { "spiffe://test.example/client": ["caller"] } }),
      authorization: allowAuthenticated(),
      metadata: {},
    });
    expect(told.code).toBe(status.OK);
    expect(arrived()).toMatchObject({ authorization: [], "x-user-id": [] });
  });

  it("does not take the token of an application that speaks for somebody for that user's", async () => {
    const orders = ordersClient();
    await inHandler(() => call(orders), { authentication: speakingFor("ada") });
    expect(arrived()).toMatchObject({ authorization: [], "x-user-id": ["ada"] });
  });

  it("passes a refusal on as a failure of this service, unless the handler says so", async () => {
    const orders = ordersClient();
    const server = await serve({
      handlers: unary(() =>
        outside(() => call(orders)).then(({ error }) => Promise.reject(StatusError.from(error))),
      ),
    });
    const result: Result = await invoke(server.client(), "unary", { metadata: await server.authorized() });
    expect(result.name).toBe("UNAUTHENTICATED");
  });
});
