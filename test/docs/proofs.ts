// What each TypeScript block of the documentation does when it runs, by its page and heading. `run` runs the block as a
// module, among the reader's files and services, and answers with its exports.
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type Client,
  type ClientDuplexStream,
  type ClientWritableStream,
  credentials,
  loadPackageDefinition,
  makeClientConstructor,
  type Server,
  ServerCredentials,
  type ServiceDefinition,
  type UntypedHandleCall,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import {
  type AuditSink,
  type Authenticator,
  type Authorizer,
  allOf,
  allowAuthenticated,
  anyOf,
  createSecureClient,
  createSecureServer,
  jwt,
  type MethodsOptions,
  mtls,
  type PeerOptions,
  type SecureClientConstructor,
  type SecureServer,
  type SecureServerOptions,
  securityContext,
  type ValidationOptions,
} from "../../src/index.ts";
import { type SecuredServerOptions, startSecuredServer, type TokenIssuer } from "../../src/testing/index.ts";
import { inTime } from "../harness/time.ts";
import { call, handlers, type Orders, OrdersClient, OrdersService } from "./orders.ts";

export interface Surroundings {
  /** The reader's folder: `certs/`, `server.crt`, `api-keys.json`, `audit.jsonl`, a token in `orders`. */
  readonly directory: string;
  /** Where the page's server listens, and its clients call. */
  readonly port: number;
  /** `https://id.example`. */
  readonly issuer: TokenIssuer;
  /** An API key of `api-keys.json`, of `shop`. */
  readonly apiKey: string;
  run(): Promise<Readonly<Record<string, unknown>>>;
}

export type Proof = (surroundings: Surroundings) => Promise<void>;

/** A server of the reader's service with the options that a block shows. */
async function serving(
  options: Omit<SecuredServerOptions, "services">,
  calls: (server: Awaited<ReturnType<typeof startSecuredServer>>) => Promise<void>,
  own: Readonly<Record<string, UntypedHandleCall>> = {},
): Promise<void> {
  const server = await startSecuredServer({
    services: [[OrdersService, { ...handlers, ...own }]],
    ...options,
  });
  try {
    await calls(server);
  } finally {
    await server.close();
  }
}

const ada = { as: { sub: "ada" } };

function clientOf({ directory, port }: Surroundings): Orders {
  return createSecureClient(OrdersClient, `localhost:${port}`, {
    tls: {
      ca: join(directory, "certs/ca.crt"),
      cert: join(directory, "certs/client.crt"),
      key: join(directory, "certs/client.key"),
    },
  });
}

async function bearer(
  issuer: TokenIssuer,
  claims: Readonly<Record<string, unknown>>,
): Promise<{ authorization: string }> {
  return { authorization: `Bearer ${await issuer.sign(claims)}` };
}

function ready(client: Orders): Promise<void> {
  return new Promise((settle, fail) => {
    client.waitForReady(inTime(), (error) => (error === undefined ? settle() : fail(error)));
  });
}

/** A method of each kind. */
function streamingService(): ServiceDefinition {
  const method = (name: string, requestStream: boolean, responseStream: boolean) => ({
    ...(OrdersService["getOrder"] as ServiceDefinition[string]),
    path: `/orders.v1.Orders/${name}`,
    requestStream,
    responseStream,
  });
  return {
    getOrder: method("GetOrder", false, false),
    listOrders: method("ListOrders", false, true),
    uploadOrders: method("UploadOrders", true, false),
    watchOrders: method("WatchOrders", true, true),
  };
}

async function allOfStream(stream: AsyncIterable<unknown>): Promise<readonly unknown[]> {
  const answers: unknown[] = [];
  for await (const answer of stream) answers.push(answer);
  return answers;
}

const nestProto = `
  syntax = "proto3";
  package orders.v1;
  service Orders { rpc GetOrder (OrderRequest) returns (Order); }
  message OrderRequest { string id = 1; }
  message Order { string id = 1; string owner = 2; }
`;

const denied = "7 PERMISSION_DENIED: permission denied";
const missing = "16 UNAUTHENTICATED: missing credentials";

export const proofs: Readonly<Record<string, Proof>> = {
  "docs/audit.md#Audit": async ({ run, directory }) => {
    const { audit } = (await run()) as { audit: NonNullable<SecureServerOptions["audit"]> };
    await serving({ audit }, async (server) => {
      await call(server.client(OrdersClient, ada), "getOrder");
    });
    const entry = JSON.parse(readFileSync(join(directory, "audit.jsonl"), "utf8"));
    equal(entry.method, "/orders.v1.Orders/GetOrder");
    equal(entry.caller.subject, "ada");
  },

  "docs/audit.md#A sink of your own": async ({ run }) => {
    const { standardOutput } = (await run()) as { standardOutput: AuditSink };
    const { log } = console;
    const lines: string[] = [];
    console.log = (line: string) => lines.push(line);
    await serving({ audit: { sinks: [standardOutput] } }, async (server) => {
      await call(server.client(OrdersClient, ada), "getOrder");
    });
    console.log = log;
    deepEqual(
      lines.map((line) => JSON.parse(line).status),
      ["OK"],
    );
  },

  "docs/authorization.md#Authorization": async ({ run, issuer }) => {
    const { policy } = (await run()) as { policy: Authorizer };
    const user = jwt({ issuer: issuer.issuer, audience: issuer.audience, jwksUri: issuer.jwksUri });
    // The rule for CancelOrder demands an application, so there must be a way to know one.
    const authentication = anyOf(allOf({ principal: user, actor: mtls() }), user);
    await serving({ authorization: policy, authentication }, async (server) => {
      const certificate = await server.ca.issue({ commonName: "till", usage: "client" });
      const direct = server.client(OrdersClient);
      const till = server.client(OrdersClient, { certificate });
      const viewer = { headers: await bearer(issuer, { sub: "ada", roles: ["viewer"] }) };
      const clerk = { headers: await bearer(issuer, { sub: "eve", roles: ["clerk"] }) };
      deepEqual(await call(direct, "getOrder", viewer), { id: "7", owner: "ada", roles: ["viewer"] });
      equal(await call(till, "cancelOrder", viewer), denied);
      equal(await call(direct, "cancelOrder", clerk), denied, "no application speaks for the clerk");
      deepEqual(await call(till, "cancelOrder", clerk), { id: "7", owner: "eve", roles: ["clerk"] });
      deepEqual(await call(direct, "getTerms"), { id: "terms" });
      equal(await call(direct, "getOrder"), missing);
    });
  },

  "docs/client.md#The client": async ({ run, directory, issuer, port }) => {
    const file = (name: string): string => join(directory, "certs", name);
    const server = createSecureServer({
      tls: { cert: file("server.crt"), key: file("server.key"), clientCa: file("ca.crt") },
      authentication: jwt({ issuer: issuer.issuer, audience: issuer.audience, jwksUri: issuer.jwksUri }),
      authorization: allowAuthenticated(),
      logger: false,
    });
    server.addService(OrdersService, handlers);
    await server.listen(`127.0.0.1:${port}`);
    const { orders } = (await run()) as { orders: Orders };
    deepEqual(await call(orders, "getOrder"), { id: "7", owner: "token-file", roles: [] });
    orders.close();
    await server.shutdown();
  },

  "docs/handlers.md#Handlers": async ({ run }) => {
    const { handlers: shown } = (await run()) as { handlers: UntypedServiceImplementation };
    const service = streamingService();
    const server = await startSecuredServer({ services: [[service, shown]] });
    const Streaming = makeClientConstructor(service, "Orders") as unknown as SecureClientConstructor<Client>;
    const client = server.client(Streaming, ada) as Client & {
      getOrder(one: object, done: (error: unknown, answer: unknown) => void): void;
      listOrders(one: object): AsyncIterable<unknown>;
      uploadOrders(done: (error: unknown, answer: unknown) => void): ClientWritableStream<object>;
      watchOrders(): ClientDuplexStream<object, object>;
    };
    const answered = await new Promise((settle) => {
      client.getOrder({ id: "7" }, (error, answer) => settle(error ?? answer));
    });
    deepEqual(answered, { id: "7" });
    deepEqual(await allOfStream(client.listOrders({ id: "7" })), [{ id: "7-a" }, { id: "7-b" }]);
    const uploaded = await new Promise((settle) => {
      const upload = client.uploadOrders((error, answer) => settle(error ?? answer));
      for (const id of ["1", "2"]) upload.write({ id });
      upload.end();
    });
    deepEqual(uploaded, { id: "1+2" });
    const watch = client.watchOrders();
    for (const id of ["1", "2"]) watch.write({ id });
    watch.end();
    deepEqual(await allOfStream(watch), [{ id: "1" }, { id: "2" }]);
    await server.close();
  },

  "docs/observability.md#Metrics": async ({ run }) => {
    const { provider } = (await run()) as {
      provider: { forceFlush(): Promise<void>; shutdown(): Promise<void> };
    };
    await serving({}, async (server) => {
      await call(server.client(OrdersClient, ada), "getOrder");
    });
    const { dir } = console;
    const printed: {
      readonly descriptor: { readonly name: string };
      readonly dataPoints: readonly object[];
    }[] = [];
    console.dir = (metric: (typeof printed)[number]) => printed.push(metric);
    await provider.forceFlush();
    console.dir = dir;
    await provider.shutdown();
    for (const name of ["grpc.server.call.started", "grpc.server.call.duration"]) {
      const found = printed.filter(({ descriptor }) => descriptor.name === name);
      deepEqual(
        found.map(({ dataPoints }) => dataPoints.length),
        [1],
        name,
      );
    }
  },

  "docs/identity.md#Identity": async ({ run, issuer, apiKey }) => {
    const { authentication } = (await run()) as { authentication: Authenticator };
    await serving({ authentication }, async (server) => {
      const client = server.client(OrdersClient);
      const token = await bearer(issuer, { sub: "ada", realm_access: { roles: ["viewer"] } });
      deepEqual(await call(client, "getOrder", { headers: token }), {
        id: "7",
        owner: "ada",
        roles: ["viewer"],
      });
      const key = { "x-api-key": apiKey };
      deepEqual(await call(client, "getOrder", { headers: key }), {
        id: "7",
        owner: "shop",
        roles: ["viewer"],
      });
      const bad = { ...key, authorization: "Bearer bad" };
      equal(await call(client, "getOrder", { headers: bad }), "16 UNAUTHENTICATED: invalid credentials");
    });
  },

  "docs/identity.md#In a handler": async ({ run }) => {
    const { whoAmI } = (await run()) as { whoAmI: UntypedHandleCall };
    await serving(
      {},
      async (server) => {
        const client = server.client(OrdersClient, { as: { sub: "ada", tenant: "north" } });
        deepEqual(await call(client, "getOrder"), { id: "ada", tenant: "north" });
      },
      { getOrder: whoAmI },
    );
  },

  "docs/limits.md#Limits across instances": async ({ run }) => {
    const { client, rateLimit } = (await run()) as {
      client: { disconnect(): void };
      rateLimit: NonNullable<SecureServerOptions["rateLimit"]>;
    };
    try {
      // Whether or not this machine has a Redis.
      await serving({ rateLimit }, async (server) => {
        await call(server.client(OrdersClient, ada), "getOrder");
      });
    } finally {
      client.disconnect();
    }
  },

  "docs/limits.md#For single methods": async ({ run }) => {
    const { methods } = (await run()) as { methods: MethodsOptions };
    await serving({ methods }, async (server) => {
      const client = server.client(OrdersClient, ada);
      const large = await call(client, "upload", { id: "x".repeat(5 * 1024 * 1024) });
      deepEqual(large, { id: "7", owner: "ada", roles: [] }, "larger than the server's 4 MiB");
      // Each takes 50 of the principal's 500 points in a second: of 40 many are over, however long they take.
      const answers = await Promise.all(Array.from({ length: 40 }, () => call(client, "export")));
      ok(answers.includes("8 RESOURCE_EXHAUSTED: rate limit exceeded"));
    });
  },

  "docs/limits.md#Behind a proxy or a balancer": async ({ run }) => {
    const { peer } = (await run()) as { peer: PeerOptions };
    // Those who call are on this machine: it is one of the proxies.
    const trustedProxies = [...peer.trustedProxies, "127.0.0.0/8", "::1"];
    const whoCalls: UntypedHandleCall = async (one: Parameters<typeof securityContext>[0]) => ({
      id: securityContext(one).peer.address,
    });
    await serving(
      { peer: { ...peer, trustedProxies } },
      async (server) => {
        const headers = { "x-forwarded-for": "198.51.100.1, 203.0.113.9, 10.1.2.3" };
        deepEqual(await call(server.client(OrdersClient, ada), "getOrder", { headers }), {
          id: "203.0.113.9",
        });
      },
      { getOrder: whoCalls },
    );
  },

  "docs/limits.md#Messages": async ({ run }) => {
    const { validation } = (await run()) as { validation: ValidationOptions };
    await serving({ validation }, async (server) => {
      const client = server.client(OrdersClient, ada);
      equal(await call(client, "getOrder", { id: "" }), "3 INVALID_ARGUMENT: invalid request");
      deepEqual(await call(client, "getOrder"), { id: "7", owner: "ada", roles: [] });
    });
  },

  "docs/migrating.md#Moving from bare grpc-js": async (surroundings) => {
    await surroundings.run();
    const client = clientOf(surroundings);
    const headers = await bearer(surroundings.issuer, { sub: "ada" });
    deepEqual(await call(client, "getOrder", { headers }), { id: "7", owner: "ada", roles: [] });
    client.close();
    process.kill(process.pid, "SIGTERM");
  },

  "docs/migrating.md#What changes for handlers": async ({ run }) => {
    const { getOrder } = (await run()) as { getOrder: UntypedHandleCall };
    await serving(
      {},
      async (server) => {
        const client = server.client(OrdersClient, ada);
        equal(await call(client, "getOrder", { id: "" }), "3 INVALID_ARGUMENT: id is empty");
        equal(await call(client, "getOrder", { id: "8" }), "5 NOT_FOUND: no such order");
        deepEqual(await call(client, "getOrder"), { id: "7" });
      },
      { getOrder },
    );
  },

  "docs/roads.md#NestJS": async (surroundings) => {
    const { directory, issuer, port, run } = surroundings;
    const proto = join(directory, "orders.proto");
    writeFileSync(proto, nestProto);
    const { start } = (await run()) as { start(): Promise<{ close(): Promise<void> }> };
    const app = await start();
    const definitions = loadPackageDefinition(loadSync(proto)) as unknown as {
      readonly orders: { readonly v1: { readonly Orders: SecureClientConstructor<Orders> } };
    };
    const client = createSecureClient(definitions.orders.v1.Orders, `localhost:${port}`, {
      tls: { ca: join(directory, "certs/ca.crt") },
    });
    const headers = await bearer(issuer, { sub: "ada" });
    deepEqual(await call(client, "getOrder", { headers }), { id: "7", owner: "ada" });
    equal(await call(client, "getOrder"), missing);
    client.close();
    await app.close();
  },

  "docs/roads.md#On somebody else's server": async (surroundings) => {
    await surroundings.run();
    const client = clientOf(surroundings);
    await ready(client);
    const headers = { "x-api-key": surroundings.apiKey };
    deepEqual(await call(client, "getOrder", { headers }), { id: "7", owner: "shop", roles: ["viewer"] });
    equal(await call(client, "getOrder"), missing);
    client.close();
    process.kill(process.pid, "SIGTERM");
  },

  "docs/roads.md#Single layers": async ({ run, issuer }) => {
    const { server } = (await run()) as { server: Server };
    server.addService(OrdersService, handlers);
    const port = await new Promise<number>((settle, fail) => {
      server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? settle(bound) : fail(error),
      );
    });
    const client = new OrdersClient(`127.0.0.1:${port}`, credentials.createInsecure());
    const headers = await bearer(issuer, { sub: "ada" });
    deepEqual(await call(client, "getOrder", { headers }), { id: "7", owner: "ada", roles: [] });
    equal(await call(client, "getOrder"), missing);
    client.close();
    server.forceShutdown();
  },

  "docs/testing.md#Testing a secured service": async ({ run }) => {
    await run();
  },

  "docs/transport.md#Without TLS": async ({ run }) => {
    const { server } = (await run()) as { server: SecureServer };
    server.addService(OrdersService, handlers);
    const { port } = await server.listen("127.0.0.1:0");
    const client = new OrdersClient(`127.0.0.1:${port}`, credentials.createInsecure());
    match(
      String(await call(client, "getOrder")),
      /^14 UNAVAILABLE/,
      "127.0.0.1 is none of the mesh's addresses",
    );
    client.close();
    await server.shutdown();
  },
};
