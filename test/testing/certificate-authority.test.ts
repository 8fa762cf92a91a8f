import { createPrivateKey, X509Certificate } from "node:crypto";
import { describe, expect, it } from "vitest";
import { ConfigError } from "../../src/grpc/errors.ts";
import {
  type CertificateRequest,
  createCertificateAuthority,
} from "../../src/testing/certificate-authority.ts";

const serverAuth = "1.3.6.1.5.5.7.3.1";
const clientAuth = "1.3.6.1.5.5.7.3.2";

describe("O5 the throw-away CA", () => {
  it("O5 is a CA by its own certificate, with the name it was given", async () => {
    const { caPem } = await createCertificateAuthority({ name: "My CA" });
    const root = new X509Certificate(caPem);
    expect(root.ca).toBe(true);
    expect(root.subject).toBe("CN=My CA");
    expect(root.checkIssued(root)).toBe(true);
    expect(root.verify(root.publicKey)).toBe(true);
  });

  it("O5 issues a certificate with its key, signed by the CA", async () => {
    const ca = await createCertificateAuthority();
    const issued = await ca.issue({
      commonName: "orders",
      dnsNames: ["localhost"],
      ipAddresses: ["127.0.0.1", "::1"],
      uris: ["spiffe://orders.example/server"],
    });
    const [root, leaf] = [new X509Certificate(ca.caPem), new X509Certificate(issued.cert)];
    expect(leaf.ca).toBe(false);
    expect(leaf.checkIssued(root) && leaf.verify(root.publicKey)).toBe(true);
    expect(leaf.checkPrivateKey(createPrivateKey(issued.key))).toBe(true);
    expect(leaf.fingerprint256).toBe(issued.fingerprint256);
    expect(leaf.subject).toBe("CN=orders");
    expect(leaf.subjectAltName).toBe(
      "DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1, URI:spiffe://orders.example/server",
    );
  });

  it.each([
    ["server", [serverAuth]],
    ["client", [clientAuth]],
    ["both", [serverAuth, clientAuth]],
  ] as const)("O5 issues for the usage %s", async (usage, purposes) => {
    const { cert } = await (await createCertificateAuthority()).issue({ usage });
    expect(new X509Certificate(cert).keyUsage).toEqual(purposes);
  });

  it("O5 gives every certificate another serial number, positive and at most 20 bytes long", async () => {
    const ca = await createCertificateAuthority();
    const issued = await Promise.all(Array.from({ length: 8 }, () => ca.issue()));
    const serials = issued.map(({ cert }) => new X509Certificate(cert).serialNumber);
    expect(new Set(serials).size).toBe(8);
    for (const serial of serials) expect(serial).toMatch(/^01[0-9A-F]{32}$/);
  });

  it("O5 issues for the time it is told", async () => {
    const ca = await createCertificateAuthority();
    const notBefore = new Date("2020-01-01T00:00:00Z");
    const notAfter = new Date("2020-02-01T00:00:00Z");
    const old = new X509Certificate((await ca.issue({ notBefore, notAfter })).cert);
    expect([Date.parse(old.validFrom), Date.parse(old.validTo)]).toEqual([
      notBefore.getTime(),
      notAfter.getTime(),
    ]);
    const short = new X509Certificate((await ca.issue({ days: 2 })).cert);
    expect(Math.abs(Date.parse(short.validTo) - Date.now() - 2 * 86_400_000)).toBeLessThan(60_000);
  });

  it("O5 lets an intermediate issue, with the chain in the certificate and the root as the anchor", async () => {
    const ca = await createCertificateAuthority();
    const intermediate = await (await ca.intermediate({ name: "Upper" })).intermediate({ name: "Lower" });
    expect(intermediate.caPem).toBe(ca.caPem);
    const { cert } = await intermediate.issue({ commonName: "leaf" });
    const chain = cert.split(/(?<=-----END CERTIFICATE-----\n)/).map((pem) => new X509Certificate(pem));
    expect(chain.map(({ subject }) => subject)).toEqual(["CN=leaf", "CN=Lower", "CN=Upper"]);
    const links = [...chain, new X509Certificate(ca.caPem)];
    for (const [index, link] of chain.entries())
      expect(links[index + 1]?.publicKey).toSatisfy((key) => link.verify(key));
  });

  it.each([
    [{ dnsName: "localhost" }, "dnsName: unknown option"],
    [{ ipAddresses: ["localhost"] }, "ipAddresses.0: "],
    [{ days: 0 }, "days: "],
    [{ usage: "any" }, "usage: "],
  ])("O5 refuses %j", async (request, problem) => {
    const ca = await createCertificateAuthority();
    const attempt = async () => ca.issue(request as CertificateRequest);
    await expect(attempt()).rejects.toThrow(ConfigError);
    await expect(attempt()).rejects.toThrow(problem);
  });
});
