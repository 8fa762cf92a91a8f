// A call that is cancelled in the turn in which it was made never reaches a handler (K5).
import { Buffer } from "node:buffer";
import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { CredentialSource } from "../../src/client/credential-source.ts";
import { createSecureClient, type SecureClientOptions } from "../../src/client/secure-client.ts";
import type { MethodKind } from "../../src/grpc/method.ts";
import { createCertificateAuthority } from "../../src/testing/certificate-authority.ts";
import { inTime } from "../harness/time.ts";
import { calls, kinds, OrdersClient, type OrdersServer, startOrders, tlsFor } from "./orders.ts";

let server: OrdersServer;
let caPem: string;
const clients: OrdersClient[] = [];

beforeAll(async () => {
  const ca = await createCertificateAuthority();
  server = await startOrders(await tlsFor(ca));
  caPem = ca.caPem;
});
afterAll(() => server.close());
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
  server.arrivals.length = 0;
});

/** A client that is connected: only then does a call leave without waiting. */
async function connected(options: SecureClientOptions): Promise<OrdersClient> {
  const client = createSecureClient(OrdersClient, `127.0.0.1:${server.port}`, {
    tls: { ca: Buffer.from(caPem) },
    ...options,
  });
  clients.push(client);
  await calls.unary(client, new Metadata(), { deadline: inTime() });
  server.arrivals.length = 0;
  return client;
}

/** Gives no token before it is released. */
class Pending implements CredentialSource {
  readonly name = "pending";
  #release: () => void = () => {};
  #released: Promise<void> = Promise.resolve();

  async getCredentials(): Promise<Readonly<Record<string, string>>> {
    await this.#released;
    return { authorization: "Bearer token" };
  }

  hold(): void {
    this.#released = new Promise((resolve) => {
      this.#release = resolve;
    });
  }

  release(): void {
    this.#release();
  }
}

function codeOf(error: ServiceError | null): status {
  return error === null ? status.OK : error.code;
}

/** Makes a call of each kind, cancels it at once and says how it ended. */
const cancelled: Readonly<Record<MethodKind, (client: OrdersClient) => Promise<status>>> = {
  unary: (client) =>
    new Promise((resolve) => {
      const options = { deadline: inTime() };
      client.getOrder({ id: "7" }, new Metadata(), options, (error) => resolve(codeOf(error))).cancel();
    }),
  client_stream: (client) =>
    new Promise((resolve) => {
      const options = { deadline: inTime() };
      const call = client.uploadOrders(new Metadata(), options, (error) => resolve(codeOf(error)));
      call.write({ order: { id: "7" } });
      call.cancel();
    }),
  server_stream: (client) =>
    new Promise((resolve) => {
      const call = client.listOrders({}, new Metadata(), { deadline: inTime() });
      call.on("error", (error: ServiceError) => resolve(codeOf(error)));
      call.cancel();
    }),
  bidi_stream: (client) =>
    new Promise((resolve) => {
      const call = client.watchOrders(new Metadata(), { deadline: inTime() });
      call.on("error", (error: ServiceError) => resolve(codeOf(error)));
      call.write({ id: "7" });
      call.cancel();
    }),
};

describe("K5 a call that is cancelled in the turn in which it was made", () => {
  it.each(kinds)("%s: is not sent when the token arrives that it would have waited for", async (kind) => {
    const source = new Pending();
    const client = await connected({ credentials: source });
    source.hold();
    expect(await cancelled[kind](client)).toBe(status.CANCELLED);
    source.release();
    // What was sent before these would arrive before them.
    for (const _ of [1, 2]) expect((await calls.unary(client, new Metadata(), {})).code).toBe(status.OK);
    expect(server.arrivals).toHaveLength(2);
  });

  it.each(kinds)("%s: is not sent by a client without credentials, with retries neither", async (kind) => {
    for (const retry of [false, {}] as const) {
      const client = await connected({ retry });
      expect(await cancelled[kind](client)).toBe(status.CANCELLED);
      for (const _ of [1, 2]) expect((await calls.unary(client, new Metadata(), {})).code).toBe(status.OK);
      expect(server.arrivals).toHaveLength(2);
    }
  });

  it.each(kinds)("%s: is not sent with credentials that can be renewed", async (kind) => {
    const source = Object.assign(new Pending(), { renew: () => {} });
    const client = await connected({ credentials: source });
    source.hold();
    expect(await cancelled[kind](client)).toBe(status.CANCELLED);
    source.release();
    for (const _ of [1, 2]) expect((await calls.unary(client, new Metadata(), {})).code).toBe(status.OK);
    expect(server.arrivals).toHaveLength(2);
  });
});
