// How long calls take, for the caller (U5, gRFC A66).
import { Buffer } from "node:buffer";
import { Metadata, status } from "@grpc/grpc-js";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createSecureClient, type SecureClientOptions } from "../../src/client/secure-client.ts";
import {
  type CertificateAuthority,
  createCertificateAuthority,
} from "../../src/testing/certificate-authority.ts";
import { type KeptMetrics, keepMetrics } from "../harness/kept-metrics.ts";
import { calls, kinds, OrdersClient, type OrdersServer, startOrders, tlsFor } from "./orders.ts";

const name = "grpc.client.call.duration";

let ca: CertificateAuthority;
let server: OrdersServer;
let kept: KeptMetrics;

beforeAll(async () => {
  ca = await createCertificateAuthority();
  server = await startOrders(await tlsFor(ca));
});
afterAll(() => server.close());
beforeEach(() => {
  kept = keepMetrics();
});
afterEach(() => kept.close());

async function using(
  options: SecureClientOptions,
  use: (client: OrdersClient) => Promise<unknown>,
): Promise<string> {
  const target = `127.0.0.1:${server.port}`;
  const client = createSecureClient(OrdersClient, target, { tls: { ca: Buffer.from(ca.caPem) }, ...options });
  try {
    await use(client);
  } finally {
    client.close();
  }
  return target;
}

describe("U5 a client's calls", () => {
  it.each(kinds)("%s: are measured by method, target and status", async (kind) => {
    const target = await using({}, async (client) => {
      expect((await calls[kind](client, new Metadata(), {})).code).toBe(status.OK);
      expect((await calls[kind](client, new Metadata(), { deadline: 0 })).code).toBe(
        status.DEADLINE_EXCEEDED,
      );
    });
    const method = expect.stringMatching(/^orders\.v1\.Orders\//);
    expect(await kept.points(name)).toEqual([
      { attributes: { "grpc.method": method, "grpc.target": target, "grpc.status": "OK" }, value: 1 },
      {
        attributes: { "grpc.method": method, "grpc.target": target, "grpc.status": "DEADLINE_EXCEEDED" },
        value: 1,
      },
    ]);
  });

  it("are not measured with metrics: false", async () => {
    await using({ metrics: false }, (client) => calls.unary(client, new Metadata(), {}));
    expect(await kept.points(name)).toEqual([]);
  });
});
