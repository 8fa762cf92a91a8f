// The policy is checked whole before a port is open (Z2), and nothing gets in beside it.
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import {
  ServerCredentials as credentials,
  type ServerCredentials,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { beforeAll, describe, expect, it } from "vitest";
import { defineHandlers } from "../../src/chain/define-handlers.ts";
import { ConfigError, PolicyError } from "../../src/grpc/errors.ts";
import { anonymous } from "../../src/middleware/authentication/anonymous.ts";
import { jwt } from "../../src/middleware/authentication/jwt/jwt.ts";
import { allowAuthenticated } from "../../src/middleware/authorization/allow-authenticated.ts";
import { type RbacOptions, rbac } from "../../src/middleware/authorization/rbac.ts";
import { createSecureServer, type SecureServer } from "../../src/server/secure-server.ts";
import type { SecureServerOptions } from "../../src/server/server-options.ts";
import { freePort, isFree } from "../harness/free-port.ts";
import { check } from "../harness/health.ts";
import { goodHandlers, invoke, kinds, kindsDefinition, paths } from "../harness/kinds.ts";
import { keptLog, secured, theWorld, type World } from "../harness/secured.ts";

let world: World;
beforeAll(async () => {
  world = await theWorld();
});

const everything = { "/test.v1.Kinds/*": { roles: ["caller"] } } as const;

function serverWith(options: RbacOptions, services: { readonly kinds?: boolean } = {}): SecureServer {
  const server = createSecureServer({
    tls: {
      cert: Buffer.from(world.server.cert),
      key: Buffer.from(world.server.key),
      clientCa: Buffer.from(world.ca.caPem),
    },
    authentication: jwt({ issuer: world.issuer.issuer, audience: "kinds", jwksUri: world.issuer.jwksUri }),
    authorization: rbac(options),
    logger: false,
  });
  if (services.kinds !== false) server.addService(kindsDefinition, goodHandlers());
  return server;
}

async function problemsOf(listening: Promise<unknown>): Promise<readonly string[]> {
  const error: unknown = await listening.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(PolicyError);
  return error instanceof PolicyError ? error.problems : [];
}

function handlerProblems(add: () => unknown): readonly string[] {
  try {
    add();
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return error instanceof ConfigError ? error.problems : [];
  }
  return [];
}

const caller = { roles: { caller: {} } };

interface Mistake {
  readonly mistake: string;
  readonly options: RbacOptions;
  readonly problems: readonly string[];
}

const mistakes: readonly Mistake[] = [
  {
    mistake: "a typo in a method",
    options: { ...caller, rules: { ...everything, "/test.v1.Kinds/Unray": { roles: ["caller"] } } },
    problems: ['/test.v1.Kinds/Unray: no such method; did you mean "/test.v1.Kinds/Unary"?'],
  },
  {
    mistake: "a method in another case",
    options: { ...caller, rules: { ...everything, "/test.v1.Kinds/unary": { roles: ["caller"] } } },
    problems: ['/test.v1.Kinds/unary: no such method; did you mean "/test.v1.Kinds/Unary"?'],
  },
  {
    mistake: "a typo in a service",
    options: { ...caller, rules: { ...everything, "/test.v1.Kind/*": { roles: ["caller"] } } },
    problems: ['/test.v1.Kind/*: no method of such a service; did you mean "/test.v1.Kinds/*"?'],
  },
  {
    mistake: "a typo in a package",
    options: { ...caller, rules: { ...everything, "/test.v2.*": { roles: ["caller"] } } },
    problems: ['/test.v2.*: no method in such a package; did you mean "/test.v1.*"?'],
  },
  {
    mistake: "a path without its slash",
    options: { ...caller, rules: { ...everything, "test.v1.Kinds/Unary": { roles: ["caller"] } } },
    problems: [
      expect.stringMatching(
        /^test\.v1\.Kinds\/Unary: not a path; .* did you mean "\/test\.v1\.Kinds\/Unary"\?$/,
      ),
    ],
  },
  {
    mistake: "a role that nobody defined",
    options: { ...caller, rules: { "/test.v1.Kinds/*": { roles: ["caler"] } } },
    problems: ['/test.v1.Kinds/*: no such role caler; did you mean "caller"?'],
  },
  {
    mistake: "a role that inherits from nowhere",
    options: { roles: { caller: { inherits: ["reader"] } }, rules: everything },
    problems: ["roles.caller.inherits: no such role reader; define it in roles, or remove it"],
  },
  {
    mistake: "methods without a rule",
    options: { ...caller, rules: { [paths.unary]: { roles: ["caller"] } } },
    problems: [paths.client_stream, paths.server_stream, paths.bidi_stream].map(
      (path) => `${path}: no rule; add one, or a wildcard that covers it`,
    ),
  },
  {
    mistake: "no rules at all",
    options: { rules: {} },
    problems: kinds.map((kind) => `${paths[kind]}: no rule; add one, or a wildcard that covers it`),
  },
  {
    mistake: "a rule that would close the health probes",
    options: { ...caller, rules: { ...everything, "/grpc.health.v1.Health/Check": { roles: ["caller"] } } },
    problems: [expect.stringContaining("/grpc.health.v1.Health/Check: ")],
  },
];

describe("listen()", () => {
  it.each(mistakes)(
    "Z2 rejects $mistake with a PolicyError, and opens no port",
    async ({ options, problems }) => {
      const server = serverWith(options);
      const port = await freePort();
      const told = await problemsOf(server.listen(`127.0.0.1:${port}`));
      expect([...told].sort()).toEqual([...problems].sort());
      expect(await isFree(port)).toBe(true);
    },
  );

  it("Z2 lists every problem of a policy at once", async () => {
    const server = serverWith({
      roles: { caller: {}, admin: { inherits: ["calller"] } },
      rules: {
        [paths.unary]: { roles: ["amdin"] },
        "/test.v1.Kinds/ClientStraem": "authenticated",
        [paths.server_stream]: { permissions: ["everything"] },
      },
    });
    const told = await problemsOf(server.listen("127.0.0.1:0"));
    for (const part of [
      '/test.v1.Kinds/ClientStraem: no such method; did you mean "/test.v1.Kinds/ClientStream"?',
      "/test.v1.Kinds/ClientStream: no rule",
      "/test.v1.Kinds/BidiStream: no rule",
      '/test.v1.Kinds/Unary: no such role amdin; did you mean "admin"?',
      '/test.v1.Kinds/ServerStream: malformed permission "everything"',
      'roles.admin.inherits: no such role calller; did you mean "caller"?',
    ]) {
      expect(told).toContainEqual(expect.stringContaining(part));
    }
    expect(told).toHaveLength(6);
  });

  it.each(["/*", "/test.*", "/test.v1.*", "/test.v1.Kinds/*"])(
    "Z1 `public` on %s is refused at once",
    (path) => {
      expect(() => serverWith({ rules: { [path]: "public" } })).toThrow(ConfigError);
      expect(() => serverWith({ rules: { [path]: "public" } })).toThrow(
        /"public" is not allowed on a wildcard path/,
      );
    },
  );

  it("Z2 covers services that a library registers on grpcServer", async () => {
    const server = serverWith({ ...caller, rules: everything });
    const undecided: ServiceDefinition = {
      Extra: { ...kindsDefinition["unary"], path: "/library.v1.Extra/Extra" } as ServiceDefinition[string],
    };
    server.grpcServer.addService(undecided, {
      Extra: goodHandlers()["unary"],
    } as UntypedServiceImplementation);
    expect(await problemsOf(server.listen("127.0.0.1:0"))).toEqual([
      "/library.v1.Extra/Extra: no rule; add one, or a wildcard that covers it",
    ]);
  });

  it.each(kinds)(
    "Z2 puts the wall around a %s method that a library registers on grpcServer",
    async (kind) => {
      const path = "/library.v1.Extra/Extra";
      const names = {
        unary: "unary",
        client_stream: "clientStream",
        server_stream: "serverStream",
        bidi_stream: "bidiStream",
      } as const;
      await using wall = await secured({
        authorization: rbac({
          roles: { caller: {}, extra: {} },
          rules: { ...everything, [path]: { roles: ["extra"] } },
        }),
        register(server) {
          server.grpcServer.addService(
            { Extra: { ...kindsDefinition[names[kind]], path } as ServiceDefinition[string] },
            { Extra: goodHandlers()[names[kind]] } as UntypedServiceImplementation,
          );
        },
      });
      const client = wall.client();
      expect(await invoke(client, kind, { path })).toMatchObject({ details: "missing credentials" });
      expect(await invoke(client, kind, { path, metadata: await wall.authorized() })).toMatchObject({
        details: "permission denied",
      });
      expect(
        await invoke(client, kind, { path, metadata: await wall.authorized({ roles: ["extra"] }) }),
      ).toMatchObject({ name: "OK" });
    },
  );

  it("Z2 warns of a permission that no role grants where a role grants one with a near name", async () => {
    const policy = (permission: string) =>
      rbac({
        roles: { caller: { permissions: ["note:read"] } },
        rules: { "/test.v1.Kinds/*": { permissions: [permission] } },
      });
    const warning =
      'authorization: /test.v1.Kinds/*: no role grants permission note:raed; did you mean "note:read"?';
    await using wall = await secured({ authorization: policy("note:raed") });
    const warnings = (): readonly unknown[] =>
      wall.lines.filter(({ level }) => level === 40).map(({ msg }) => msg);
    expect(warnings()).toEqual([warning]);
    wall.server.setAuthorization(policy("invoice:send"));
    expect(warnings()).toEqual([warning]);
    wall.server.setAuthorization(policy("note:raed"));
    expect(warnings()).toEqual([warning, warning]);
  });

  it("Z2 where no service is registered at all, every path says so", async () => {
    const forgotten = "no service is registered: call addService before listen()";
    const rules = {
      [paths.unary]: "authenticated",
      "/test.v1.Kinds/*": "authenticated",
      "/test.*": "authenticated",
    } as const;
    const server = serverWith({ ...caller, rules }, { kinds: false });
    expect(await problemsOf(server.listen("127.0.0.1:0"))).toEqual([
      `${paths.unary}: no such method; ${forgotten}`,
      `/test.v1.Kinds/*: no method of such a service; ${forgotten}`,
      `/test.*: no method in such a package; ${forgotten}`,
    ]);
    const { server: own } = world;
    const withMethods = createSecureServer({
      tls: { cert: Buffer.from(own.cert), key: Buffer.from(own.key) },
      authentication: anonymous(),
      authorization: allowAuthenticated(),
      methods: { [paths.unary]: { audit: false } },
      logger: false,
    });
    await expect(withMethods.listen("127.0.0.1:0")).rejects.toThrow(
      new ConfigError(`methods.${paths.unary}: no such method; ${forgotten}`),
    );
  });

  it("Z2 may be tried again once the missing service is there", async () => {
    const server = serverWith({ ...caller, rules: everything }, { kinds: false });
    expect(await problemsOf(server.listen("127.0.0.1:0"))).toEqual([
      expect.stringContaining("/test.v1.Kinds/*: no method of such a service"),
    ]);
    server.addService(kindsDefinition, goodHandlers());
    const { port } = await server.listen("127.0.0.1:0");
    expect(port).toBeGreaterThan(0);
    await server.shutdown({ graceMs: 0 });
  });

  it("Z2 an authorizer that fails in its own way opens no port either", async () => {
    const port = await freePort();
    const server = createSecureServer({
      tls: { cert: Buffer.from(world.server.cert), key: Buffer.from(world.server.key) },
      authentication: anonymous(),
      authorization: {
        name: "broken",
        compile() {
          throw new Error("the policy file is gone");
        },
      },
      logger: false,
    });
    await expect(server.listen(`127.0.0.1:${port}`)).rejects.toThrow("the policy file is gone");
    expect(await isFree(port)).toBe(true);
  });

  it("binds all of several addresses, and none that is taken", async () => {
    const server = serverWith({ ...caller, rules: everything });
    const { port, address } = await server.listen(["127.0.0.1:0", "127.0.0.1:0"]);
    expect(address).toBe(`127.0.0.1:${port}`);
    const second = serverWith({ ...caller, rules: everything });
    const error: unknown = await second.listen(`127.0.0.1:${port}`).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ConfigError);
    expect(String(error)).toContain(`cannot bind 127.0.0.1:${port}`);
    await server.shutdown({ graceMs: 0 });
  });

  it.each([
    "127.0.0.1",
    "localhost",
    "::1",
    ":0",
    "http://127.0.0.1:0",
    "127.0.0.1:http",
    "nowhere at all",
    "",
  ])("%j is no address with a port: a ConfigError, and nothing is bound", async (address) => {
    const server = serverWith({ ...caller, rules: everything });
    const error: unknown = await server.listen(["127.0.0.1:0", address]).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ConfigError);
    expect(String(error)).toContain(`listen: "${address}" is not an address`);
    const { port } = await server.listen("127.0.0.1:0");
    expect(port).toBeGreaterThan(0);
    await server.shutdown({ graceMs: 0 });
  });

  it("an empty list of addresses is a ConfigError", async () => {
    await expect(serverWith({ ...caller, rules: everything }).listen([])).rejects.toBeInstanceOf(ConfigError);
  });
});

describe("a listen() that cannot bind", () => {
  interface Taken {
    readonly port: number;
    readonly free: number;
  }
  it.each<readonly [string, (taken: Taken) => [string[], Partial<SecureServerOptions>]]>([
    ["the address", ({ port }) => [[`127.0.0.1:${port}`], {}]],
    ["the second address", ({ port, free }) => [[`127.0.0.1:${free}`, `127.0.0.1:${port}`], {}]],
    [
      "a health port",
      ({ port, free }) => [[`127.0.0.1:${free}`], { health: { httpAddress: `127.0.0.1:${port}` } }],
    ],
    [
      "the address, with a health port",
      ({ port, free }) => [[`127.0.0.1:${port}`], { health: { plaintextAddress: `127.0.0.1:${free}` } }],
    ],
  ])("C9 %s: leaves nothing open, and says afterwards why it is over", async (_what, use) => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    const port = (other.address() as AddressInfo).port;
    const free = await freePort();
    const [addresses, options] = use({ port, free });
    const closed: string[] = [];
    const { logger, lines } = keptLog();
    const server = createSecureServer({
      tls: { cert: Buffer.from(world.server.cert), key: Buffer.from(world.server.key) },
      authentication: { ...anonymous(), close: () => void closed.push("authenticator") },
      authorization: allowAuthenticated(),
      logger,
      audit: { sinks: [{ write: async () => {}, close: async () => void closed.push("sink") }] },
      ...options,
    });
    const failed: unknown = await server.listen(addresses).catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(ConfigError);
    expect(String(failed)).toMatch(/cannot (be )?bind|cannot be bound/);
    expect(closed.sort()).toEqual(["authenticator", "sink"]);
    expect(await isFree(free)).toBe(true);
    expect(lines.filter(({ level }) => level > 30)).toEqual([]);
    other.close();
    await once(other, "close");
    await expect(server.listen(addresses)).rejects.toThrow(
      /^listen: this server failed to listen before, and is closed; make a new one \(before: .*cannot .*\)$/,
    );
    await server.shutdown();
    expect(closed).toHaveLength(2);
    const again = serverWith({ ...caller, rules: everything });
    await again.listen(addresses);
    await again.shutdown({ graceMs: 0 });
  });
});

describe("after listen()", () => {
  it("Z2 registering a service throws, by either way", async () => {
    await using wall = await secured();
    const late: ServiceDefinition = {
      Late: { ...kindsDefinition["unary"], path: "/late.v1.Late/Late" } as ServiceDefinition[string],
    };
    const handlers = { Late: goodHandlers()["unary"] } as UntypedServiceImplementation;
    expect(() => wall.server.addService(late, handlers)).toThrow(ConfigError);
    expect(() => wall.server.grpcServer.addService(late, handlers)).toThrow(/registered after listen/);
    expect(() => wall.server.grpcServer.removeService(kindsDefinition)).toThrow(ConfigError);
    expect(() => wall.server.grpcServer.unregister(paths.unary)).toThrow(ConfigError);
    const metadata = await wall.authorized();
    expect(await invoke(wall.client(), "unary", { metadata })).toMatchObject({ name: "OK" });
    expect(await invoke(wall.client(), "unary", { metadata, path: "/late.v1.Late/Late" })).toMatchObject({
      name: "UNIMPLEMENTED",
    });
  });

  it("listening twice, and after shutdown, is a ConfigError", async () => {
    await using wall = await secured();
    await expect(wall.server.listen("127.0.0.1:0")).rejects.toThrow(/already listens/);
    await wall.close();
    await expect(wall.server.listen("127.0.0.1:0")).rejects.toThrow(
      new ConfigError("listen: this server was shut down; make a new one"),
    );
  });
});

describe("binding grpcServer by hand", () => {
  const insecure: ServerCredentials = credentials.createInsecure();

  it("Z2 throws before listen() and after it", async () => {
    const server = serverWith({ ...caller, rules: everything });
    const byHand = (): void => server.grpcServer.bindAsync("127.0.0.1:0", insecure, () => {});
    expect(byHand).toThrow(/binds the server without the policy check/);
    expect(() => server.grpcServer.createConnectionInjector(insecure)).toThrow(
      /binds the server without the policy check/,
    );
    await server.listen("127.0.0.1:0");
    expect(byHand).toThrow(ConfigError);
    await server.shutdown({ graceMs: 0 });
  });

  it("Z2 throws while listen() is binding", async () => {
    const server = serverWith({ ...caller, rules: everything });
    const listening = server.listen("127.0.0.1:0");
    expect(() => server.grpcServer.bindAsync("127.0.0.1:0", insecure, () => {})).toThrow(ConfigError);
    await listening;
    await server.shutdown({ graceMs: 0 });
  });
});

describe("addService()", () => {
  it("names every method that has no handler", () => {
    const server = serverWith({ ...caller, rules: everything }, { kinds: false });
    const { unary } = goodHandlers();
    const added = (): void => server.addService(kindsDefinition, { unary } as UntypedServiceImplementation);
    expect(added).toThrow(ConfigError);
    expect(added).toThrow(/\/test\.v1\.Kinds\/ClientStream: no handler/);
    expect(added).toThrow(/\/test\.v1\.Kinds\/BidiStream: no handler/);
  });

  it("names the handlers whose names are near a method without one", () => {
    const { unary, clientStream, serverStream } = goodHandlers();
    class Handlers {
      unary = unary;
      clientStraem = clientStream;
      serverstream = serverStream;
      reload(): void {}
      bidiStreams(): void {}
    }
    const handlers = new Handlers() as unknown as UntypedServiceImplementation;
    for (const told of [
      handlerProblems(() => defineHandlers(kindsDefinition, handlers as never)),
      handlerProblems(() => {
        serverWith({ ...caller, rules: everything }, { kinds: false }).addService(kindsDefinition, handlers);
      }),
    ]) {
      expect(told).toEqual([
        "/test.v1.Kinds/ClientStream: no handler; add clientStream(call, …) to the handlers",
        "/test.v1.Kinds/ServerStream: no handler; add serverStream(call, …) to the handlers",
        "/test.v1.Kinds/BidiStream: no handler; add bidiStream(call, …) to the handlers",
        'handlers.clientStraem: no such method; did you mean "clientStream"?',
        'handlers.serverstream: no such method; did you mean "serverStream"?',
        'handlers.bidiStreams: no such method; did you mean "bidiStream"?',
      ]);
    }
  });

  it("takes handlers that have more functions than there are methods", () => {
    const handlers = { ...goodHandlers(), unray() {}, close() {} };
    expect(() => defineHandlers(kindsDefinition, handlers as never)).not.toThrow();
  });

  it("refuses a service that is there already, without taking anything away", async () => {
    await using wall = await secured({
      register(server) {
        expect(() => server.addService(kindsDefinition, goodHandlers())).toThrow(
          new ConfigError(
            "/test.v1.Kinds/Unary: is already registered; call addService once for each service",
          ),
        );
      },
    });
    expect(await invoke(wall.client(), "unary", { metadata: await wall.authorized() })).toMatchObject({
      name: "OK",
    });
  });

  it("A10 refuses a health service of one's own beside ours", async () => {
    await using wall = await secured({
      register(server) {
        const path = "/grpc.health.v1.Health/Check";
        const own = { Check: { ...kindsDefinition["unary"], path } as ServiceDefinition[string] };
        const handlers = { Check: goodHandlers()["unary"] } as UntypedServiceImplementation;
        expect(() => server.addService(own, handlers)).toThrow();
      },
    });
    expect(await check(wall.client(), "")).toMatchObject({ value: { status: "SERVING" } });
  });
});

describe("allowAuthenticated()", () => {
  it.each(kinds)(
    "Z1 lets an identified %s caller in, whatever its roles, and nobody anonymous",
    async (kind) => {
      await using wall = await secured({ authorization: allowAuthenticated() });
      const metadata = await wall.authorized({ roles: [] });
      expect(await invoke(wall.client(), kind, { metadata })).toMatchObject({ name: "OK" });
      await using open = await secured({ authorization: allowAuthenticated(), authentication: anonymous() });
      expect(await invoke(open.client(), kind)).toMatchObject({ details: "permission denied" });
    },
  );
});
