// nice-grpc behind the chain (C6): the real framework on its own server, the chain as its interceptors.
import { Buffer } from "node:buffer";
import { ChannelCredentials, status } from "@grpc/grpc-js";
import { createChannel, createClientFactory, createServer, ServerError } from "nice-grpc";
import { beforeAll, describe, expect, it } from "vitest";
import { currentContext } from "../../src/chain/current-context.ts";
import type { AuditEntry } from "../../src/middleware/audit/audit-entry.ts";
import { jwt } from "../../src/middleware/authentication/jwt/jwt.ts";
import { rbac } from "../../src/middleware/authorization/rbac.ts";
import { secureInterceptors } from "../../src/server/interceptors.ts";
import { serverCredentials } from "../../src/tls/server-credentials.ts";
import { type Order, ShopService } from "../generated/ts-proto.ts";
import { eventually, keptLog, theWorld, type World } from "../harness/secured.ts";

let world: World;
beforeAll(async () => {
  world = await theWorld();
});

const whoAsks = (): string => currentContext()?.principal?.subject ?? "nobody";

async function* twice(id: string): AsyncGenerator<Order> {
  yield { id, owner: whoAsks() };
  yield { id, owner: whoAsks() };
}

async function niceServer() {
  const { logger } = keptLog();
  const audit: AuditEntry[] = [];
  const interceptors = secureInterceptors({
    authentication: jwt({ issuer: world.issuer.issuer, audience: "kinds", jwksUri: world.issuer.jwksUri }),
    authorization: rbac({
      roles: { caller: {}, other: {} },
      rules: { "/shop.v1.Shop/*": { roles: ["caller"] } },
    }),
    services: [ShopService],
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
  });
  const server = createServer({ interceptors });
  server.add(ShopService, {
    async getOrder({ id }) {
      if (id === "missing") throw new ServerError(status.NOT_FOUND, "no such order");
      if (id === "broken") throw new Error("secret");
      return { id, owner: whoAsks() };
    },
    async uploadOrders(orders) {
      const ids: string[] = [];
      for await (const { id } of orders) ids.push(id);
      return { id: ids.join("+"), owner: whoAsks() };
    },
    listOrders: ({ id }) => twice(id),
    async *trackOrders(asked) {
      for await (const { id } of asked) yield { id, owner: whoAsks() };
    },
  });
  const port = await server.listen(
    "localhost:0",
    serverCredentials({
      cert: Buffer.from(world.server.cert),
      key: Buffer.from(world.server.key),
      clientCa: Buffer.from(world.ca.caPem),
    }),
  );
  const channel = createChannel(
    `localhost:${port}`,
    ChannelCredentials.createSsl(
      Buffer.from(world.ca.caPem),
      Buffer.from(world.client.key),
      Buffer.from(world.client.cert),
    ),
  );
  const client = createClientFactory().create(ShopService, channel);
  return {
    audit,
    client,
    async [Symbol.asyncDispose]() {
      channel.close();
      await server.shutdown();
      await interceptors.close();
    },
  };
}

type Client = Awaited<ReturnType<typeof niceServer>>["client"];
type Options = NonNullable<Parameters<Client["getOrder"]>[1]>;

async function* asked() {
  yield { id: "1", owner: "" };
  yield { id: "2", owner: "" };
}

async function all(answers: AsyncIterable<Order>): Promise<Order[]> {
  const orders: Order[] = [];
  for await (const order of answers) orders.push(order);
  return orders;
}

const calls: readonly [string, (client: Client, options: Options) => Promise<unknown>, unknown][] = [
  ["unary", (client, options) => client.getOrder({ id: "7" }, options), { id: "7", owner: "ada" }],
  ["client_stream", (client, options) => client.uploadOrders(asked(), options), { id: "1+2", owner: "ada" }],
  [
    "server_stream",
    (client, options) => all(client.listOrders({ id: "7" }, options)),
    [
      { id: "7", owner: "ada" },
      { id: "7", owner: "ada" },
    ],
  ],
  [
    "bidi_stream",
    (client, options) => all(client.trackOrders(asked(), options)),
    [
      { id: "1", owner: "ada" },
      { id: "2", owner: "ada" },
    ],
  ],
];

async function optionsFor(claims: Readonly<Record<string, unknown>> = {}): Promise<Options> {
  const { Metadata: NiceMetadata } = await import("nice-grpc");
  return { metadata: NiceMetadata({ authorization: `Bearer ${await world.token(claims)}` }) };
}

describe("nice-grpc behind the chain", () => {
  it.each(calls)("C6 %s: the handler runs with the verified caller", async (_kind, call, expected) => {
    await using nice = await niceServer();
    expect(await call(nice.client, await optionsFor())).toEqual(expected);
    expect(await eventually(() => nice.audit[0], "an audit entry")).toMatchObject({
      status: "OK",
      caller: { subject: "ada" },
    });
  });

  it.each(calls)("C6 %s: strangers and other roles are refused", async (_kind, call) => {
    await using nice = await niceServer();
    await expect(call(nice.client, {})).rejects.toMatchObject({
      code: status.UNAUTHENTICATED,
      details: "missing credentials",
    });
    await expect(call(nice.client, await optionsFor({ roles: ["other"] }))).rejects.toMatchObject({
      code: status.PERMISSION_DENIED,
      details: "permission denied",
    });
  });

  it("C5 its ServerError reaches the caller, anything else is an id", async () => {
    await using nice = await niceServer();
    const options = await optionsFor();
    await expect(nice.client.getOrder({ id: "missing" }, options)).rejects.toMatchObject({
      code: status.NOT_FOUND,
      details: "no such order",
    });
    await expect(nice.client.getOrder({ id: "broken" }, options)).rejects.toMatchObject({
      details: expect.stringMatching(/^internal error \(id /),
    });
  });
});
