// The other roads in (C6): the whole chain, and single layers, on a grpc.Server that somebody else made.
import {
  ServerInterceptingCall,
  type ServerInterceptor,
  type ServerUnaryCall,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { beforeAll, describe, expect, it } from "vitest";
import { ContextKey } from "../../src/chain/context.ts";
import { currentContext, securityContext } from "../../src/chain/current-context.ts";
import type { Middleware } from "../../src/chain/middleware.ts";
import { ConfigError, PolicyError } from "../../src/grpc/errors.ts";
import { methodInfo } from "../../src/grpc/method.ts";
import type { AuditEntry } from "../../src/middleware/audit/audit-entry.ts";
import { anonymous } from "../../src/middleware/authentication/anonymous.ts";
import { authentication } from "../../src/middleware/authentication/authentication.ts";
import { jwt } from "../../src/middleware/authentication/jwt/jwt.ts";
import { allowAuthenticated } from "../../src/middleware/authorization/allow-authenticated.ts";
import { authorization } from "../../src/middleware/authorization/authorization.ts";
import type { Authorizer } from "../../src/middleware/authorization/authorizer.ts";
import { rbac } from "../../src/middleware/authorization/rbac.ts";
import { deadline } from "../../src/middleware/deadline/deadline.ts";
import { logging } from "../../src/middleware/logging/logging.ts";
import { metadataLimit } from "../../src/middleware/metadata-limit/metadata-limit.ts";
import { rateLimit } from "../../src/middleware/rate-limit/rate-limit.ts";
import { HealthService, healthDefinition } from "../../src/server/health.ts";
import { type SecureInterceptors, secureInterceptors, toInterceptor } from "../../src/server/interceptors.ts";
import type { SecureInterceptorsOptions } from "../../src/server/server-options.ts";
import { type Foreign, foreign } from "../harness/foreign.ts";
import { check, list } from "../harness/health.ts";
import { goodHandlers, invoke, kinds, kindsDefinition, type Note, paths } from "../harness/kinds.ts";
import { grpcFrame, RawConnection } from "../harness/raw-http2.ts";
import { callerPolicy, eventually, keptLog, type LogLine, theWorld, type World } from "../harness/secured.ts";
import { withTimeEnough } from "../harness/time.ts";

let world: World;
beforeAll(async () => {
  world = await theWorld();
});

function byToken() {
  return jwt({ issuer: world.issuer.issuer, audience: "kinds", jwksUri: world.issuer.jwksUri });
}

interface Whole {
  readonly interceptors: SecureInterceptors;
  readonly lines: LogLine[];
  readonly audit: AuditEntry[];
}

function whole(options: Partial<SecureInterceptorsOptions> = {}): Whole {
  const { logger, lines } = keptLog();
  const audit: AuditEntry[] = [];
  const interceptors = secureInterceptors({
    authentication: byToken(),
    authorization: callerPolicy,
    services: [kindsDefinition],
    logger,
    audit: {
      sinks: [
        {
          async write(entries) {
            audit.push(...entries);
          },
        },
      ],
    },
    ...options,
  });
  return { interceptors, lines, audit };
}

const failing = {
  async unary() {
    throw new Error("secret: unary");
  },
  clientStream(call: NodeJS.EventEmitter) {
    call.on("data", async () => {
      throw new Error("secret: client stream");
    });
  },
  async *serverStream() {
    yield { text: "first" };
    throw new Error("secret: server stream");
  },
  bidiStream(call: NodeJS.EventEmitter) {
    call.on("data", () => {
      throw new Error("secret: bidi stream");
    });
  },
} as unknown as UntypedServiceImplementation;

const promising = {
  unary: async (call: { request: { text: string } }) => ({ text: call.request.text }),
  async clientStream(call: AsyncIterable<{ text: string }>) {
    const texts: string[] = [];
    for await (const { text } of call) texts.push(text);
    return { text: texts.join(",") };
  },
  async *serverStream(call: { request: { text: string } }) {
    yield call.request;
  },
  async *bidiStream(call: AsyncIterable<{ text: string }>) {
    yield* call;
  },
} as unknown as UntypedServiceImplementation;

describe("the whole chain on a server of others", () => {
  it.each(kinds)("C6 %s: lets in who may, logged and audited with the identity", async (kind) => {
    const { interceptors, lines, audit } = whole();
    await using road = await foreign(interceptors);
    const told = await invoke(road.client(), kind, { metadata: await road.authorized() });
    expect(told.name).toBe("OK");
    expect(told.messages.length).toBeGreaterThan(0);
    const line = await eventually(() => lines.find((l) => l["method"] === paths[kind]), "a log line");
    expect(line).toMatchObject({ grpc_code: "OK", peer: "127.0.0.1" });
    const entry = await eventually(() => audit[0], "an audit entry");
    expect(entry).toMatchObject({ method: paths[kind], status: "OK", caller: { subject: "ada" } });
  });

  const refusals: readonly [string, (road: Foreign) => Promise<Record<string, string>>, string][] = [
    ["no credential", async () => ({}), "UNAUTHENTICATED missing credentials"],
    ["a bad token", async () => ({ authorization: "Bearer a.b.c" }), "UNAUTHENTICATED invalid credentials"],
    ["another role", (road) => road.authorized({ roles: ["other"] }), "PERMISSION_DENIED permission denied"],
    [
      "8 KiB of metadata",
      async (road) => ({ ...(await road.authorized()), "x-big": "x".repeat(8192) }),
      "RESOURCE_EXHAUSTED metadata too large",
    ],
  ];
  it.each(kinds.flatMap((kind) => refusals.map((refusal) => [kind, ...refusal] as const)))(
    "C6 %s with %s is refused, audited, and starts no handler",
    async (kind, _what, metadata, refusal) => {
      const { interceptors, audit } = whole();
      await using road = await foreign(interceptors);
      const told = await invoke(road.client(), kind, { metadata: await metadata(road), keepOpen: true });
      expect(`${told.name} ${told.details}`).toBe(refusal);
      expect(road.started).toEqual([]);
      expect(await eventually(() => audit[0], "an audit entry")).toMatchObject({ status: told.name });
    },
  );

  it.each(kinds)("C3 %s: a handler's failure is a safe error, and the process goes on", async (kind) => {
    const { interceptors } = whole();
    await using road = await foreign(interceptors, { handlers: failing });
    const told = await invoke(road.client(), kind, { metadata: await road.authorized() });
    expect(`${told.name} ${told.details}`).toMatch(/^INTERNAL internal error \(id [\w-]+\)$/);
  });

  it.each(kinds)("C4 %s: a promise or a generator answers", async (kind) => {
    const { interceptors } = whole();
    await using road = await foreign(interceptors, { handlers: promising });
    const told = await invoke(road.client(), kind, {
      metadata: await road.authorized(),
      messages: [{ text: "hello" }],
    });
    expect(`${told.name} ${told.messages.map(({ text }) => text).join()}`).toBe("OK hello");
  });

  it.each(kinds)("L6 %s: the caller's deadline ends it", async (kind) => {
    const { interceptors, lines } = whole();
    let started = 0;
    const silent = (): void => {
      started += 1;
    };
    const handlers = { unary: silent, clientStream: silent, serverStream: silent, bidiStream: silent };
    await using road = await foreign(interceptors, {
      handlers: handlers as unknown as UntypedServiceImplementation,
    });
    const metadata = await road.authorized();
    const client = road.client();
    await withTimeEnough(300, async (ms) => {
      const told = await invoke(client, kind, { metadata, call: { deadline: Date.now() + ms } });
      expect(told.name).toBe("DEADLINE_EXCEEDED");
      return started > 0;
    });
    const line = await eventually(() => lines.find((l) => l["method"] === paths[kind]), "a log line");
    expect(["DEADLINE_EXCEEDED", "CANCELLED"]).toContain(line["grpc_code"]);
  });

  it.each([true, false])("T5 the handler sees the verified certificate: %s", async (certificate) => {
    const { interceptors } = whole();
    let seen: unknown;
    await using road = await foreign(interceptors, {
      handlers: {
        unary: (async (call: object) => {
          const { peer, principal } = securityContext(call);
          expect(currentContext()?.principal).toBe(principal);
          seen = [peer.secure, peer.certificate?.name, principal?.subject];
          return { text: "seen" };
        }) as unknown as UntypedServiceImplementation[string],
      },
    });
    const told = await invoke(road.client({ certificate }), "unary", { metadata: await road.authorized() });
    expect(told.name).toBe("OK");
    expect(seen).toEqual([true, certificate ? "spiffe://test.example/client" : undefined, "ada"]);
  });

  it.each(kinds)("C6 %s: behind an interceptor of other code nothing is let through", async (kind) => {
    const { interceptors, lines } = whole();
    const other: ServerInterceptor = (_definition, call) => new ServerInterceptingCall(call);
    await using road = await foreign([other, ...interceptors]);
    const client = road.client();
    const metadata = await road.authorized();
    for (let i = 0; i < 3; i++) {
      const told = await invoke(client, kind, { metadata });
      expect(`${told.name} ${told.details}`).toBe("INTERNAL internal error");
    }
    expect(road.started).toEqual([]);
    expect(lines.filter(({ msg }) => msg?.includes("another interceptor"))).toHaveLength(1);
  });

  const before: readonly [string, () => ServerInterceptor[]][] = [
    ["single layers", () => [toInterceptor(logging({ logger: keptLog().logger }))]],
    ["another whole chain", () => [...whole().interceptors]],
  ];
  it.each(kinds.flatMap((kind) => before.map((each) => [kind, ...each] as const)))(
    "C6 Z2 %s: behind %s nothing is let through, in `services` or not",
    async (kind, _what, interceptors) => {
      const others = Object.entries(kindsDefinition).filter(([, { path }]) => path !== paths[kind]);
      const known = whole();
      const unknown = whole({ services: [Object.fromEntries(others)] });
      for (const { interceptors: second, lines, audit } of [known, unknown]) {
        await using road = await foreign([...interceptors(), ...second]);
        const client = road.client();
        const metadata = await road.authorized();
        for (let i = 0; i < 3; i++) {
          const told = await invoke(client, kind, { metadata });
          expect(`${told.name} ${told.details}`).toMatch(/^INTERNAL internal error \(id [\w-]+\)$/);
        }
        expect(road.started).toEqual([]);
        expect(audit).toEqual([]);
        expect(lines.filter(({ msg }) => msg?.includes("another interceptor"))).toHaveLength(1);
      }
    },
  );

  it.each(kinds)("C6 %s: with an interceptor of other code after it the chain is whole", async (kind) => {
    const { interceptors } = whole();
    const other: ServerInterceptor = (_definition, call) => new ServerInterceptingCall(call);
    await using road = await foreign([...interceptors, other]);
    const client = road.client();
    expect((await invoke(client, kind, { metadata: await road.authorized() })).name).toBe("OK");
    expect((await invoke(client, kind)).name).toBe("UNAUTHENTICATED");
  });

  it("C11 a status waits for the messages before it, which its caller has not read", async () => {
    let wrote = false;
    let cancelled = false;
    const handlers = {
      bidiStream(call: NodeJS.EventEmitter & { write(note: Note): void }) {
        call.on("cancelled", () => {
          cancelled = true;
        });
        call.on("data", () => {});
        for (let i = 0; i < 20; i++) call.write({ text: "x".repeat(1_000) });
        wrote = true;
      },
    } as unknown as UntypedServiceImplementation;
    const refusing: Middleware = {
      name: "own",
      onRequest(message) {
        if ((message as Note).text === "refuse me") throw new Error("no");
      },
    };
    const { interceptors, audit } = whole({ middleware: [refusing] });
    await using server = await foreign(interceptors, { handlers });
    await using raw = await RawConnection.open(
      { ...server, address: `localhost:${server.port}` },
      { initialWindowSize: 1_000 },
    );
    const headers = await server.authorized();
    const { stream, answer } = raw.call(paths.bidi_stream, { headers, keepOpen: true, deaf: true });
    await eventually(() => wrote, "the handler");
    stream.write(grpcFrame(JSON.stringify({ text: "refuse me" })));
    await eventually(() => cancelled, "the refusal");
    // By now the stream would be closed, if nothing waited for the status to leave.
    for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate);
    stream.resume();
    expect(await answer).toMatchObject({ name: "INTERNAL", rstCode: 0 });
    expect(await eventually(() => audit[0], "the audit entry")).not.toHaveProperty("delivered");
  });

  it("Z2 a method that the policy was not checked against is refused, and said once", async () => {
    const { unary, ...rest } = kindsDefinition;
    const { interceptors, lines } = whole({ services: [{ unary } as ServiceDefinition] });
    await using road = await foreign(interceptors);
    const client = road.client();
    const metadata = await road.authorized();
    expect((await invoke(client, "unary", { metadata })).name).toBe("OK");
    for (const kind of kinds.filter((each) => each !== "unary")) {
      expect(`${kind} ${(await invoke(client, kind, { metadata })).name}`).toBe(`${kind} UNIMPLEMENTED`);
      expect(`${kind} ${(await invoke(client, kind)).name}`).toBe(`${kind} UNAUTHENTICATED`);
    }
    expect(road.started).toEqual(["unary"]);
    const said = lines.filter(({ msg }) => msg?.includes("`services`"));
    expect(said.map((line) => line["method"]).sort()).toEqual(
      Object.values(rest)
        .map(({ path }) => path)
        .sort(),
    );
  });

  it("A10 a health service of the server lets probes through, and nobody else", async () => {
    const { interceptors } = whole({ services: [kindsDefinition, healthDefinition] });
    const health = new HealthService({ watchLimit: { perPeer: 10, total: 10 } });
    health.serve([]);
    await using road = await foreign(interceptors, {
      register: (server) => server.addService(healthDefinition, { ...health.handlers }),
    });
    const client = road.client({ certificate: false });
    expect(await check(client, "")).toMatchObject({ name: "OK", value: { status: "SERVING" } });
    expect((await list(client)).name).toBe("UNAUTHENTICATED");
    expect((await list(client, await road.authorized())).name).toBe("OK");
  });

  it("Z10 a dry run of the policy leaves the health service's own rules alone", async () => {
    const other: ServiceDefinition = {
      Other: {
        ...kindsDefinition["unary"],
        path: "/grpc.health.v1.Health/Other",
      } as ServiceDefinition[string],
    };
    const { interceptors } = whole({
      services: [kindsDefinition, healthDefinition, other],
      authentication: anonymous(),
      enforce: { authorization: false },
    });
    const health = new HealthService({ watchLimit: { perPeer: 10, total: 10 } });
    await using road = await foreign(interceptors, {
      register: (server) => {
        server.addService(healthDefinition, { ...health.handlers });
        server.addService(other, { Other: goodHandlers()["unary"] } as UntypedServiceImplementation);
      },
    });
    const client = road.client();
    expect((await list(client)).name).toBe("PERMISSION_DENIED");
    const path = "/grpc.health.v1.Health/Other";
    expect((await invoke(client, "unary", { path })).name).toBe("PERMISSION_DENIED");
    expect((await invoke(client, "unary")).name).toBe("OK");
  });

  it("Z2 a policy that does not fit the services is a PolicyError", () => {
    const policy = rbac({ roles: { caller: {} }, rules: { "/test.v1.Kinds/Unari": { roles: ["caller"] } } });
    expect(() => whole({ authorization: policy })).toThrow(PolicyError);
  });

  it("C6 what this road cannot have is said once, at start", async () => {
    const { interceptors, lines } = whole();
    await using road = await foreign(interceptors);
    const client = road.client();
    for (let i = 0; i < 3; i++) await invoke(client, "unary", { metadata: await road.authorized() });
    expect(lines.filter((line) => line["not_available"] !== undefined)).toHaveLength(1);
  });

  it("U2 close() flushes and closes the sinks", async () => {
    const written: AuditEntry[] = [];
    let closed = 0;
    const { interceptors } = whole({
      audit: {
        sinks: [
          {
            async write(entries) {
              written.push(...entries);
            },
            async close() {
              closed += 1;
            },
          },
        ],
      },
    });
    {
      await using road = await foreign(interceptors);
      await invoke(road.client(), "unary", { metadata: await road.authorized() });
    }
    await interceptors.close();
    expect(written).toHaveLength(1);
    expect(closed).toBe(1);
  });

  it("T8 a forwarded client certificate is believed from nobody, and no handler sees it", async () => {
    const { interceptors } = whole();
    let seen: unknown;
    await using road = await foreign(interceptors, {
      handlers: {
        unary: (async (call: ServerUnaryCall<Note, Note>) => {
          seen = call.metadata.get("x-forwarded-client-cert");
          return { text: "seen" };
        }) as unknown as UntypedServiceImplementation[string],
      },
    });
    const metadata = {
      ...(await road.authorized()),
      "x-forwarded-client-cert": "Hash=00;URI=spiffe://a/admin",
    };
    expect((await invoke(road.client(), "unary", { metadata })).name).toBe("OK");
    expect(seen).toEqual([]);
  });

  const wrong: readonly [string, object, string][] = [
    ["tls", { tls: {} }, "tls: not accepted: bind your server with serverCredentials(tls)"],
    ["health", { health: false }, "health: not accepted"],
    ["reflection", { reflection: false }, "reflection: not accepted"],
    ["channelOptions", { channelOptions: {} }, "channelOptions: not accepted"],
    [
      "a limit of the server",
      { limits: { maxConcurrentStreams: 5 } },
      "limits.maxConcurrentStreams: not accepted",
    ],
    ["an unknown option", { surprise: 1 }, "surprise: unknown option"],
    ["no services", { services: [] }, "services: name every service"],
    ["what is no service", { services: [{ unary() {} }] }, "services.0: must be a service definition"],
    ["no authentication", { authentication: undefined }, "authentication: must be an authenticator"],
    ["what is no layer", { middleware: [1] }, "middleware.0: must be a middleware"],
  ];
  it.each(wrong)("C6 %s is a ConfigError that says what to do", (_what, options, problem) => {
    let told: unknown;
    try {
      whole(options);
    } catch (error) {
      told = error;
    }
    expect(told).toBeInstanceOf(ConfigError);
    expect((told as ConfigError).problems).toEqual([expect.stringContaining(problem)]);
  });
});

describe("single layers on a server of others", () => {
  const methods = kinds.map((kind) => methodInfo(paths[kind], kind, true));
  const layers: readonly [string, () => Middleware[], string][] = [
    [
      "metadataLimit",
      () => [metadataLimit({ maxMetadataBytes: 10 })],
      "RESOURCE_EXHAUSTED metadata too large",
    ],
    ["deadline", () => [deadline({ required: true })], "INVALID_ARGUMENT deadline required"],
    [
      "rateLimit",
      () => {
        const layer = rateLimit({ perPeer: { points: 1, durationSec: 86_400 } });
        return [layer];
      },
      "RESOURCE_EXHAUSTED rate limit exceeded",
    ],
    ["authentication", () => [authentication(byToken())], "UNAUTHENTICATED missing credentials"],
    [
      "authorization",
      () => [authorization(allowAuthenticated(), methods)],
      "PERMISSION_DENIED permission denied",
    ],
  ];
  it.each(kinds.flatMap((kind) => layers.map((layer) => [kind, ...layer] as const)))(
    "C6 %s: %s works alone",
    async (kind, name, make, refusal) => {
      await using road = await foreign([toInterceptor(...make())]);
      const client = road.client();
      const call = { deadline: Number.POSITIVE_INFINITY };
      if (name === "rateLimit") expect((await invoke(client, kind, { call })).name).toBe("OK");
      const told = await invoke(client, kind, { call });
      expect(`${told.name} ${told.details}`).toBe(refusal);
      expect(road.started).toEqual(name === "rateLimit" ? [kind] : []);
    },
  );

  it.each(kinds)(
    "C6 %s: logging works alone, and a handler's failure is logged beside its id",
    async (kind) => {
      const { logger, lines } = keptLog();
      await using road = await foreign([toInterceptor(logging({ logger }))], { handlers: failing });
      const told = await invoke(road.client(), kind);
      expect(told.details).toMatch(/^internal error \(id /);
      const line = await eventually(() => lines.find((l) => l["grpc_code"] === "INTERNAL"), "a log line");
      expect(told.details).toContain(String(line["error_id"]));
      expect(JSON.stringify(line)).toContain("secret: ");
    },
  );

  it.each(kinds)("C13 %s: of two authorizations one may read messages, and both decide", async (kind) => {
    const text = (message: unknown): string => (message as Note).text;
    const reads: Authorizer = {
      name: "reads",
      compile: () => ({
        forMethod: () => ({
          access: "checked",
          decide: () => ({ effect: "allow", rule: "reads" }),
          decideMessage: (_call, message) => ({
            effect: text(message) === "no" ? "deny" : "allow",
            rule: "reads",
          }),
        }),
      }),
    };
    for (const [first, second] of [
      [reads, allowAuthenticated()],
      [allowAuthenticated(), reads],
    ] as const) {
      await using road = await foreign([
        toInterceptor(authentication(byToken()), authorization(first, methods)),
        toInterceptor(authorization(second, methods)),
      ]);
      const client = road.client();
      const metadata = await road.authorized();
      expect((await invoke(client, kind, { metadata, messages: [{ text: "no" }] })).name).toBe(
        "PERMISSION_DENIED",
      );
      expect(road.started).toEqual([]);
      expect((await invoke(client, kind, { metadata })).name).toBe("OK");
    }
  });

  it.each(kinds)("C6 %s: several interceptors of layers run in their order, as one", async (kind) => {
    const order: string[] = [];
    const key = new ContextKey<string>("from the first");
    const layer = (name: string): Middleware => ({
      name,
      onCall(call) {
        order.push(`${name} call ${call.get(key) ?? "-"}`);
        call.set(key, name);
      },
      onRequest: () => void order.push(`${name} request`),
      onResponse: () => void order.push(`${name} response`),
      onEnd: () => void order.push(`${name} end`),
    });
    await using road = await foreign([
      toInterceptor(layer("a"), layer("b")),
      toInterceptor(layer("c")),
      toInterceptor(authentication(byToken())),
    ]);
    const client = road.client();
    expect((await invoke(client, kind)).name).toBe("UNAUTHENTICATED");
    await eventually(() => order.includes("a end"), "the end");
    expect(order).toEqual(["a call -", "b call a", "c call b", "c end", "b end", "a end"]);
    order.length = 0;
    expect((await invoke(client, kind, { metadata: await road.authorized() })).name).toBe("OK");
    await eventually(() => order.includes("a end"), "the end");
    expect(order.slice(0, 6)).toEqual([
      "a call -",
      "b call a",
      "c call b",
      "a request",
      "b request",
      "c request",
    ]);
    expect(order).toContain("c response");
    expect(order.slice(-3)).toEqual(["c end", "b end", "a end"]);
  });

  const slow: Middleware = { name: "slow", onCall: () => new Promise(() => {}) };
  const inTime = deadline({ checkTimeoutMs: 50 });
  const orders: readonly [string, () => ServerInterceptor[]][] = [
    ["first", () => [toInterceptor(inTime), toInterceptor(slow)]],
    ["second", () => [toInterceptor(slow), toInterceptor(inTime)]],
  ];
  it.each(kinds.flatMap((kind) => orders.map((each) => [kind, ...each] as const)))(
    "C12 %s: of several interceptors the shortest checkTimeoutMs holds, that of the %s",
    async (kind, _which, interceptors) => {
      await using road = await foreign(interceptors());
      const client = road.client();
      // The connection, and the code of this call, are there before the time of the check is measured.
      await invoke(client, kind);
      // The default, 5,000 ms, is beyond the caller's deadline.
      const told = await invoke(client, kind, { call: { deadline: Date.now() + 4_500 } });
      expect(`${told.name} ${told.details}`).toBe("UNAVAILABLE temporarily unavailable");
      expect(road.started).toEqual([]);
    },
  );

  const wrong: readonly [string, unknown[], string][] = [
    ["none", [], "toInterceptor: expected at least one middleware"],
    ["what is no layer", [{}], "toInterceptor.0: name: must be"],
    ["a misspelt hook", [{ name: "x", oncall() {} }], "toInterceptor.0: oncall: no such hook"],
    ["a layer without hooks", [{ name: "x" }], "toInterceptor.0: has none of the hooks"],
    [
      "two of one name",
      [
        { name: "x", onCall() {} },
        { name: "x", onCall() {} },
      ],
      'toInterceptor.1.name: "x" is used twice',
    ],
  ];
  it.each(wrong)("C6 %s is a ConfigError", (_what, given, problem) => {
    const make = (): unknown => toInterceptor(...(given as Middleware[]));
    expect(make).toThrow(ConfigError);
    expect(make).toThrow(problem);
  });
});
