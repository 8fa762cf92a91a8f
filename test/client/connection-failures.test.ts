// What a caller is told when TLS does not come about: what is wrong, and what to do. Each against a real server.
import { Buffer } from "node:buffer";
import { createServer } from "node:http2";
import type { AddressInfo, Server } from "node:net";
import { createServer as createTlsServer, type TlsOptions } from "node:tls";
import { Client, type ServiceError, status } from "@grpc/grpc-js";
import { beforeAll, describe, expect, it } from "vitest";
import { createSecureClient } from "../../src/client/secure-client.ts";
import {
  type CertificateAuthority,
  createCertificateAuthority,
} from "../../src/testing/certificate-authority.ts";
import type { ClientTlsFiles } from "../../src/tls/client-credentials.ts";
import { paths } from "../harness/kinds.ts";
import { secured, theWorld, type World } from "../harness/secured.ts";

let world: World;
let foreign: CertificateAuthority;
beforeAll(async () => {
  [world, foreign] = await Promise.all([theWorld(), createCertificateAuthority({ name: "Foreign CA" })]);
});

class AnyClient extends Client {}

async function failure(target: string, tls: ClientTlsFiles): Promise<ServiceError> {
  const client = createSecureClient(AnyClient, target, { tls, logger: false });
  const bytes = (): Buffer => Buffer.from("{}");
  const error = await new Promise<ServiceError | null>((resolve) =>
    client.makeUnaryRequest(paths.unary, bytes, (answer) => answer, {}, resolve),
  );
  client.close();
  if (error === null) throw new Error("the call went through");
  return error;
}

const pem = (text: string): Buffer => Buffer.from(text);
const own = (): ClientTlsFiles => ({ cert: pem(world.client.cert), key: pem(world.client.key) });
const trusting = (): ClientTlsFiles => ({ ca: pem(world.ca.caPem) });

describe("against a secured server", () => {
  it.each<readonly [string, () => ClientTlsFiles, string]>([
    [
      "a CA that did not sign it",
      () => ({ ...own(), ca: pem(foreign.caPem) }),
      "the server's certificate is not signed by a CA that this client trusts; give the CA that signed it as tls.ca",
    ],
    ["the system's roots", own, "give the CA that signed it as tls.ca"],
    [
      "another name",
      () => ({ ...own(), ...trusting(), serverName: "other.example" }),
      "the server's certificate is for another name; connect by a name that it carries, or give that as tls.serverName",
    ],
    ["no certificate", trusting, "the server wants a client certificate; give tls.cert and tls.key"],
  ])("T3 with %s the caller is told what to do", async (_what, tls, told) => {
    await using wall = await secured();
    const error = await failure(wall.address, tls());
    expect(status[error.code]).toBe("UNAVAILABLE");
    expect(error.details).toContain(told);
  });
});

async function told(server: Server): Promise<string> {
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const error = await failure(`127.0.0.1:${(server.address() as AddressInfo).port}`, trusting());
  server.close();
  expect(status[error.code]).toBe("UNAVAILABLE");
  return error.details;
}

describe("against other servers", () => {
  const tlsServer = (options: TlsOptions): Server =>
    createTlsServer({ cert: world.server.cert, key: world.server.key, ALPNProtocols: ["h2"], ...options });

  it("T3 one without TLS", async () => {
    expect(await told(createServer() as unknown as Server)).toContain(
      "the server does not speak TLS on this port",
    );
  });

  it("T1 one with TLS 1.2 alone", async () => {
    expect(await told(tlsServer({ maxVersion: "TLSv1.2" }))).toContain('or allow tls.minVersion "TLSv1.2"');
  });

  it("T3 one without HTTP/2", async () => {
    expect(await told(tlsServer({ ALPNProtocols: ["http/1.1"] }))).toContain("is it a gRPC server?");
  });

  it("T4 one that does not trust the client's certificate, and closes without a word", async () => {
    await using wall = await secured();
    const stranger = await foreign.issue({ commonName: "stranger", usage: "client" });
    const error = await failure(wall.address, {
      ...trusting(),
      cert: pem(stranger.cert),
      key: pem(stranger.key),
    });
    expect(error.details).toContain("it may refuse this client's certificate");
  });

  it("T3 one that has expired", async () => {
    const expired = await world.ca.issue({
      dnsNames: ["localhost"],
      ipAddresses: ["127.0.0.1"],
      usage: "server",
      notBefore: new Date(Date.now() - 2 * 86_400_000),
      notAfter: new Date(Date.now() - 86_400_000),
    });
    expect(await told(tlsServer({ cert: expired.cert, key: expired.key }))).toContain(
      "the server's certificate has expired",
    );
  });
});
