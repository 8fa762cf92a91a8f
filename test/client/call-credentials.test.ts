import { Buffer } from "node:buffer";
import { inspect } from "node:util";
import { type ChannelCredentials, Metadata, status } from "@grpc/grpc-js";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { bearerToken } from "../../src/client/bearer-token.ts";
import { compositeCredentials } from "../../src/client/composite-credentials.ts";
import type { CredentialSource } from "../../src/client/credential-source.ts";
import { ConfigError, StatusError } from "../../src/grpc/errors.ts";
import { createCertificateAuthority } from "../../src/testing/certificate-authority.ts";
import type { ClientTlsFiles } from "../../src/tls/client-credentials.ts";
import { inTime } from "../harness/time.ts";
import { calls, kinds, OrdersClient, type OrdersServer, startOrders, tlsFor } from "./orders.ts";

let server: OrdersServer;
let tls: ClientTlsFiles;
const clients: OrdersClient[] = [];

beforeAll(async () => {
  const ca = await createCertificateAuthority();
  server = await startOrders(await tlsFor(ca));
  tls = { ca: Buffer.from(ca.caPem) };
});
afterAll(() => server.close());
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
  server.arrivals.length = 0;
});

/** A client that other code makes. */
function clientWith(credentials: ChannelCredentials): OrdersClient {
  const client = new OrdersClient(`127.0.0.1:${server.port}`, credentials);
  clients.push(client);
  return client;
}

function source(name: string, getCredentials: () => unknown): CredentialSource {
  return { name, getCredentials: getCredentials as CredentialSource["getCredentials"] };
}

class Secretive extends Error {
  override readonly name: string = "s3cr3t";
  readonly code: string = "s3cr3t";
}

const nodeError = Object.assign(new Error("connect to s3cr3t"), { code: "ECONNREFUSED" });

interface Failing {
  readonly when: string;
  readonly sources: readonly CredentialSource[];
  readonly code?: status;
  readonly says: string;
}

const failing: readonly Failing[] = [
  {
    when: "throws",
    sources: [
      source("own", () => {
        throw new TypeError("s3cr3t is wrong");
      }),
    ],
    says: 'credential source "own" failed (TypeError)',
  },
  {
    when: "rejects",
    sources: [source("own", () => Promise.reject(nodeError))],
    says: 'credential source "own" failed (Error ECONNREFUSED)',
  },
  {
    when: "rejects with what is no error",
    sources: [source("own", () => Promise.reject("s3cr3t"))],
    says: 'credential source "own" failed',
  },
  {
    when: "throws an error that is all secret",
    sources: [
      source("own", () => {
        throw new Secretive("s3cr3t");
      }),
    ],
    says: 'credential source "own" failed',
  },
  {
    when: "says a status on purpose",
    sources: [
      source("own", () => {
        throw new StatusError(status.UNAVAILABLE, "the identity provider is away");
      }),
    ],
    code: status.UNAVAILABLE,
    says: 'credential source "own": the identity provider is away',
  },
  {
    when: "is a token function that returns nothing",
    sources: [bearerToken(() => "")],
    says: 'credential source "bearer-token": what the token function returned is empty',
  },
  { when: "gives nothing", sources: [source("own", () => undefined)], says: "expected an object of headers" },
  { when: "gives a list", sources: [source("own", () => ["s3cr3t"])], says: "expected an object of headers" },
  {
    when: "gives a number",
    sources: [source("own", () => ({ "x-key": 7 }))],
    says: "gives no text for x-key",
  },
  {
    when: "gives an empty value",
    sources: [source("own", () => ({ "x-key": "" }))],
    says: "gives no text for x-key",
  },
  {
    when: "gives a line break",
    sources: [source("own", () => ({ "x-key": "s3cr3t\r\nx-role: admin" }))],
    says: "not printable ASCII",
  },
  {
    when: "gives spaces around a value",
    sources: [source("own", () => ({ "x-key": "s3cr3t " }))],
    says: "not printable ASCII, or spaces around",
  },
  {
    when: "mixes up name and value",
    sources: [source("own", () => ({ "s3cr3t==": "x-key" }))],
    says: "a header whose name gRPC does not allow",
  },
  {
    when: "gives a pseudo-header",
    sources: [source("own", () => ({ ":path": "/x" }))],
    says: "does not allow",
  },
  {
    when: "gives gRPC's own",
    sources: [source("own", () => ({ "Grpc-Timeout": "1S" }))],
    says: "belong to gRPC",
  },
  {
    when: "gives a binary header",
    sources: [source("own", () => ({ "key-bin": "s3cr3t" }))],
    says: "binary header",
  },
  {
    when: "gives what another gives",
    sources: [bearerToken("s3cr3t"), source("own", () => ({ Authorization: "Bearer s3cr3t" }))],
    says: 'credential source "own": another source already gives authorization',
  },
];

describe("a credential source that fails", () => {
  it.each(failing)("K2 ends the call quickly, unsent, and shows no secret when it $when", async (row) => {
    const client = clientWith(compositeCredentials(tls, ...row.sources));
    for (const kind of kinds) {
      const { code, details, error } = await calls[kind](client, new Metadata(), {
        deadline: inTime(),
      });
      expect([kind, code]).toEqual([kind, row.code ?? status.UNAUTHENTICATED]);
      expect(details).toContain(row.says);
      expect(`${inspect(error, { depth: 9 })} ${error?.stack}`).not.toContain("s3cr3t");
    }
    expect(server.arrivals).toEqual([]);
  });

  it("K2 ends at the call's deadline where a source never answers", async () => {
    const client = clientWith(
      compositeCredentials(
        tls,
        source("slow", () => new Promise(() => {})),
      ),
    );
    const { code } = await calls.unary(client, new Metadata(), { deadline: Date.now() + 200 });
    expect(code).toBe(status.DEADLINE_EXCEEDED);
    expect(server.arrivals).toEqual([]);
  });

  it("K2 lets the next call through when the source is well again", async () => {
    let well = false;
    const client = clientWith(
      compositeCredentials(
        tls,
        bearerToken(() => (well ? "token" : Promise.reject(new Error("not yet")))),
      ),
    );
    expect((await calls.unary(client, new Metadata(), {})).code).toBe(status.UNAUTHENTICATED);
    well = true;
    expect((await calls.unary(client, new Metadata(), {})).code).toBe(status.OK);
  });
});

describe("compositeCredentials", () => {
  it.each(kinds)(
    "K2 puts every source's headers on a %s call of a client that other code made",
    async (kind) => {
      const ticket = source("ticket", async () => ({ "X-Ticket": "t 1" }));
      const none = source("none", () => ({}));
      const client = clientWith(compositeCredentials(tls, bearerToken("token"), ticket, none));
      expect((await calls[kind](client, new Metadata(), {})).code).toBe(status.OK);
      const [arrival] = server.arrivals;
      expect(arrival?.metadata.get("authorization")).toEqual(["Bearer token"]);
      expect(arrival?.metadata.get("x-ticket")).toEqual(["t 1"]);
    },
  );

  it("K2 is TLS alone where there is no source", async () => {
    expect((await calls.unary(clientWith(compositeCredentials(tls)), new Metadata(), {})).code).toBe(
      status.OK,
    );
  });

  const wrong: readonly [string, unknown, unknown[], string][] = [
    ["plaintext", { plaintext: "loopback" }, [bearerToken("s3cr3t")], "tls.plaintext"],
    ["plaintext without sources", { plaintext: "loopback" }, [], "tls.plaintext"],
    ["a name it cannot carry", { serverName: "orders.internal" }, [], "tls.serverName"],
    ["an unknown option", { insecure: true }, [], "tls.insecure"],
    ["no TLS", undefined, [], "tls: "],
    [
      "a source in its place",
      bearerToken("s3cr3t"),
      [],
      "tls: must be the first argument, before the sources",
    ],
    ["what is no source", {}, [bearerToken("s3cr3t"), "s3cr3t"], "sources.1: "],
  ];

  it.each(wrong)("K2 refuses %s", (_name, files, sources, problem) => {
    const make = () => compositeCredentials(files as ClientTlsFiles, ...(sources as CredentialSource[]));
    expect(make).toThrow(ConfigError);
    expect(make).toThrow(problem);
    expect(make).not.toThrow("s3cr3t");
  });
});
