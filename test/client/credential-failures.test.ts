// Why a credential source failed is said in this process, and not on the call (K2).
import { Buffer } from "node:buffer";
import { Metadata, status } from "@grpc/grpc-js";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { bearerToken } from "../../src/client/bearer-token.ts";
import { compositeCredentials } from "../../src/client/composite-credentials.ts";
import { credentialFailures } from "../../src/client/credential-failures.ts";
import { createSecureClient, type SecureClientOptions } from "../../src/client/secure-client.ts";
import { StatusError } from "../../src/grpc/errors.ts";
import { createCertificateAuthority } from "../../src/testing/certificate-authority.ts";
import type { ClientTlsFiles } from "../../src/tls/client-credentials.ts";
import { keptLog } from "../harness/secured.ts";
import { calls, type Ended, OrdersClient, type OrdersServer, startOrders, tlsFor } from "./orders.ts";

let server: OrdersServer;
let tls: ClientTlsFiles;
let clients: OrdersClient[] = [];

beforeAll(async () => {
  const ca = await createCertificateAuthority();
  server = await startOrders(await tlsFor(ca));
  tls = { ca: Buffer.from(ca.caPem) };
});
afterAll(() => server.close());
afterEach(() => {
  for (const client of clients) client.close();
  clients = [];
  vi.restoreAllMocks();
});

const down = bearerToken(async () => {
  throw Object.assign(new TypeError("idp down, client_secret=hunter2"), { code: "ECONNREFUSED" });
});

function callWith(options: SecureClientOptions): Promise<Ended> {
  const client = createSecureClient(OrdersClient, `127.0.0.1:${server.port}`, { tls, ...options });
  clients.push(client);
  return calls.unary(client, new Metadata(), {});
}

function warnings(): string[] {
  const said: string[] = [];
  vi.spyOn(process, "emitWarning").mockImplementation((warning) => {
    said.push(String(warning));
  });
  return said;
}

describe("the failure of a credential source", () => {
  it("K2 is in the client's log, and not on the call", async () => {
    const { logger, lines } = keptLog();
    const ended = await callWith({ credentials: down, logger });
    expect(ended).toMatchObject({
      code: status.UNAUTHENTICATED,
      details: expect.stringContaining('credential source "bearer-token" failed (TypeError ECONNREFUSED)'),
    });
    expect(`${ended.details} ${ended.error?.stack}`).not.toContain("idp down");
    expect(lines).toMatchObject([
      {
        level: 50,
        source: "bearer-token",
        err: {
          type: "TypeError",
          code: "ECONNREFUSED",
          message: "idp down, client_secret=[redacted]",
          stack: expect.stringContaining("credential-failures.test.ts"),
        },
      },
    ]);
    expect(JSON.stringify(lines)).not.toContain("hunter2");
  });

  it("K2 is said once, however many calls end of it", async () => {
    const { logger, lines } = keptLog();
    const client = createSecureClient(OrdersClient, `127.0.0.1:${server.port}`, {
      tls,
      credentials: down,
      logger,
    });
    clients.push(client);
    await Promise.all(Array.from({ length: 20 }, () => calls.unary(client, new Metadata(), {})));
    expect(lines).toHaveLength(1);
  });

  it("K2 is a process warning where there is no logger", async () => {
    const said = warnings();
    await callWith({ credentials: down });
    expect(said).toEqual([
      expect.stringMatching(
        /credential source failed.*: bearer-token: TypeError: idp down, .*=\[redacted\]$/,
      ),
    ]);
  });

  it("K2 is a process warning where other code makes the client", async () => {
    const said = warnings();
    const client = new OrdersClient(`127.0.0.1:${server.port}`, compositeCredentials(tls, down));
    clients.push(client);
    await calls.unary(client, new Metadata(), {});
    expect(said).toEqual([expect.stringContaining("idp down")]);
  });

  it("K2 is unsaid where no log is wanted", async () => {
    const said = warnings();
    await callWith({ credentials: down, logger: false });
    expect(said).toEqual([]);
  });

  it("K2 is on the call alone where the source said it on purpose", async () => {
    const { logger, lines } = keptLog();
    const away = bearerToken(() => {
      throw new StatusError(status.UNAVAILABLE, "the identity provider is away");
    });
    expect(await callWith({ credentials: away, logger })).toMatchObject({
      code: status.UNAVAILABLE,
      details: expect.stringContaining("the identity provider is away"),
    });
    expect(lines).toEqual([]);
  });

  it("K2 ends nothing where the logger throws", () => {
    const { logger } = keptLog();
    vi.spyOn(logger, "error").mockImplementation(() => {
      throw new Error("disk full");
    });
    expect(() => credentialFailures(logger)("bearer-token", new Error("idp down"))).not.toThrow();
  });
});
