import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { connect } from "node:tls";
import { logVerbosity, ServerCredentials, setLogVerbosity } from "@grpc/grpc-js";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { ConfigError } from "../../src/grpc/errors.ts";
import {
  type CertificateAuthority,
  createCertificateAuthority,
  type IssuedCertificate,
} from "../../src/testing/certificate-authority.ts";
import {
  type ClientTlsOptions,
  clientChannelOptions,
  clientCredentials,
} from "../../src/tls/client-credentials.ts";
import { serverCredentials, type TlsServerCredentials } from "../../src/tls/server-credentials.ts";
import type { ServerTlsOptions } from "../../src/tls/server-tls-options.ts";
import { callEcho, grpcServer } from "./endpoints.ts";

const pem = (text: string): Buffer => Buffer.from(text);
const dayMs = 86_400_000;

let ca: CertificateAuthority;
let foreignCa: CertificateAuthority;
let server: IssuedCertificate;
let client: IssuedCertificate;

beforeAll(async () => {
  ca = await createCertificateAuthority();
  foreignCa = await createCertificateAuthority({ name: "Foreign CA" });
  server = await ca.issue({
    dnsNames: ["localhost", "orders.internal"],
    ipAddresses: ["127.0.0.1"],
    usage: "server",
  });
  client = await ca.issue({ commonName: "client", usage: "client" });
});

afterEach(() => {
  vi.unstubAllEnvs();
});

function serving(options: Partial<ServerTlsOptions> = {}): TlsServerCredentials {
  return serverCredentials({ cert: pem(server.cert), key: pem(server.key), ...options });
}

/** Serves with what no option of ours allows: an old protocol, a bad certificate. */
class AnyServerCredentials extends ServerCredentials {
  constructor({ cert, key }: IssuedCertificate, maxVersion: "TLSv1.2" | "TLSv1.3" = "TLSv1.3") {
    super({ minVersion: "TLSv1.2", maxVersion }, { minVersion: "TLSv1.2", maxVersion, cert, key });
  }
  override _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}

function call(port: number, tls: ClientTlsOptions, host = "localhost"): Promise<string> {
  const options = { "grpc.enable_http_proxy": 0, ...clientChannelOptions(tls) };
  return callEcho(`${host}:${port}`, clientCredentials(tls), options);
}

describe("T1 versions and ciphers on the client", () => {
  it("T1 refuses a server that speaks TLS 1.2 only, by default", async () => {
    await using endpoint = await grpcServer(new AnyServerCredentials(server, "TLSv1.2"));
    expect(await call(endpoint.port, { ca: pem(ca.caPem) })).toMatch(/version/);
  });

  it("T1 speaks TLS 1.2 when asked for it", async () => {
    await using endpoint = await grpcServer(new AnyServerCredentials(server, "TLSv1.2"));
    expect(await call(endpoint.port, { ca: pem(ca.caPem), minVersion: "TLSv1.2" })).toBe("hello");
  });

  it("T1 offers the chosen ciphers only", async () => {
    await using endpoint = await grpcServer(serving({ ciphers: "TLS_AES_128_GCM_SHA256" }));
    expect(await call(endpoint.port, { ca: pem(ca.caPem), ciphers: "TLS_AES_128_GCM_SHA256" })).toBe("hello");
    expect(await call(endpoint.port, { ca: pem(ca.caPem), ciphers: "TLS_AES_256_GCM_SHA384" })).not.toBe(
      "hello",
    );
  });
});

describe("T2 the client shows its certificate", () => {
  it("T2 is let in with it, and not without", async () => {
    await using endpoint = await grpcServer(serving({ clientCa: pem(ca.caPem) }));
    const own = { cert: pem(client.cert), key: pem(client.key) };
    expect(await call(endpoint.port, { ca: pem(ca.caPem), ...own })).toBe("hello");
    expect(await call(endpoint.port, { ca: pem(ca.caPem) })).not.toBe("hello");
  });
});

describe("T3 the client verifies the server", () => {
  const strangers: readonly [what: string, issue: () => Promise<IssuedCertificate>, because: RegExp][] = [
    ["of a foreign CA", () => foreignCa.issue({ dnsNames: ["localhost"] }), /unable to|self.signed/],
    ["for another name", () => ca.issue({ dnsNames: ["elsewhere.example"] }), /altnames/],
    [
      "whose name is only in the subject beside another",
      () => ca.issue({ commonName: "localhost", dnsNames: ["elsewhere.example"] }),
      /altnames/,
    ],
    [
      "that has expired",
      () =>
        ca.issue({
          dnsNames: ["localhost"],
          notBefore: new Date(Date.now() - 2 * dayMs),
          notAfter: new Date(Date.now() - dayMs),
        }),
      /expired/,
    ],
    ["that is for clients only", () => ca.issue({ dnsNames: ["localhost"], usage: "client" }), /purpose/],
  ];

  it.each(["localhost", "127.0.0.1"])("T3 accepts a certificate of its CA for %s", async (host) => {
    await using endpoint = await grpcServer(serving());
    expect(await call(endpoint.port, { ca: pem(ca.caPem) }, host)).toBe("hello");
  });

  it.each(strangers)("T3 refuses a certificate %s", async (_what, issue, because) => {
    await using endpoint = await grpcServer(new AnyServerCredentials(await issue()));
    expect(await call(endpoint.port, { ca: pem(ca.caPem) })).toMatch(because);
  });

  it.each(strangers)(
    "T3 refuses a certificate %s though NODE_TLS_REJECT_UNAUTHORIZED is 0",
    async (_what, issue, because) => {
      await using endpoint = await grpcServer(new AnyServerCredentials(await issue()));
      vi.stubEnv("NODE_TLS_REJECT_UNAUTHORIZED", "0");
      // The variable does work here: Node by itself would accept this server.
      await new Promise<void>((resolve, reject) => {
        const socket = connect(
          { port: endpoint.port, host: "127.0.0.1", servername: "localhost", ca: ca.caPem },
          () => {
            socket.destroy();
            resolve();
          },
        ).on("error", reject);
      });
      expect(await call(endpoint.port, { ca: pem(ca.caPem) })).toMatch(because);
    },
  );

  it("T3 trusts the system's roots by default, and a custom CA in their place", async () => {
    await using endpoint = await grpcServer(serving());
    expect(await call(endpoint.port, {})).toMatch(/unable to|self.signed/);
    expect(await call(endpoint.port, { ca: pem(foreignCa.caPem) })).toMatch(/unable to|self.signed/);
    expect(await call(endpoint.port, { ca: pem(foreignCa.caPem + ca.caPem) })).toBe("hello");
  });

  it("T3 verifies the name that serverName spells out, and only that", async () => {
    const internal = await ca.issue({ dnsNames: ["orders.internal"], usage: "server" });
    await using endpoint = await grpcServer(new AnyServerCredentials(internal));
    expect(await call(endpoint.port, { ca: pem(ca.caPem) })).toMatch(/altnames/);
    expect(await call(endpoint.port, { ca: pem(ca.caPem), serverName: "orders.internal" })).toBe("hello");
    expect(await call(endpoint.port, { ca: pem(ca.caPem), serverName: "elsewhere.example" })).toMatch(
      /altnames/,
    );
  });

  it.each([
    ["rejectUnauthorized", { rejectUnauthorized: false }],
    ["checkServerIdentity", { checkServerIdentity: () => undefined }],
    ["insecure", { insecure: true }],
    ["skipVerify", { skipVerify: true }],
  ])("T3 knows no switch %s", (name, options) => {
    expect(() => clientCredentials(options as ClientTlsOptions)).toThrow(`tls.${name}: unknown option`);
  });
});

describe("plaintext to this machine", () => {
  it("T6 is not encrypted, for a loopback target", () => {
    expect(clientCredentials({ plaintext: "loopback" }, "localhost:50051")._isSecure()).toBe(false);
  });

  it.each(["orders.internal:50051", "10.0.0.1:50051", "localhost.evil.com:50051", undefined])(
    "T6 refuses %s",
    (target) => {
      expect(() => clientCredentials({ plaintext: "loopback" }, target)).toThrow(ConfigError);
    },
  );

  it("T6 does not go through a proxy that the environment names", async () => {
    await using endpoint = await grpcServer(ServerCredentials.createInsecure());
    let asked = 0;
    const proxy = createServer().on("connect", (_request, socket) => {
      asked += 1;
      socket.end("HTTP/1.1 403 Forbidden\r\n\r\n");
    });
    await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
    vi.stubEnv("grpc_proxy", `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`);
    vi.stubEnv("no_grpc_proxy", "");
    vi.stubEnv("no_proxy", "");
    setLogVerbosity(logVerbosity.NONE);
    const tls = { plaintext: "loopback" } as const;
    const target = `localhost:${endpoint.port}`;
    const answer = await callEcho(target, clientCredentials(tls, target), clientChannelOptions(tls));
    // The variable does work here: without the options the call asks the proxy.
    const refused = await callEcho(target, clientCredentials(tls, target), {
      "grpc.use_local_subchannel_pool": 1,
    });
    await new Promise((resolve) => proxy.close(resolve));
    expect(answer).toBe("hello");
    expect(refused).not.toBe("hello");
    expect(asked).toBe(1);
  });
});

describe("wrong options of the client", () => {
  const table: readonly [what: string, options: () => unknown, problem: string][] = [
    ["an unknown option", () => ({ caFile: "x" }), "tls.caFile: unknown option"],
    ["another word for plaintext", () => ({ plaintext: "yes" }), 'tls.plaintext: expected "loopback"'],
    [
      "plaintext and a CA",
      () => ({ plaintext: "loopback", ca: "ca.crt" }),
      "tls.ca: has no meaning beside plaintext",
    ],
    [
      "plaintext and a version",
      () => ({ plaintext: "loopback", minVersion: "TLSv1.2" }),
      "tls.minVersion: has no meaning",
    ],
    [
      "a certificate without key",
      () => ({ cert: pem(client.cert) }),
      "tls.key: cert is given without its private key",
    ],
    [
      "a key without certificate",
      () => ({ key: pem(client.key) }),
      "tls.cert: key is given without its certificate",
    ],
    [
      "a key of another certificate",
      () => ({ cert: pem(client.cert), key: pem(server.key) }),
      "tls.key: the given Buffer is not the private key",
    ],
    [
      "a certificate for servers",
      () => ({ cert: pem(server.cert), key: pem(server.key) }),
      "tls.cert: the given Buffer is not a certificate for a client: its extended key usages (serverAuth) lack clientAuth",
    ],
    [
      "a CA that is undefined by mistake",
      () => ({ ca: undefined }),
      "tls.ca: expected the path of a PEM file",
    ],
    [
      "a CA that is not there",
      () => ({ ca: "no/such/ca.crt" }),
      "tls.ca: cannot read no/such/ca.crt (ENOENT)",
    ],
    [
      "a server name with a port",
      () => ({ serverName: "orders.internal:443" }),
      "tls.serverName: expected a host name",
    ],
    ["an empty server name", () => ({ serverName: "" }), "tls.serverName: expected a host name"],
    ["TLS 1.1", () => ({ minVersion: "TLSv1.1" }), "tls.minVersion: "],
    [
      "ciphers without authentication",
      () => ({ minVersion: "TLSv1.2", ciphers: "aNULL:@SECLEVEL=0" }),
      "tls.ciphers: @SECLEVEL=0",
    ],
    [
      "ciphers without effect",
      () => ({ ciphers: "ECDHE-RSA-AES128-GCM-SHA256" }),
      "tls.ciphers: with minVersion",
    ],
  ];

  it.each(table)("T3 refuses %s", (_what, options, problem) => {
    const attempt = () => clientCredentials(options() as ClientTlsOptions, "localhost:1");
    expect(attempt).toThrow(ConfigError);
    expect(attempt).toThrow(problem);
  });
});
