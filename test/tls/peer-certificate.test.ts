import { X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import {
  type CertificateAuthority,
  type CertificateRequest,
  createCertificateAuthority,
} from "../../src/testing/certificate-authority.ts";
import {
  clientCertificateVerdict,
  describeCertificate,
  parseSubjectAltName,
  peerCertificateOf,
} from "../../src/tls/peer-certificate.ts";
import { serverCredentials } from "../../src/tls/server-credentials.ts";
import { tlsConnect, tlsServer } from "./endpoints.ts";

let ca: CertificateAuthority;

beforeAll(async () => {
  ca = await createCertificateAuthority({ name: "Naming CA" });
});

afterEach(() => {
  vi.useRealTimers();
});

describe("T5 the name of a certificate", () => {
  const spiffe = "spiffe://orders.example/client";
  const table: readonly [what: string, request: CertificateRequest, name: string | undefined][] = [
    ["the URI before all", { uris: [spiffe], dnsNames: ["a.example"], commonName: "cn" }, spiffe],
    [
      "the first DNS name where there is no URI",
      { dnsNames: ["a.example", "b.example"], commonName: "cn" },
      "a.example",
    ],
    ["the common name where there is neither", { commonName: "cn" }, "cn"],
    ["the common name beside an address", { commonName: "cn", ipAddresses: ["127.0.0.1"] }, "cn"],
    ["a common name in another script", { commonName: "Zoë 東京" }, "Zoë 東京"],
    ["a common name with commas, equals and quotes", { commonName: 'a, CN=b "c"' }, 'a, CN=b "c"'],
    [
      "nobody with two URIs",
      { uris: [spiffe, "spiffe://orders.example/admin"], dnsNames: ["a.example"] },
      undefined,
    ],
    ["nobody with the same URI twice", { uris: [spiffe, spiffe] }, undefined],
    ["nobody with two common names", { commonName: ["client", "admin"] }, undefined],
    ["nobody with a line break in the common name", { commonName: "client\nCN=admin" }, undefined],
    ["nobody with a NUL in the common name", { commonName: "admin\u0000.evil" }, undefined],
    ["nobody with an invisible sign in the common name", { commonName: "ad\u200bmin" }, undefined],
    ["nobody with spaces around the common name", { commonName: " admin" }, undefined],
    [
      "nobody with a NUL in the URI, and no fallback",
      { uris: ["spiffe://a/b\u0000c"], commonName: "cn" },
      undefined,
    ],
    ["nobody without any name", { ipAddresses: ["127.0.0.1"] }, undefined],
    // CVE-2021-44532: one name that reads like two.
    [
      "one URI that looks like two",
      { uris: ["spiffe://a/b, URI:spiffe://a/admin"] },
      "spiffe://a/b, URI:spiffe://a/admin",
    ],
    [
      "a DNS name that looks like a URI",
      { dnsNames: ["a.example, URI:spiffe://a/admin"] },
      "a.example, URI:spiffe://a/admin",
    ],
    ["a DNS name with quotes", { dnsNames: ['a", URI:"spiffe://a/admin'] }, 'a", URI:"spiffe://a/admin'],
  ];

  it.each(table)("T5 is %s", async (_what, request, name) => {
    const { cert } = await ca.issue(request);
    expect(describeCertificate(new X509Certificate(cert)).name).toBe(name);
  });

  it("T5 keeps every URI and DNS name beside it", async () => {
    const { cert } = await ca.issue({
      uris: ["a:1", "b:2"],
      dnsNames: ["x.example", "y.example, DNS:z.example"],
    });
    expect(describeCertificate(new X509Certificate(cert))).toMatchObject({
      uris: ["a:1", "b:2"],
      dnsNames: ["x.example", "y.example, DNS:z.example"],
      commonName: undefined,
    });
  });

  it("T5 gives serial, issuer, fingerprint and validity", async () => {
    const notBefore = new Date("2026-01-02T03:04:05Z");
    const notAfter = new Date("2049-11-09T08:07:06Z");
    const { cert, fingerprint256 } = await ca.issue({ commonName: "cn", notBefore, notAfter });
    expect(describeCertificate(new X509Certificate(cert))).toMatchObject({
      serialNumber: expect.stringMatching(/^01[0-9A-F]{32}$/),
      issuer: "CN=Naming CA",
      fingerprint256,
      notBefore: notBefore.getTime(),
      notAfter: notAfter.getTime(),
    });
    expect(fingerprint256).toMatch(/^([0-9A-F]{2}:){31}[0-9A-F]{2}$/);
  });
});

describe("T5 alternative names as text", () => {
  const table: readonly [text: string, expected: ReturnType<typeof parseSubjectAltName>][] = [
    ["", { uris: [], dnsNames: [] }],
    ["URI:a:b, DNS:c", { uris: ["a:b"], dnsNames: ["c"] }],
    ["IP Address:0:0:0:0:0:0:0:1, email:a@b, Registered ID:1.2.3, DNS:c", { uris: [], dnsNames: ["c"] }],
    ['DirName:"CN = a, URI:b", DNS:c', { uris: [], dnsNames: ["c"] }],
    ['othername:UPN::"a, URI:b", DNS:c', { uris: [], dnsNames: ["c"] }],
    ["othername:<unsupported>, DNS:c", { uris: [], dnsNames: ["c"] }],
    ['URI:"a\\u002c b"', { uris: ["a, b"], dnsNames: [] }],
    ['URI:"a', undefined],
    ['URI:"a" b', undefined],
    ['URI:a"b"', undefined],
    ['URI:"\\x"', undefined],
    ["URI:a,DNS:b", undefined],
    ["nonsense", undefined],
  ];

  it.each(table)("T5 reads %j", (text, expected) => {
    expect(parseSubjectAltName(text)).toEqual(expected);
  });
});

describe("T2 the verdict on a connection", () => {
  it("T2 a certificate that expired since the handshake is unverified", async () => {
    const server = await ca.issue({ dnsNames: ["localhost"] });
    const client = await ca.issue({ commonName: "client" });
    const certificate = new X509Certificate(client.cert);
    // What a session resumed after the certificate's end looks like: the verification is remembered from its beginning.
    const socket = { authorized: true, getPeerX509Certificate: () => certificate } as unknown as TLSSocket;
    expect(clientCertificateVerdict(socket)).toBe("verified");
    vi.useFakeTimers({ toFake: ["Date"], now: Date.parse(certificate.validTo) + 1_000 });
    expect(clientCertificateVerdict(socket)).toBe("unverified");
    expect(peerCertificateOf(socket)).toBeUndefined();
    vi.useRealTimers();

    await using endpoint = await tlsServer(
      serverCredentials({
        cert: Buffer.from(server.cert),
        key: Buffer.from(server.key),
        clientCa: Buffer.from(ca.caPem),
      }),
      { resumes: true },
    );
    const tls = { ca: ca.caPem, cert: client.cert, key: client.key };
    const { session } = await tlsConnect(endpoint.port, tls);
    vi.useFakeTimers({ toFake: ["Date"], now: Date.parse(certificate.validTo) + 1_000 });
    await tlsConnect(endpoint.port, { ...tls, session });
    expect(endpoint.seen[1]).toMatchObject({
      resumed: true,
      authorized: true,
      verdict: "unverified",
      certificate: undefined,
    });
  });
});

describe("Z6 the subject of a peer's certificate", () => {
  it("is told beside other names, and not where these cannot be understood", async () => {
    const { cert } = await ca.issue({ commonName: "orders", dnsNames: ["orders.example"], usage: "client" });
    const certificate = new X509Certificate(cert);
    expect(describeCertificate(certificate)).toMatchObject({
      dnsNames: ["orders.example"],
      subject: "CN=orders",
    });
    const unreadable = new Proxy(certificate, {
      get(target, name) {
        if (name === "subjectAltName") return 'URI:"spiffe://a.example/b';
        const value: unknown = Reflect.get(target, name);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
    expect(describeCertificate(unreadable)).not.toHaveProperty("subject");
  });
});
