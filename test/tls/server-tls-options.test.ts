import "reflect-metadata";

import { generateKeyPairSync, KeyObject, webcrypto } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ExtendedKeyUsageExtension, X509CertificateGenerator } from "@peculiar/x509";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ConfigError } from "../../src/grpc/errors.ts";
import {
  type CertificateAuthority,
  createCertificateAuthority,
  type IssuedCertificate,
} from "../../src/testing/certificate-authority.ts";
import { loadServerTls, type ServerTlsOptions } from "../../src/tls/server-tls-options.ts";

const pem = (text: string): Buffer => Buffer.from(text);
const dayMs = 86_400_000;

let directory: string;
let ca: CertificateAuthority;
let server: IssuedCertificate;
let other: IssuedCertificate;
let expired: IssuedCertificate;
let early: IssuedCertificate;
let forClients: IssuedCertificate;
let encryptedKey: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "palisade-tls-"));
  ca = await createCertificateAuthority();
  const request = { dnsNames: ["localhost"] };
  server = await ca.issue(request);
  other = await ca.issue(request);
  expired = await ca.issue({
    ...request,
    notBefore: new Date(Date.now() - 2 * dayMs),
    notAfter: new Date(Date.now() - dayMs),
  });
  forClients = await ca.issue({ ...request, usage: "client" });
  early = await ca.issue({
    ...request,
    notBefore: new Date(Date.now() + dayMs),
    notAfter: new Date(Date.now() + 2 * dayMs),
  });
  encryptedKey = generateKeyPairSync("ec", {
    namedCurve: "P-256",
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "secret" },
  }).privateKey;
  await writeFile(join(directory, "server.crt"), server.cert);
  await writeFile(join(directory, "server.key"), server.key);
  await writeFile(join(directory, "empty"), "");
});

afterAll(async () => {
  await rm(directory, { recursive: true });
});

const good = (): { cert: Buffer; key: Buffer } => ({ cert: pem(server.cert), key: pem(server.key) });

describe("T1 good server options", () => {
  it("T1 reads files and buffers alike, with the defaults filled in", () => {
    const loaded = loadServerTls({ cert: join(directory, "server.crt"), key: pem(server.key) });
    expect(loaded).toEqual({ ...good(), clientAuth: "none", resumes: true, minVersion: "TLSv1.3" });
  });

  it("T2 requires client certificates where a client CA is given", () => {
    const loaded = loadServerTls({ ...good(), clientCa: pem(ca.caPem) });
    expect(loaded).toMatchObject({ clientAuth: "require", clientCa: pem(ca.caPem) });
  });

  it("T1 takes a certificate with its chain, and text around the blocks", async () => {
    const issued = await (await ca.intermediate()).issue({ dnsNames: ["localhost"] });
    const cert = pem(`subject=localhost\r\n${issued.cert.replaceAll("\n", "\r\n")}`);
    expect(loadServerTls({ cert, key: pem(issued.key) }).cert).toEqual(pem(issued.cert));
  });

  it("T2 takes every client CA, though no line break stands between them", async () => {
    const second = await createCertificateAuthority({ name: "Second CA" });
    const clientCa = pem(ca.caPem.trim() + second.caPem.trim());
    expect(loadServerTls({ ...good(), clientCa }).clientCa).toEqual(pem(ca.caPem + second.caPem));
  });

  it("T1 takes TLS 1.2 with a list of both kinds of ciphers", () => {
    const ciphers = "TLS_AES_256_GCM_SHA384:ECDHE-ECDSA-AES256-GCM-SHA384";
    expect(loadServerTls({ ...good(), minVersion: "TLSv1.2", ciphers })).toMatchObject({ ciphers });
  });
});

describe("wrong options of the server", () => {
  const table: readonly [what: string, options: () => unknown, problem: string | RegExp][] = [
    ["nothing", () => undefined, "tls: "],
    ["no key", () => ({ cert: pem(server.cert) }), "tls.key: expected the path of a PEM file"],
    ["no certificate", () => ({ key: pem(server.key) }), "tls.cert: expected the path of a PEM file"],
    [
      "an unknown option",
      () => ({ ...good(), rejectUnauthorized: false }),
      "tls.rejectUnauthorized: unknown option",
    ],
    [
      "a revocation list as Node takes it",
      () => ({ ...good(), crl: "crl.pem" }),
      "tls.crl: expected crlFiles(",
    ],
    [
      "revocations of certificates that nobody is asked for",
      () => ({ ...good(), crl: { name: "own", statusOf: () => ({ status: "unrevoked" }) } }),
      "tls.crl: has no meaning without clientCa",
    ],
    [
      "plaintext where credentials are asked for",
      () => ({ plaintext: "loopback" }),
      "tls.plaintext: there are no TLS credentials without TLS",
    ],
    [
      "another word for plaintext",
      () => ({ plaintext: "yes" }),
      'tls.plaintext: expected "loopback" or "mesh"',
    ],
    [
      "plaintext beside a certificate",
      () => ({ ...good(), plaintext: "loopback" }),
      "tls.cert: has no meaning beside plaintext",
    ],
    [
      "plaintext beside client certificates",
      () => ({ plaintext: "loopback", clientAuth: "require" }),
      "tls.clientAuth: has no meaning beside plaintext",
    ],
    [
      "a mesh without its peers",
      () => ({ plaintext: "mesh" }),
      'tls.trustForwardedClientCertFrom: plaintext "mesh" needs the peers that may connect',
    ],
    [
      "a mesh with no peers",
      () => ({ plaintext: "mesh", trustForwardedClientCertFrom: [] }),
      "tls.trustForwardedClientCertFrom: expected at least one peer",
    ],
    [
      "a mesh whose peers are no addresses",
      () => ({ plaintext: "mesh", trustForwardedClientCertFrom: ["10.0.0.0/8", "sidecar.internal"] }),
      'tls.trustForwardedClientCertFrom: "sidecar.internal" is not an IP address',
    ],
    [
      "forwarded certificates on loopback",
      () => ({ plaintext: "loopback", trustForwardedClientCertFrom: ["unix"] }),
      'tls.trustForwardedClientCertFrom: only where plaintext is "mesh"',
    ],
    [
      "forwarded certificates over TLS",
      () => ({ ...good(), trustForwardedClientCertFrom: ["10.0.0.0/8"] }),
      'tls.trustForwardedClientCertFrom: only where plaintext is "mesh"',
    ],
    [
      "the watch on files where there are none",
      () => ({ ...good(), reload: true }),
      "tls.reload: there is no file to watch",
    ],
    [
      "a number for a path",
      () => ({ ...good(), cert: 3 }),
      "tls.cert: expected the path of a PEM file or a Buffer",
    ],
    ["an empty path", () => ({ ...good(), cert: "" }), "tls.cert: the path is empty"],
    ["PEM text for a path", () => ({ ...good(), key: server.key }), "tls.key: this is PEM text, not a path"],
    [
      "a file that is not there",
      () => ({ ...good(), cert: "no/such/server.crt" }),
      "tls.cert: cannot read no/such/server.crt (ENOENT): check the path",
    ],
    ["a directory", () => ({ ...good(), key: directory }), /tls\.key: cannot read .* \(EISDIR\)/],
    [
      "an empty file",
      () => ({ ...good(), cert: join(directory, "empty") }),
      /tls\.cert: .*empty contains no PEM text/,
    ],
    ["no PEM", () => ({ ...good(), cert: pem("hello") }), "tls.cert: the given Buffer contains no PEM text"],
    [
      "a key for a certificate",
      () => ({ ...good(), cert: pem(server.key) }),
      "tls.cert: the given Buffer contains no certificate (found: PRIVATE KEY)",
    ],
    [
      "a certificate for a key",
      () => ({ ...good(), key: pem(server.cert) }),
      "tls.key: the given Buffer contains no private key (found: CERTIFICATE)",
    ],
    [
      "a certificate that is cut short",
      () => ({ ...good(), cert: pem(server.cert.replace(/\n.{20}/, "\n")) }),
      "tls.cert: certificate 1 in the given Buffer cannot be parsed",
    ],
    [
      "a broken intermediate",
      () => ({
        ...good(),
        cert: pem(`${server.cert}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`),
      }),
      "tls.cert: certificate 2 in the given Buffer cannot be parsed",
    ],
    [
      "a key that is cut short",
      () => ({ ...good(), key: pem(server.key.replace(/\n.{20}/, "\n")) }),
      "tls.key: the private key in the given Buffer cannot be parsed",
    ],
    [
      "an encrypted key",
      () => ({ ...good(), key: pem(encryptedKey) }),
      "tls.key: the private key in the given Buffer is encrypted",
    ],
    [
      "two keys",
      () => ({ ...good(), key: pem(server.key + other.key) }),
      "tls.key: the given Buffer contains 2 private keys",
    ],
    [
      "the key of another certificate",
      () => ({ ...good(), key: pem(other.key) }),
      "tls.key: the given Buffer is not the private key of the first certificate",
    ],
    [
      "the chain in the wrong order",
      () => ({ ...good(), cert: pem(`${ca.caPem}\n${server.cert}`) }),
      "own certificate before intermediates",
    ],
    [
      "an expired certificate",
      () => ({ cert: pem(expired.cert), key: pem(expired.key) }),
      "tls.cert: the given Buffer expired on",
    ],
    [
      "a certificate of tomorrow",
      () => ({ cert: pem(early.cert), key: pem(early.key) }),
      "tls.cert: the given Buffer is not valid before",
    ],
    [
      "a certificate for clients",
      () => ({ cert: pem(forClients.cert), key: pem(forClients.key) }),
      "tls.cert: the given Buffer is not a certificate for a server: its extended key usages (clientAuth) lack serverAuth; " +
        "give one that was issued for a server",
    ],
    [
      "clientAuth require without a CA",
      () => ({ ...good(), clientAuth: "require" }),
      'tls.clientCa: clientAuth "require" needs clientCa',
    ],
    [
      "clientAuth request without a CA",
      () => ({ ...good(), clientAuth: "request" }),
      'tls.clientCa: clientAuth "request" needs clientCa',
    ],
    [
      "clientAuth none with a CA",
      () => ({ ...good(), clientAuth: "none", clientCa: pem(ca.caPem) }),
      'tls.clientAuth: with "none"',
    ],
    [
      "another clientAuth",
      () => ({ ...good(), clientAuth: "optional", clientCa: pem(ca.caPem) }),
      "tls.clientAuth: ",
    ],
    [
      "a client CA that is undefined by mistake",
      () => ({ ...good(), clientCa: undefined }),
      "tls.clientCa: expected the path",
    ],
    [
      "a key for a client CA",
      () => ({ ...good(), clientCa: pem(server.key) }),
      "tls.clientCa: the given Buffer contains no certificate",
    ],
    ["TLS 1.1", () => ({ ...good(), minVersion: "TLSv1.1" }), "tls.minVersion: "],
    ["empty ciphers", () => ({ ...good(), ciphers: "" }), "tls.ciphers: expected cipher names"],
    [
      "an unknown suite",
      () => ({ ...good(), ciphers: "TLS_AES_256_GCM_SHA384:TLS_FOO" }),
      "tls.ciphers: unknown TLS 1.3 cipher suite TLS_FOO",
    ],
    [
      "an unknown cipher",
      () => ({ ...good(), minVersion: "TLSv1.2", ciphers: "FOO" }),
      "tls.ciphers: OpenSSL does not know these ciphers",
    ],
    [
      "a TLS 1.2 cipher for TLS 1.3",
      () => ({ ...good(), ciphers: "ECDHE-ECDSA-AES128-GCM-SHA256" }),
      'tls.ciphers: with minVersion "TLSv1.3"',
    ],
    [
      "TLS 1.2 without a cipher for it",
      () => ({ ...good(), minVersion: "TLSv1.2", ciphers: "TLS_AES_128_GCM_SHA256" }),
      'tls.ciphers: minVersion "TLSv1.2" needs a TLS 1.2 cipher',
    ],
    [
      "ciphers that protect nothing",
      () => ({ ...good(), minVersion: "TLSv1.2", ciphers: "ALL:eNULL:@SECLEVEL=0" }),
      "tls.ciphers: @SECLEVEL=0",
    ],
  ];

  it.each(table)("T1 refuses %s", (_what, options, problem) => {
    const attempt = () => loadServerTls(options() as ServerTlsOptions);
    expect(attempt).toThrow(ConfigError);
    expect(attempt).toThrow(problem);
  });

  it("T1 refuses an RSA key that OpenSSL finds too small", async () => {
    const algorithm = {
      name: "RSASSA-PKCS1-v1_5",
      hash: "SHA-256",
      publicExponent: new Uint8Array([1, 0, 1]),
      modulusLength: 512,
    };
    const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
    const small = await X509CertificateGenerator.createSelfSigned({ keys, signingAlgorithm: algorithm });
    const key = KeyObject.from(keys.privateKey).export({ type: "pkcs8", format: "pem" });
    const attempt = () => loadServerTls({ cert: pem(small.toString("pem")), key: Buffer.from(key) });
    expect(attempt).toThrow(/tls\.cert: OpenSSL refuses .*key too small/);
  });

  const serverAuth = "1.3.6.1.5.5.7.3.1";
  it.each<readonly [what: string, usages: readonly string[] | undefined, refused: string | undefined]>([
    ["none, so that it is for everything", undefined, undefined],
    ["servers", [serverAuth], undefined],
    ["servers among others", ["1.3.6.1.5.5.7.3.9", serverAuth], undefined],
    ["anything", ["2.5.29.37.0"], undefined],
    ["the signing of OCSP answers", ["1.3.6.1.5.5.7.3.9"], "(1.3.6.1.5.5.7.3.9) lack serverAuth"],
  ])("T1 looks at the extended key usage: %s (RFC 5280 section 4.2.1.12)", async (_what, usages, refused) => {
    const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
    const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
    const certificate = await X509CertificateGenerator.createSelfSigned({
      keys,
      signingAlgorithm: algorithm,
      extensions: usages === undefined ? [] : [new ExtendedKeyUsageExtension([...usages])],
    });
    const key = KeyObject.from(keys.privateKey).export({ type: "pkcs8", format: "pem" });
    const attempt = () => loadServerTls({ cert: pem(certificate.toString("pem")), key: Buffer.from(key) });
    if (refused === undefined) expect(attempt).not.toThrow();
    else expect(attempt).toThrow(refused);
  });

  it("T1 lists every mistake at once, and shows no value", () => {
    const attempt = () =>
      loadServerTls({ cert: server.key, key: "", minVersion: "SSLv3" } as unknown as ServerTlsOptions);
    try {
      attempt();
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(ConfigError);
      const { problems } = error as ConfigError;
      expect(problems.map((problem) => problem.split(":")[0])).toEqual([
        "tls.cert",
        "tls.key",
        "tls.minVersion",
      ]);
      expect(problems.join()).not.toContain("PRIVATE KEY");
    }
  });

  it("T1 never quotes a key that it cannot parse, not even in the cause", () => {
    const key = server.key.replace(/\n.{20}/, "\nhunter2hunter2hunte");
    try {
      loadServerTls({ ...good(), key: pem(key) });
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(ConfigError);
      expect((error as ConfigError).message).not.toContain("hunter2");
      expect((error as ConfigError).cause).toBeUndefined();
    }
  });

  it("T1 names the option by where it stands", () => {
    expect(() => loadServerTls({ ...good(), cert: "no/such" }, "admin.tls")).toThrow(
      "admin.tls.cert: cannot read",
    );
  });
});
