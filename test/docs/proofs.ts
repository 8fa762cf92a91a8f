// What each TypeScript block of the documentation does when it runs, by its page and heading. `run` runs the block as a
// module, among the reader's files and services, and answers with its exports.

import { deepEqual, equal, match, ok } from "node:assert/strict";
import { Buffer } from "node:buffer";
import type { X509Certificate } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { mkdir, rename, writeFile } from "node:fs/promises";
import { createServer as createHttpServer } from "node:http";
import { join } from "node:path";
import { text as bodyOf } from "node:stream/consumers";
import { pathToFileURL } from "node:url";
import { create, toBinary } from "@bufbuild/protobuf";
import { FieldDescriptorProto_Type, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import {
  type Client,
  type ClientDuplexStream,
  type ClientWritableStream,
  credentials,
  type handleUnaryCall,
  loadPackageDefinition,
  Metadata,
  makeClientConstructor,
  type Server,
  ServerCredentials,
  type ServiceDefinition,
  status,
  type UntypedHandleCall,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import {
  type ApiKeyRecord,
  type AuditSink,
  type Authenticator,
  type Authorizer,
  allOf,
  allowAuthenticated,
  anyOf,
  apiKey as apiKeyAuthenticator,
  apiKeyCredentials,
  bearerToken,
  type CertificateRevocations,
  type ContextKey,
  type CredentialSource,
  createSecureClient,
  createSecureServer,
  errorDetails,
  fileApiKeyStore,
  issueApiKey,
  jwt,
  type MethodsOptions,
  type Middleware,
  mtls,
  optional,
  type PeerOptions,
  type PolicyComparison,
  rbac,
  type SecureClientConstructor,
  type SecureClientOptions,
  type SecureServer,
  type SecureServerOptions,
  type SharedApiKeyStore,
  StatusError,
  type StatusErrorDetail,
  securityContext,
  type ValidationOptions,
  type Validator,
} from "../../src/index.ts";
import type { PostgresApiKeyStore, PostgresRevocationList } from "../../src/postgres/index.ts";
import {
  createCertificateAuthority,
  type SecuredServerOptions,
  startSecuredServer,
  type TokenIssuer,
} from "../../src/testing/index.ts";
import { lacks } from "../clients/tools.ts";
import { runNode } from "../harness/child-process.ts";
import { freePort } from "../harness/free-port.ts";
import { inTime } from "../harness/time.ts";
import { lacksPostgres, startPostgres } from "../postgres/postgres-server.ts";
import { startRedis } from "../redis/redis-server.ts";
import { call, handlers, type Orders, OrdersClient, OrdersService } from "./orders.ts";
import { collector } from "./otlp.ts";
import { blocksOf, pages } from "./pages.ts";
import { ordersService, ordersSet } from "./validated-orders.ts";

export interface Surroundings {
  /** The reader's folder: `certs/`, `server.crt`, `api-keys.json`, `audit.jsonl`, a token in `orders`. */
  readonly directory: string;
  /** Where the page's server listens, and its clients call. */
  readonly port: number;
  /** The file that `run` runs. */
  readonly block: string;
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

const cancelOrderProto = `syntax = "proto3";
package orders.v1;
service Orders { rpc CancelOrder(CancelOrderRequest) returns (Order); }
message CancelOrderRequest { string id = 1; string owner = 2; }
message Order { string id = 1; string owner = 2; }
`;

function cancelOrderService(directory: string): ServiceDefinition {
  const file = join(directory, "cancel-order.proto");
  writeFileSync(file, cancelOrderProto);
  return loadSync(file)["orders.v1.Orders"] as unknown as ServiceDefinition;
}

/** What protoc makes of it. */
function cancelOrderDescriptors(): Uint8Array {
  const text = FieldDescriptorProto_Type.STRING;
  const field = ["id", "owner"].map((name, index) => ({ name, number: index + 1, type: text, label: 1 }));
  const file = {
    name: "cancel-order.proto",
    package: "orders.v1",
    syntax: "proto3",
    messageType: [
      { name: "CancelOrderRequest", field },
      { name: "Order", field },
    ],
    service: [
      {
        name: "Orders",
        method: [
          {
            name: "CancelOrder",
            inputType: ".orders.v1.CancelOrderRequest",
            outputType: ".orders.v1.Order",
          },
        ],
      },
    ],
  };
  return toBinary(FileDescriptorSetSchema, create(FileDescriptorSetSchema, { file: [file] }));
}

/** A server whose requests have types. */
async function cancelling(
  directory: string,
  authorization: Authorizer,
  calls: (
    server: Awaited<ReturnType<typeof startSecuredServer>>,
    client: SecureClientConstructor<Orders>,
  ) => Promise<void>,
): Promise<void> {
  const service = cancelOrderService(directory);
  const cancelOrder: handleUnaryCall<unknown, unknown> = ({ request }, callback) => callback(null, request);
  const server = await startSecuredServer({ services: [[service, { cancelOrder }]], authorization });
  try {
    await calls(server, makeClientConstructor(service, "Orders") as unknown as typeof OrdersClient);
  } finally {
    await server.close();
  }
}

function clientOf({ directory, port }: Pick<Surroundings, "directory" | "port">): Orders {
  return createSecureClient(OrdersClient, `localhost:${port}`, {
    tls: {
      ca: join(directory, "certs/ca.crt"),
      cert: join(directory, "certs/client.crt"),
      key: join(directory, "certs/client.key"),
    },
  });
}

/** The authorization server of a page: its tokens are the issuer's, and name the grant. */
async function tokensFrom(
  { block, issuer }: Surroundings,
  use: (posted: readonly URLSearchParams[]) => Promise<void>,
): Promise<void> {
  const posted: URLSearchParams[] = [];
  process.env["CLIENT_SECRET"] = "secret";
  let here = "";
  const server = createHttpServer(async (request, response) => {
    response.setHeader("content-type", "application/json");
    if (request.method === "GET") {
      response.end(JSON.stringify({ issuer: here, token_endpoint: `${here}/token` }));
      return;
    }
    const form = new URLSearchParams(await bodyOf(request));
    posted.push(form);
    const token = await issuer.sign({ sub: form.get("grant_type") });
    const answer = { access_token: token, token_type: "Bearer", expires_in: 3_600 };
    response.end(JSON.stringify({ ...answer, refresh_token: `rt-${posted.length}` }));
  });
  await new Promise<void>((settle) => server.listen(0, "127.0.0.1", settle));
  const address = server.address();
  here = `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`;
  writeFileSync(block, readFileSync(block, "utf8").replaceAll(issuer.issuer, here));
  await use(posted);
  server.closeAllConnections();
  server.close();
}

/** The source that a block exports makes calls as this subject. */
async function sends({ run, issuer }: Surroundings, owner: string): Promise<void> {
  const { credentials: source } = (await run()) as { credentials: CredentialSource };
  const authentication = jwt({ issuer: issuer.issuer, audience: "orders", jwksUri: issuer.jwksUri });
  await serving({ authentication }, async (server) => {
    const client = server.client(OrdersClient, { credentials: source });
    deepEqual(await call(client, "getOrder"), { id: "7", owner, roles: [] });
  });
}

async function bearer(
  issuer: TokenIssuer,
  claims: Readonly<Record<string, unknown>>,
): Promise<{ authorization: string }> {
  return { authorization: `Bearer ${await issuer.sign(claims)}` };
}

/** A server of the certificates in the reader's folder, where the page's clients call. */
async function listening(
  { directory, port }: Surroundings,
  authentication: Authenticator,
  calls: () => Promise<void>,
): Promise<void> {
  const file = (name: string): string => join(directory, "certs", name);
  const server = createSecureServer({
    tls: {
      cert: file("server.crt"),
      key: file("server.key"),
      clientCa: file("ca.crt"),
      clientAuth: "request",
    },
    authentication,
    authorization: allowAuthenticated(),
    logger: false,
  });
  server.addService(OrdersService, handlers);
  await server.listen(`127.0.0.1:${port}`);
  await calls();
  await server.shutdown();
}

/** Of a page about an identity provider: tokens with these claims are good, and what the caller is then. */
function tokens(
  good: Readonly<Record<string, unknown>>,
  principal: { readonly owner: string; readonly roles: readonly string[] },
  bad: Readonly<Record<string, unknown>>,
  alg: "ES256" | "RS256" = "RS256",
): Proof {
  return async ({ run, issuer }) => {
    const { authentication } = (await run()) as { authentication: Authenticator };
    await serving({ authentication }, async (server) => {
      const client = server.client(OrdersClient);
      const answer = async (claims: Readonly<Record<string, unknown>>) => {
        const authorization = `Bearer ${await issuer.sign(claims, { alg })}`;
        return call(client, "getOrder", { headers: { authorization } });
      };
      deepEqual(await answer(good), { id: "7", ...principal });
      equal(await answer({ ...good, ...bad }), "16 UNAUTHENTICATED: invalid credentials");
    });
  };
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

/** The address of a server that a block names is the one that runs now. */
function pointTo({ block }: Surroundings, page: string, here: string): void {
  writeFileSync(block, readFileSync(block, "utf8").replaceAll(page, here));
}

/** The first block in a language that a page shows under a heading. */
function shownIn(page: string, language: string, heading: string): string {
  const shown = pages.filter(({ path }) => path === page).flatMap(blocksOf);
  const { code } = shown.find((block) => block.language === language && block.heading === heading) ?? {};
  if (code === undefined) throw new Error(`${page} shows no ${language} under "${heading}"`);
  return code;
}

async function goodUntilSignedOut(
  { issuer }: Surroundings,
  authentication: Authenticator,
  signOut: (subject: string) => Promise<void>,
): Promise<void> {
  await serving({ authentication, authorization: allowAuthenticated() }, async (server) => {
    const client = server.client(OrdersClient);
    const headers = await bearer(issuer, { sub: "ada" });
    deepEqual(await call(client, "getOrder", { headers }), { id: "7", owner: "ada", roles: [] });
    await signOut("ada");
    equal(await call(client, "getOrder", { headers }), "16 UNAUTHENTICATED: invalid credentials");
    const others = await bearer(issuer, { sub: "grace" });
    deepEqual(await call(client, "getOrder", { headers: others }), { id: "7", owner: "grace", roles: [] });
  });
}

async function goodUntilRevoked(keys: SharedApiKeyStore, authentication: Authenticator): Promise<void> {
  const { key, record } = issueApiKey({ owner: "shop", roles: ["viewer"] });
  await keys.add(record);
  await serving({ authentication }, async (server) => {
    const client = server.client(OrdersClient);
    const answer = () => call(client, "getOrder", { headers: { "x-api-key": key } });
    deepEqual(await answer(), { id: "7", owner: "shop", roles: ["viewer"] });
    await keys.revoke(record.id);
    while (typeof (await answer()) !== "string") await new Promise((settle) => setTimeout(settle, 50));
    equal(await answer(), "16 UNAUTHENTICATED: invalid credentials");
  });
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

  "docs/authorization/rbac.md#Rules": async ({ run, issuer }) => {
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

  "docs/authorization/rbac-file.md#A policy in a file": async ({ run, directory }) => {
    writeFileSync(
      join(directory, "policy.json"),
      shownIn("docs/authorization/rbac-file.md", "json", "A policy in a file"),
    );
    const { policy } = (await run()) as { policy: Authorizer };
    await serving({ authorization: policy }, async (server) => {
      const viewer = server.client(OrdersClient, { as: { sub: "ada", roles: ["viewer"] } });
      deepEqual(await call(viewer, "getOrder"), { id: "7", owner: "ada", roles: ["viewer"] });
      equal(await call(viewer, "cancelOrder"), denied);
      const clerk = server.client(OrdersClient, { as: { sub: "eve", roles: ["clerk"] } });
      deepEqual(await call(clerk, "cancelOrder"), { id: "7", owner: "eve", roles: ["clerk"] });
    });
  },

  "docs/authorization/rbac-file.md#Roles from your user store": async (surroundings) => {
    if (lacksPostgres()) return;
    await using server = await startPostgres();
    pointTo(surroundings, "postgres://orders@127.0.0.1:5432/orders", server.url);
    const { pool, policy } = (await surroundings.run()) as {
      pool: { query(text: string): Promise<unknown>; end(): Promise<void> };
      policy: Authorizer;
    };
    await pool.query("CREATE TABLE user_roles (user_id text, role text)");
    await pool.query("INSERT INTO user_roles VALUES ('ada', 'viewer')");
    await serving({ authorization: policy }, async (server) => {
      deepEqual(await call(server.client(OrdersClient, { as: { sub: "ada" } }), "getOrder"), {
        id: "7",
        owner: "ada",
        roles: [],
      });
      equal(await call(server.client(OrdersClient, { as: { sub: "eve" } }), "getOrder"), denied);
    });
    await pool.end();
  },

  "docs/authorization/rbac-file.md#Several policies": async ({ run, directory }) => {
    writeFileSync(
      join(directory, "policy.json"),
      shownIn("docs/authorization/rbac-file.md", "json", "A policy in a file"),
    );
    const { policy } = (await run()) as { policy: Authorizer };
    await serving({ authorization: policy }, async (server) => {
      const clerk = server.client(OrdersClient, { as: { sub: "ada", roles: ["clerk"] } });
      deepEqual(await call(clerk, "cancelOrder", { owner: "ada" }), {
        id: "7",
        owner: "ada",
        roles: ["clerk"],
      });
      equal(await call(clerk, "cancelOrder", { owner: "eve" }), denied);
      const viewer = server.client(OrdersClient, { as: { sub: "ada", roles: ["viewer"] } });
      equal(await call(viewer, "cancelOrder", { owner: "ada" }), denied);
    });
  },

  "docs/authorization/reading-a-policy.md#What changed": async ({ run }) => {
    const { comparison } = (await run()) as { comparison: PolicyComparison };
    const count = Object.keys(OrdersService).length;
    // The viewer, and every verified caller with the permission in its credential.
    deepEqual(comparison.counts, { gained: 2 * count, lost: 0, changed: 0 });
    match(comparison.toMarkdown(), /\| gained \| role viewer \| \/orders\.v1\.Orders\/GetOrder \|/);
  },

  "docs/authorization/grpc-policy.md#A file with denials and headers": async ({ run, directory }) => {
    const policy = shownIn("docs/authorization/grpc-policy.md", "json", "A file with denials and headers");
    await writeFile(join(directory, "authorization-policy.json"), policy);
    const { authorization } = (await run()) as { authorization: Authorizer };
    await serving({ authorization, authentication: optional(mtls()) }, async (server) => {
      const clientWith = async (uri: string): Promise<Orders> =>
        server.client(OrdersClient, { certificate: await server.ca.issue({ uris: [uri], usage: "client" }) });
      const shop = await clientWith("spiffe://prod.example/shop");
      const ops = await clientWith("spiffe://prod.example/ops/ada");
      const stranger = await clientWith("spiffe://prod.example/shopping");
      const nobody = server.client(OrdersClient);
      const inGermany = { headers: { "x-country": "DE" } };
      deepEqual(await call(shop, "getTerms"), { id: "terms" });
      deepEqual(await call(ops, "getTerms"), { id: "terms" });
      equal(await call(shop, "export"), denied);
      equal(await call(stranger, "getTerms"), denied);
      deepEqual(await call(stranger, "getTerms", inGermany), { id: "terms" });
      deepEqual(await call(nobody, "getTerms", inGermany), { id: "terms" });
      equal(await call(nobody, "getOrder", inGermany), denied);
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

  "docs/client.md#Call the next service": async ({ run, issuer, port, directory }) => {
    const file = (name: string): string => join(directory, "certs", name);
    const tls = { cert: file("server.crt"), key: file("server.key"), clientCa: file("ca.crt") };
    const authentication = jwt({
      issuer: issuer.issuer,
      audience: issuer.audience,
      jwksUri: issuer.jwksUri,
    });
    const next = createSecureServer({
      tls,
      authentication,
      authorization: allowAuthenticated(),
      logger: false,
    });
    next.addService(OrdersService, handlers);
    await next.listen(`127.0.0.1:${port}`);
    const { getOrder } = (await run()) as { getOrder: handleUnaryCall<object, object> };
    const server = createSecureServer({
      tls,
      authentication,
      authorization: allowAuthenticated(),
      logger: false,
    });
    server.addService(OrdersService, { ...handlers, getOrder });
    const { port: own } = await server.listen("127.0.0.1:0");
    const client = clientOf({ directory, port: own });
    const answer = await call(client, "getOrder", { headers: await bearer(issuer, { sub: "grace" }) });
    deepEqual(answer, { id: "7", owner: "grace", roles: [] });
    client.close();
    await server.shutdown({ graceMs: 0 });
    await next.shutdown({ graceMs: 0 });
  },

  "docs/client.md#Retries": async ({ run, directory, issuer, port }) => {
    const { options } = (await run()) as { options: SecureClientOptions };
    const file = (name: string): string => join(directory, "certs", name);
    const server = createSecureServer({
      tls: { cert: file("server.crt"), key: file("server.key"), clientCa: file("ca.crt") },
      authentication: jwt({ issuer: issuer.issuer, audience: issuer.audience, jwksUri: issuer.jwksUri }),
      authorization: allowAuthenticated(),
      logger: false,
    });
    let attempts = 0;
    const getOrder: handleUnaryCall<object, object> = (_call, answer) => {
      attempts += 1;
      if (attempts < 4) answer(new StatusError(status.UNAVAILABLE, "not yet"));
      else answer(null, { id: "7" });
    };
    server.addService(OrdersService, { ...handlers, getOrder });
    await server.listen(`127.0.0.1:${port}`);
    const client = createSecureClient(OrdersClient, `localhost:${port}`, options);
    deepEqual(await call(client, "getOrder", { headers: await bearer(issuer, { sub: "grace" }) }), {
      id: "7",
    });
    equal(attempts, 4);
    client.close();
    await server.shutdown({ graceMs: 0 });
  },

  "docs/client-credentials.md#A service as itself": async (surroundings) => {
    await tokensFrom(surroundings, async (posted) => {
      const { orders } = (await surroundings.run()) as { orders: Orders };
      await listening(
        surroundings,
        jwt({ issuer: surroundings.issuer.issuer, audience: "orders", jwksUri: surroundings.issuer.jwksUri }),
        async () =>
          deepEqual(await call(orders, "getOrder"), { id: "7", owner: "client_credentials", roles: [] }),
      );
      orders.close();
      equal(posted[0]?.get("audience"), "orders");
    });
  },

  "docs/client-credentials.md#For somebody who logged in": async (surroundings) => {
    writeFileSync("refresh-token", "rt-0\n");
    await tokensFrom(surroundings, async (posted) => {
      await sends(surroundings, "refresh_token");
      equal(posted[0]?.get("refresh_token"), "rt-0");
      equal(readFileSync("refresh-token", "utf8"), "rt-1");
    });
  },

  "docs/client-credentials.md#For the caller of a handler": async (surroundings) => {
    await tokensFrom(surroundings, async (posted) => {
      const { credentials: onwards } = (await surroundings.run()) as { credentials: CredentialSource };
      await serving({}, async (next) => {
        const client = createSecureClient(OrdersClient, next.address, {
          tls: { ca: Buffer.from(next.ca.caPem) },
          credentials: [onwards, { name: "none", getCredentials: () => ({}) }],
        });
        let told: unknown;
        const relay: UntypedHandleCall = ((
          _call: unknown,
          callback: (error: null, value: object) => void,
        ) => {
          call(client, "getOrder").then((answer) => {
            told = answer;
            callback(null, { order: { id: "7" } });
          });
        }) as never;
        await serving(
          {},
          async (server) => {
            await call(server.client(OrdersClient, ada), "getOrder");
            // The next service does not know this issuer: it is asked, with the caller's token, and that is all of it.
            match(String(told), /invalid credentials/);
            equal(posted[0]?.get("subject_token_type"), "urn:ietf:params:oauth:token-type:access_token");
            match(posted[0]?.get("subject_token") ?? "", /^eyJ/);
          },
          { getOrder: relay },
        );
        client.close();
      });
    });
  },

  "docs/client-credentials.md#With an assertion": async (surroundings) => {
    await tokensFrom(surroundings, async (posted) => {
      await sends(surroundings, "urn:ietf:params:oauth:grant-type:jwt-bearer");
      match(posted[0]?.get("assertion") ?? "", /^eyJ/);
    });
  },

  "docs/client-credentials.md#On Google Cloud": async ({ run, issuer }) => {
    const server = createHttpServer((request, response) => {
      response.setHeader("metadata-flavor", "Google");
      if (request.url?.includes("/identity"))
        issuer.sign({ sub: "robot" }).then((token) => response.end(token));
      else if (request.url?.includes("/token")) {
        response.setHeader("content-type", "application/json");
        response.end(JSON.stringify({ access_token: "at-1", expires_in: 3_600 }));
      } else response.end("x");
    });
    await new Promise<void>((settle) => server.listen(0, "127.0.0.1", settle));
    const address = server.address();
    const metadataPort = typeof address === "object" && address !== null ? address.port : 0;
    Object.assign(process.env, {
      GCE_METADATA_HOST: `127.0.0.1:${metadataPort}`,
      METADATA_SERVER_DETECTION: "assume-present",
      HOME: "/nonexistent",
      GOOGLE_APPLICATION_CREDENTIALS: "",
    });
    const { toMyService, toGoogle } = (await run()) as Record<"toMyService" | "toGoogle", CredentialSource>;
    const asked = { method: "/a/B", serviceUrl: "https://a/a" };
    match((await toMyService.getCredentials(asked))["authorization"] ?? "", /^Bearer eyJ/);
    deepEqual(await toGoogle.getCredentials(asked), { authorization: "Bearer at-1" });
    server.closeAllConnections();
    server.close();
  },

  "docs/client-credentials.md#A projected token": async ({ run, issuer }) => {
    const { credentials: source } = (await run()) as { credentials: CredentialSource };
    await serving(
      { authentication: jwt({ issuer: issuer.issuer, audience: "orders", jwksUri: issuer.jwksUri }) },
      async (server) => {
        const client = server.client(OrdersClient, { credentials: source });
        deepEqual(await call(client, "getOrder"), { id: "7", owner: "token-file", roles: [] });
      },
    );
  },

  "docs/introspection.md#Opaque tokens": async ({ block, run, issuer }) => {
    process.env["CLIENT_SECRET"] = "secret";
    const asked: (string | null)[] = [];
    let here = "";
    const server = createHttpServer(async (request, response) => {
      response.setHeader("content-type", "application/json");
      if (request.method === "GET") {
        response.end(JSON.stringify({ issuer: here, introspection_endpoint: `${here}/introspect` }));
        return;
      }
      asked.push(new URLSearchParams(await bodyOf(request)).get("token"));
      response.end(JSON.stringify({ active: true, iss: here, aud: "orders", sub: "ada", scope: "read" }));
    });
    await new Promise<void>((settle) => server.listen(0, "127.0.0.1", settle));
    const address = server.address();
    here = `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`;
    writeFileSync(block, readFileSync(block, "utf8").replaceAll(issuer.issuer, here));
    const { authentication } = (await run()) as { authentication: Authenticator };
    await serving({ authentication }, async (secured) => {
      const client = secured.client(OrdersClient, { credentials: bearerToken("opaque") });
      deepEqual(await call(client, "getOrder"), { id: "7", owner: "ada", roles: [] });
      deepEqual(await call(client, "getOrder"), { id: "7", owner: "ada", roles: [] });
      const other = secured.client(OrdersClient, {
        credentials: bearerToken(await issuer.sign({ sub: "ada" })),
      });
      equal(await call(other, "getOrder"), "16 UNAUTHENTICATED: invalid credentials");
    });
    deepEqual(asked, ["opaque"]);
    server.closeAllConnections();
    server.close();
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

  "docs/authentication.md#Authentication": async ({ run, issuer, apiKey }) => {
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

  "docs/authentication.md#In a handler": async ({ run }) => {
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

  "docs/limits-across-instances.md#Limits across instances": async ({ run }) => {
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

  "docs/extending.md#A validator": async ({ run }) => {
    const { shortIds } = (await run()) as { shortIds: Validator };
    await serving({ validation: shortIds }, async (server) => {
      const client = server.client(OrdersClient, ada);
      equal(await call(client, "getOrder", { id: "x".repeat(65) }), "3 INVALID_ARGUMENT: invalid request");
      deepEqual(await call(client, "getOrder"), { id: "7", owner: "ada", roles: [] });
    });
  },

  "docs/validation.md#Rules in the .proto files": async ({ run, directory }) => {
    await mkdir(join(directory, "build"), { recursive: true });
    await writeFile(join(directory, "build/orders.binpb"), ordersSet());
    const { options } = (await run()) as { options: Pick<SecureServerOptions, "validation"> };
    const service = ordersService();
    const cancelOrder: handleUnaryCall<unknown, unknown> = ({ request }, done) => done(null, request);
    const server = await startSecuredServer({
      services: [[service, { CancelOrder: cancelOrder }]],
      ...options,
    });
    const Client = makeClientConstructor(service, "Orders") as unknown as SecureClientConstructor<
      Client & { cancelOrder(request: object, done: (error: unknown, answer: unknown) => void): void }
    >;
    const client = server.client(Client, ada);
    const violations = async (request: object): Promise<unknown> =>
      new Promise((settle) => {
        client.cancelOrder(request, (error, answer) =>
          settle(error === null ? answer : errorDetails(error)[0]),
        );
      });
    const refused = (field: string, description: string) => ({
      type: "google.rpc.BadRequest",
      fieldViolations: [{ field, description }],
    });
    try {
      deepEqual(await violations({ id: "7", reason: "late", tags: ["a", "b"] }), { id: "7" });
      // As the table of the page has them.
      deepEqual(await violations({}), refused("id", "must be at least 1 characters"));
      deepEqual(
        await violations({ id: "7", tags: ["A"] }),
        refused("tags[0]", "does not match regex pattern `^[a-z]{1,20}$`"),
      );
      deepEqual(
        await violations({ id: "7", tags: ["a", "b"] }),
        refused("", "a reason is needed for more than one tag"),
      );
    } finally {
      await server.close();
    }
  },

  "docs/handlers.md#Structured details": async ({ run }) => {
    const { exportOrders } = (await run()) as { exportOrders: UntypedHandleCall };
    await serving(
      {},
      async (server) => {
        const client = server.client(OrdersClient, ada);
        const error = await new Promise((settle) => client.export({ id: "7" }, new Metadata(), settle));
        match(String(error), /8 RESOURCE_EXHAUSTED: no exports left today/);
        deepEqual(
          errorDetails(error).map((detail) => ("type" in detail ? detail.type : detail.typeUrl)),
          ["google.rpc.QuotaFailure", "google.rpc.RetryInfo", "google.rpc.ErrorInfo"],
        );
      },
      { export: exportOrders },
    );
  },

  "docs/client.md#Structured errors": async ({ run }) => {
    const { advice } = (await run()) as { advice: (error: unknown) => string };
    const told = (detail: StatusErrorDetail): string =>
      advice(new StatusError(status.INVALID_ARGUMENT, "no", { errorDetails: [detail] }));
    equal(
      told({
        type: "google.rpc.BadRequest",
        fieldViolations: [{ field: "id", description: "is empty" }],
      }),
      "id: is empty",
    );
    equal(told({ type: "google.rpc.RetryInfo", retryDelayMs: 250 }), "again in 250 ms");
    equal(told({ typeUrl: "type.example/other", value: new Uint8Array() }), "");
    equal(advice(undefined), "");
  },

  "docs/mesh.md#A proxy in front": async ({ run }) => {
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

  "docs/validation.md#Schemas of zod": async ({ run }) => {
    const { validation } = (await run()) as { validation: ValidationOptions };
    await serving({ validation }, async (server) => {
      const client = server.client(OrdersClient, ada);
      equal(await call(client, "getOrder", { id: "" }), "3 INVALID_ARGUMENT: invalid request");
      deepEqual(await call(client, "getOrder"), { id: "7", owner: "ada", roles: [] });
    });
  },

  "docs/from-grpc-js.md#From bare grpc-js": async (surroundings) => {
    await surroundings.run();
    const client = clientOf(surroundings);
    const headers = await bearer(surroundings.issuer, { sub: "ada" });
    deepEqual(await call(client, "getOrder", { headers }), { id: "7", owner: "ada", roles: [] });
    client.close();
    process.kill(process.pid, "SIGTERM");
  },

  "docs/from-grpc-js.md#What changes for handlers": async ({ run }) => {
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

  "docs/nestjs.md#With NestJS": async (surroundings) => {
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

  "docs/integrations.md#A server that other code makes": async (surroundings) => {
    await surroundings.run();
    const client = clientOf(surroundings);
    await ready(client);
    const headers = { "x-api-key": surroundings.apiKey };
    deepEqual(await call(client, "getOrder", { headers }), { id: "7", owner: "shop", roles: ["viewer"] });
    equal(await call(client, "getOrder"), missing);
    client.close();
    process.kill(process.pid, "SIGTERM");
  },

  "docs/integrations.md#Single middleware": async ({ run, issuer }) => {
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

  "docs/mesh.md#A sidecar": async ({ run }) => {
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

  "README.md#Before: bare grpc-js": async ({ run, port }) => {
    const { server } = (await run()) as { server: Server };
    const client = new OrdersClient(`127.0.0.1:${port}`, credentials.createInsecure());
    await ready(client);
    deepEqual(await call(client, "getTerms"), { id: "terms" }, "nobody is asked who they are");
    client.close();
    server.forceShutdown();
  },

  "README.md#After: the same handlers, secured": async (surroundings) => {
    const { server } = (await surroundings.run()) as { server: SecureServer };
    const client = clientOf(surroundings);
    const answer = async (roles: readonly string[]) =>
      call(client, "getOrder", { headers: await bearer(surroundings.issuer, { sub: "ada", roles }) });
    deepEqual(await answer(["viewer"]), { id: "7", owner: "ada", roles: ["viewer"] });
    equal(await answer(["other"]), denied);
    equal(await call(client, "getTerms"), missing);
    client.close();
    await server.shutdown();
  },

  "docs/authentication.md#An application that speaks for users": async ({ run }) => {
    const { server: shown } = (await run()) as { server: SecureServer };
    shown.addService(OrdersService, handlers);
    await shown.listen("127.0.0.1:0");
    await shown.shutdown();
    const gateway = "spiffe://prod.example/gateway";
    await serving(
      {
        authentication: mtls({ roles: { [gateway]: ["gateway"] } }),
        trustedActors: [gateway],
        authorization: rbac({
          roles: { gateway: {} },
          rules: { "/orders.v1.Orders/*": { actor: { roles: ["gateway"] } } },
        }),
      },
      async (server) => {
        const certificate = await server.ca.issue({ uris: [gateway], usage: "client" });
        const client = server.client(OrdersClient, { certificate });
        const headers = { "x-user-id": "ada" };
        deepEqual(await call(client, "getOrder", { headers }), { id: "7", owner: "ada", roles: [] });
        equal(await call(client, "getOrder"), "7 PERMISSION_DENIED: permission denied");
      },
    );
  },

  "docs/revocation.md#Sign out before tokens expire": async (surroundings) => {
    const { server, signOut, signOutEverywhere } = (await surroundings.run()) as {
      readonly server: SecureServer;
      readonly signOut: (call: object) => void;
      readonly signOutEverywhere: (call: object) => void;
    };
    const answering =
      (act: (call: object) => void): UntypedHandleCall =>
      (
        unary: Parameters<handleUnaryCall<object, object>>[0],
        callback: (error: null, answer: object) => void,
      ) => {
        act(unary);
        callback(null, {});
      };
    server.addService(OrdersService, {
      ...handlers,
      cancelOrder: answering(signOut),
      export: answering(signOutEverywhere),
    });
    await server.listen(`127.0.0.1:${surroundings.port}`);
    const client = clientOf(surroundings);
    const { issuer } = surroundings;
    const [one, two, three, other] = await Promise.all(
      ["ada", "ada", "ada", "grace"].map((sub, index) => bearer(issuer, { sub, jti: `token-${index}` })),
    );
    const answer = async (
      method: "getOrder" | "cancelOrder" | "export",
      headers: { authorization: string } | undefined,
    ): Promise<string> => {
      const said = await call(client, method, { ...(headers === undefined ? {} : { headers }) });
      return typeof said === "string" ? said : "answered";
    };
    const refused = "16 UNAUTHENTICATED: invalid credentials";
    equal(await answer("cancelOrder", one), "answered");
    equal(await answer("getOrder", one), refused);
    equal(await answer("getOrder", two), "answered");
    equal(await answer("export", two), "answered");
    equal(await answer("getOrder", two), refused);
    equal(await answer("getOrder", three), refused);
    equal(await answer("getOrder", other), "answered");
    client.close();
    await server.shutdown();
  },

  "docs/revocation.md#In Redis": async (surroundings) => {
    if (lacks("redis-server")) return;
    await using server = await startRedis();
    pointTo(surroundings, "redis://127.0.0.1:6379", `redis://127.0.0.1:${server.port}`);
    const { client, authentication, signOutEverywhere } = (await surroundings.run()) as {
      readonly client: { disconnect(): void };
      readonly authentication: Authenticator;
      readonly signOutEverywhere: (subject: string) => Promise<void>;
    };
    await goodUntilSignedOut(surroundings, authentication, signOutEverywhere);
    client.disconnect();
  },

  "docs/revocation.md#In PostgreSQL": async (surroundings) => {
    if (lacksPostgres()) return;
    await using server = await startPostgres();
    pointTo(surroundings, "postgres://orders@127.0.0.1:5432/orders", server.url);
    const { pool, authentication, revocations } = (await surroundings.run()) as {
      readonly pool: { end(): Promise<void> };
      readonly authentication: Authenticator;
      readonly revocations: PostgresRevocationList;
    };
    await revocations.createTable();
    await goodUntilSignedOut(surroundings, authentication, (subject) => revocations.revokeSubject(subject));
    await pool.end();
  },

  "docs/revocation.md#A list of your own": async ({ run, issuer }) => {
    const { tokens, lock } = (await run()) as {
      readonly tokens: Authenticator;
      readonly lock: (account: string) => void;
    };
    await serving({ authentication: tokens, authorization: allowAuthenticated() }, async (server) => {
      const client = server.client(OrdersClient);
      const headers = await bearer(issuer, { sub: "ada" });
      deepEqual(await call(client, "getOrder", { headers }), { id: "7", owner: "ada", roles: [] });
      lock("ada");
      equal(await call(client, "getOrder", { headers }), "16 UNAUTHENTICATED: invalid credentials");
    });
  },

  "docs/api-keys.md#Keys for machines": async ({ run, directory, apiKey }) => {
    const { server } = (await run()) as { server: SecureServer };
    server.addService(OrdersService, handlers);
    const { port } = await server.listen("127.0.0.1:0");
    const client = createSecureClient(OrdersClient, `localhost:${port}`, {
      tls: { ca: join(directory, "certs/ca.crt") },
      credentials: apiKeyCredentials(apiKey),
    });
    deepEqual(await call(client, "getOrder"), { id: "7", owner: "shop", roles: ["viewer"] });
    client.close();
    await server.shutdown();
  },

  "docs/api-keys.md#The caller": async (surroundings) => {
    const { connect } = (await surroundings.run()) as { connect(key: string): Orders };
    const store = fileApiKeyStore({ path: join(surroundings.directory, "api-keys.json"), logger: false });
    await listening(surroundings, apiKeyAuthenticator({ store }), async () => {
      const client = connect(surroundings.apiKey);
      deepEqual(await call(client, "getOrder"), { id: "7", owner: "shop", roles: ["viewer"] });
      client.close();
    });
  },

  "docs/api-keys.md#In Redis": async (surroundings) => {
    if (lacks("redis-server")) return;
    await using server = await startRedis();
    pointTo(surroundings, "redis://127.0.0.1:6379", `redis://127.0.0.1:${server.port}`);
    const { client, keys, authentication } = (await surroundings.run()) as {
      client: { disconnect(): void };
      keys: SharedApiKeyStore;
      authentication: Authenticator;
    };
    await goodUntilRevoked(keys, authentication);
    client.disconnect();
  },

  "docs/api-keys.md#In PostgreSQL": async (surroundings) => {
    if (lacksPostgres()) return;
    await using server = await startPostgres();
    pointTo(surroundings, "postgres://orders@127.0.0.1:5432/orders", server.url);
    const { pool, keys, authentication } = (await surroundings.run()) as {
      pool: { end(): Promise<void> };
      keys: PostgresApiKeyStore;
      authentication: Authenticator;
    };
    await keys.createTable();
    await goodUntilRevoked(keys, authentication);
    await pool.end();
  },

  "docs/client.md#A credential source of your own": async ({ run }) => {
    const { ticket } = (await run()) as { ticket: CredentialSource };
    const sent: unknown[] = [];
    const middleware: Middleware[] = [
      { name: "tickets", onCall: ({ metadata }) => void sent.push(metadata.get("x-ticket")) },
    ];
    const authentication: Authenticator = {
      name: "everybody",
      source: "metadata",
      headers: ["x-ticket"],
      presents: () => true,
      authenticate: () => ({
        principal: {
          subject: "ada",
          kind: "user",
          scheme: "ticket",
          roles: new Set(),
          permissions: new Set(),
          claims: {},
        },
      }),
    };
    await serving({ middleware, authentication }, async (server) => {
      const client = server.client(OrdersClient, { credentials: ticket });
      deepEqual(await call(client, "getOrder"), { id: "7", owner: "ada", roles: [] });
    });
    deepEqual(sent, [["t-7"]]);
  },

  "docs/extending.md#Middleware": async ({ run }) => {
    const { region, servedRegions } = (await run()) as {
      region: ContextKey<string>;
      servedRegions: Middleware;
    };
    const getOrder: UntypedHandleCall = async (one: Parameters<typeof securityContext>[0]) => ({
      id: securityContext(one).get(region),
    });
    await serving(
      { middleware: [servedRegions] },
      async (server) => {
        const client = server.client(OrdersClient, ada);
        deepEqual(await call(client, "getOrder", { headers: { "x-region": "eu" } }), { id: "eu" });
        equal(
          await call(client, "getOrder", { headers: { "x-region": "us" } }),
          "9 FAILED_PRECONDITION: this region is not served here",
        );
      },
      { getOrder },
    );
  },

  "docs/extending.md#An authenticator": async ({ run }) => {
    const { session } = (await run()) as { session: Authenticator };
    await serving({ authentication: session }, async (server) => {
      const client = server.client(OrdersClient);
      const answer = (id: string) => call(client, "getOrder", { headers: { "x-session": id } });
      deepEqual(await answer("s-1f6b"), { id: "7", owner: "ada", roles: ["viewer"] });
      equal(await answer("s-other"), "16 UNAUTHENTICATED: invalid credentials");
      equal(await call(client, "getOrder"), missing);
    });
  },

  "docs/extending.md#Roles from your own database": async ({ run, issuer }) => {
    const { withRoles } = (await run()) as { withRoles: Authenticator };
    await serving({ authentication: withRoles }, async (server) => {
      const client = server.client(OrdersClient);
      const answer = async (sub: string) =>
        call(client, "getOrder", { headers: await bearer(issuer, { sub, roles: ["admin"] }) });
      deepEqual(await answer("ada"), { id: "7", owner: "ada", roles: ["viewer"] });
      deepEqual(await answer("eve"), { id: "7", owner: "eve", roles: [] });
    });
  },

  "docs/authorization/own-authorizer.md#Around another policy": async ({ run }) => {
    const { duringOfficeHours } = (await run()) as { duringOfficeHours: Authorizer };
    const isOpen = (): boolean => new Date().getUTCHours() >= 8 && new Date().getUTCHours() < 18;
    await serving({ authorization: duringOfficeHours }, async (server) => {
      const before = isOpen();
      const answer = await call(server.client(OrdersClient, ada), "getOrder");
      // Unless the clock struck in between.
      if (before === isOpen()) equal(answer === denied, !before);
      equal(await call(server.client(OrdersClient), "getOrder"), missing, "the inner policy is kept");
    });
  },

  "docs/extending.md#A store for API keys": async ({ run }) => {
    interface Database {
      keyByDigest(digest: string): Promise<ApiKeyRecord | undefined>;
      end(): Promise<void>;
    }
    const { authentication } = (await run()) as { authentication(database: Database): Authenticator };
    const { key, record } = issueApiKey({ owner: "shop", roles: ["viewer"] });
    let ended = false;
    const database: Database = {
      keyByDigest: async (digest) => (digest === record.digest ? record : undefined),
      end: async () => {
        ended = true;
      },
    };
    await serving({ authentication: authentication(database) }, async (server) => {
      const client = server.client(OrdersClient);
      const answer = (sent: string) => call(client, "getOrder", { headers: { "x-api-key": sent } });
      deepEqual(await answer(key), { id: "7", owner: "shop", roles: ["viewer"] });
      equal(await answer("another"), "16 UNAUTHENTICATED: invalid credentials");
    });
    equal(ended, true, "the store is closed with the server");
  },

  "docs/kubernetes.md#The program": async ({ run, directory, port, issuer }) => {
    const { server, start } = (await run()) as { server: SecureServer; start(): Promise<void> };
    server.addService(OrdersService, handlers);
    await start();
    match(server.health.addresses.plaintext ?? "", /^127\.0\.0\.1:\d+$/);
    const client = clientOf({ directory, port });
    const headers = await bearer(issuer, { sub: "ada", roles: ["viewer"] });
    deepEqual(await call(client, "getOrder", { headers }), { id: "7", owner: "ada", roles: ["viewer"] });
    client.close();
    process.kill(process.pid, "SIGTERM");
  },

  "docs/mtls.md#The server": async ({ run, directory }) => {
    const { server } = (await run()) as { server: SecureServer };
    server.addService(OrdersService, handlers);
    const { port } = await server.listen("127.0.0.1:0");
    const client = clientOf({ directory, port });
    deepEqual(await call(client, "getOrder"), {
      id: "7",
      owner: "spiffe://orders.example/client",
      roles: ["shop"],
    });
    equal(await call(client, "export"), denied);
    client.close();
    await server.shutdown();
  },

  "docs/revoked-certificates.md#The server": async ({ run, directory }) => {
    const ca = await createCertificateAuthority({ name: "Clients CA" });
    const [good, stolen] = await Promise.all(
      [1, 2].map(() => ca.issue({ commonName: "billing", usage: "client" })),
    );
    ok(good !== undefined && stolen !== undefined);
    await mkdir(join(directory, "crl"));
    await writeFile(join(directory, "clients-ca.crt"), ca.caPem);
    await writeFile(join(directory, "crl", "clients.crl"), await ca.revocationList());
    const { server } = (await run()) as { server: SecureServer };
    server.addService(OrdersService, handlers);
    const { port } = await server.listen("127.0.0.1:0");
    const as = ({ cert, key }: typeof good): Orders =>
      createSecureClient(OrdersClient, `localhost:${port}`, {
        tls: { ca: join(directory, "certs/ca.crt"), cert: Buffer.from(cert), key: Buffer.from(key) },
        channelOptions: { "grpc.use_local_subchannel_pool": 1 },
      });
    const clients = [as(good), as(stolen)];
    const answers = () => Promise.all(clients.map((client) => call(client, "getOrder")));
    const answer = { id: "7", owner: "billing", roles: ["caller"] };
    deepEqual(await answers(), [answer, answer]);
    const next = join(directory, "crl", ".next");
    await writeFile(next, await ca.revocationList({ revoked: [stolen.cert] }));
    await rename(next, join(directory, "crl", "clients.crl"));
    for (let told: unknown = answer; typeof told !== "string"; ) {
      const [first, second] = await answers();
      deepEqual(first, answer);
      told = second;
      if (typeof second === "string") match(second, /^1[46] /);
    }
    for (const client of clients) client.close();
    await server.shutdown();
  },

  "docs/revoked-certificates.md#Other sources": async ({ run }) => {
    const { locked } = (await run()) as { locked: CertificateRevocations };
    const chain = (serialNumber: string) => [{ serialNumber }] as unknown as readonly X509Certificate[];
    equal(locked.statusOf(chain("01")).status, "revoked");
    equal(locked.statusOf(chain("02")).status, "unrevoked");
    equal(locked.statusOf([]).status, "revoked");
  },

  "docs/mtls.md#The client": async (surroundings) => {
    const { orders } = (await surroundings.run()) as { orders: Orders };
    await listening(surroundings, mtls(), async () => {
      deepEqual(await call(orders, "getOrder"), {
        id: "7",
        owner: "spiffe://orders.example/client",
        roles: [],
      });
      orders.close();
    });
  },

  "docs/observability.md#Set-up": async ({ block, directory }) => {
    await using received = await collector();
    const app = join(import.meta.dirname, "telemetry-app.ts");
    // The block has a place in the reader's folder, and no server of ours.
    const setUp = pathToFileURL(block).href;
    const { code, stdout, stderr } = await runNode(
      ["--import", setUp, app, setUp, join(directory, "certs")],
      {
        env: {
          ...process.env,
          OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${received.port}`,
          OTEL_EXPORTER_PROMETHEUS_HOST: "127.0.0.1",
          OTEL_EXPORTER_PROMETHEUS_PORT: String(await freePort()),
        },
      },
    );
    equal(code, 0, stdout + stderr);
    match(stdout, /"owner":"spiffe:\/\/orders\.example\/client"/);
    for (const name of ["grpc_server_call_duration_count", "palisade_authentication_total"])
      ok(stdout.includes(name), `Prometheus reads ${name}: ${stdout}`);
    for (const name of ["grpc.server.call.duration", "grpc.client.call.duration"])
      ok(received.metrics().includes(name), `${name} is sent`);
    const traces = received.traces();
    for (const text of ["orders.v1.Orders/GetOrder", "palisade.caller.service"])
      ok(traces.includes(text), `${text} is in a span`);
    equal(traces.split("rpc.response.status_code").length - 1, 2, "one span for each side");
  },

  "docs/authorization/conditions.md#In the handler, if only the database says whose data it is": async ({
    run,
  }) => {
    const { getOrder } = (await run()) as { getOrder: handleUnaryCall<unknown, unknown> };
    await serving(
      {},
      async (server) => {
        deepEqual(await call(server.client(OrdersClient, ada), "getOrder"), { id: "7", owner: "ada" });
        const eve = server.client(OrdersClient, { as: { sub: "eve" } });
        equal(await call(eve, "getOrder"), "5 NOT_FOUND: no such order");
      },
      { getOrder },
    );
  },

  "docs/authorization/cel.md#Use it": async ({ run, directory }) => {
    const { policy } = (await run()) as { policy: Authorizer };
    await cancelling(directory, policy, async (server, client) => {
      const clerk = server.client(client, { as: { sub: "ada", roles: ["clerk"] } });
      deepEqual(await call(clerk, "cancelOrder", { owner: "ada" }), { id: "7", owner: "ada" });
      equal(await call(clerk, "cancelOrder", { owner: "eve" }), denied);
      const owner = server.client(client, ada);
      equal(await call(owner, "cancelOrder", { owner: "ada" }), denied, "the permission is needed as well");
    });
  },

  "docs/authorization/cel.md#In a policy file": async ({ run, directory }) => {
    writeFileSync(
      join(directory, "policy.json"),
      shownIn("docs/authorization/cel.md", "json", "In a policy file"),
    );
    const { policy } = (await run()) as { policy: Authorizer };
    await cancelling(directory, policy, async (server, client) => {
      const clerk = server.client(client, { as: { sub: "ada", roles: ["clerk"] } });
      deepEqual(await call(clerk, "cancelOrder", { owner: "ada" }), { id: "7", owner: "ada" });
      equal(await call(clerk, "cancelOrder", { owner: "eve" }), denied);
    });
  },

  "docs/authorization/cel.md#Where the types come from": async ({ run, directory }) => {
    writeFileSync(join(directory, "orders.binpb"), cancelOrderDescriptors());
    const { policy } = (await run()) as { policy: Authorizer };
    await cancelling(directory, policy, async (server, client) => {
      const asked = server.client(client, ada);
      deepEqual(await call(asked, "cancelOrder", { owner: "ada", headers: { "x-region": "eu" } }), {
        id: "7",
        owner: "ada",
      });
      equal(await call(asked, "cancelOrder", { owner: "ada", headers: { "x-region": "us" } }), denied);
      equal(await call(asked, "cancelOrder", { owner: "ada" }), denied);
    });
  },

  "docs/tokens.md#Keycloak": tokens(
    {
      iss: "https://keycloak.example/realms/shop",
      aud: ["account", "orders"],
      sub: "ada",
      azp: "web",
      realm_access: { roles: ["viewer"] },
    },
    { owner: "ada", roles: ["viewer"] },
    { aud: "account" },
  ),

  "docs/tokens.md#Auth0": async ({ run, issuer }) => {
    const { authentication, policy } = (await run()) as { authentication: Authenticator; policy: Authorizer };
    await serving({ authentication, authorization: policy }, async (server) => {
      const client = server.client(OrdersClient);
      const headers = async (claims: object) => ({
        headers: await bearer(issuer, {
          iss: "https://shop.eu.auth0.com/",
          aud: ["https://orders.example", "https://shop.eu.auth0.com/userinfo"],
          sub: "auth0|ada",
          ...claims,
        }),
      });
      const reader = await headers({ permissions: ["read:orders"] });
      deepEqual(await call(client, "getOrder", reader), { id: "7", owner: "auth0|ada", roles: [] });
      equal(await call(client, "cancelOrder", reader), denied);
      const admin = await headers({ "https://orders.example/roles": ["admin"] });
      deepEqual(await call(client, "cancelOrder", admin), {
        id: "7",
        owner: "auth0|ada",
        roles: ["admin"],
      });
      equal(
        await call(client, "getOrder", await headers({ iss: "https://shop.eu.auth0.com" })),
        "16 UNAUTHENTICATED: invalid credentials",
      );
    });
  },

  "docs/tokens.md#Entra ID": tokens(
    {
      iss: "https://login.microsoftonline.com/3f2504e0-4f89-41d3-9a0c-0305e82c3301/v2.0",
      aud: "6e74172b-be56-4843-9ff4-e66a39bb12e3",
      oid: "ada",
      tid: "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
      roles: ["viewer"],
    },
    { owner: "ada", roles: ["viewer"] },
    { iss: "https://sts.windows.net/3f2504e0-4f89-41d3-9a0c-0305e82c3301/" },
  ),

  "docs/tokens.md#Okta": tokens(
    {
      iss: "https://shop.okta.com/oauth2/default",
      aud: "api://default",
      sub: "ada@shop.example",
      uid: "ada",
      cid: "web",
      groups: ["viewer"],
      scp: ["openid"],
    },
    { owner: "ada", roles: ["viewer"] },
    { iss: "https://shop.okta.com" },
  ),

  "docs/tokens.md#Cognito": tokens(
    {
      iss: "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEf123",
      aud: "4h57kj2example",
      sub: "ada",
      "cognito:groups": ["viewer"],
      token_use: "id",
    },
    { owner: "ada", roles: ["viewer"] },
    { aud: undefined, token_use: "access", client_id: "4h57kj2example" },
  ),

  "docs/tokens.md#Cognito access tokens": tokens(
    {
      iss: "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEf123",
      aud: undefined,
      sub: "ada",
      client_id: "4h57kj2example",
      "cognito:groups": ["viewer"],
      token_use: "access",
    },
    { owner: "ada", roles: ["viewer"] },
    { client_id: "another" },
  ),

  "docs/tokens.md#Google": tokens(
    {
      iss: "https://accounts.google.com",
      aud: "1234567890-example.apps.googleusercontent.com",
      sub: "ada",
      hd: "shop.example",
    },
    { owner: "ada", roles: [] },
    { aud: "another.apps.googleusercontent.com" },
  ),

  "docs/tokens.md#Any other OpenID provider": async ({ run, issuer }) => {
    const { authentication } = (await run()) as { authentication: Authenticator };
    const authorization = rbac({
      roles: {},
      rules: { "/orders.v1.Orders/*": { permissions: ["order:read"] } },
    });
    await serving({ authentication, authorization }, async (server) => {
      const client = server.client(OrdersClient);
      const answer = async (scope: string) =>
        call(client, "getOrder", { headers: await bearer(issuer, { sub: "shop", scope }) });
      deepEqual(await answer("openid order:read"), { id: "7", owner: "shop", roles: [] });
      equal(await answer("openid"), denied);
    });
  },

  "docs/tokens.md#Several issuers": async ({ run, issuer, apiKey }) => {
    const { authentication } = (await run()) as { authentication: Authenticator };
    await serving({ authentication }, async (server) => {
      const client = server.client(OrdersClient);
      const answer = (headers: Readonly<Record<string, string>>) => call(client, "getOrder", { headers });
      deepEqual(await answer(await bearer(issuer, { sub: "ada", roles: ["viewer"] })), {
        id: "7",
        owner: "ada",
        roles: ["viewer"],
      });
      const keycloak = {
        iss: "https://keycloak.example/realms/shop",
        sub: "eve",
        realm_access: { roles: ["clerk"] },
      };
      deepEqual(await answer(await bearer(issuer, keycloak)), { id: "7", owner: "eve", roles: ["clerk"] });
      deepEqual(await answer({ "x-api-key": apiKey }), { id: "7", owner: "shop", roles: ["viewer"] });
    });
  },
};
