import { describe, expect, it } from "vitest";
import { ConfigError, CredentialError } from "../../../src/grpc/errors.ts";
import type { PeerCertificate } from "../../../src/grpc/peer.ts";
import { type MtlsOptions, mtls } from "../../../src/middleware/authentication/mtls.ts";
import { atOnce, incomingCall } from "./incoming-call.ts";

const certificate: PeerCertificate = {
  name: "spiffe://prod.example/ns/shop/sa/billing",
  uris: ["spiffe://prod.example/ns/shop/sa/billing"],
  dnsNames: [],
  commonName: undefined,
  serialNumber: "0A",
  issuer: "CN=Test CA",
  fingerprint256: "AA:BB",
  notBefore: 0,
  notAfter: Date.now() + 86_400_000,
};

function callWith(of: Partial<PeerCertificate> | undefined) {
  const call = incomingCall();
  const peer = { ...call.peer, certificate: of === undefined ? undefined : { ...certificate, ...of } };
  return Object.assign(call, { peer });
}

describe("mtls", () => {
  it("A5 the principal is a service that ends with its certificate, and says what the certificate says", () => {
    const { principal, expiresAt } = atOnce(mtls(), callWith({}));
    expect(principal).toMatchObject({
      subject: certificate.name,
      kind: "service",
      scheme: "mtls",
      expiresAt: certificate.notAfter,
      claims: { nameKind: "uri", serialNumber: "0A", issuer: "CN=Test CA", fingerprint256: "AA:BB" },
    });
    expect(expiresAt).toBe(certificate.notAfter);
    expect([...principal.roles, ...principal.permissions]).toEqual([]);
  });

  it("A5 one identity serves the whole connection", () => {
    const authenticator = mtls();
    const call = callWith({});
    expect(atOnce(authenticator, call)).toBe(atOnce(authenticator, call));
  });

  it("A5 a connection without a certificate presents nothing", () => {
    expect(mtls().presents(callWith(undefined))).toBe(false);
  });

  const uri = (name: string): Partial<PeerCertificate> => ({ name, uris: [name] });
  const dns = (name: string): Partial<PeerCertificate> => ({ name, uris: [], dnsNames: [name] });
  const cn = (name: string): Partial<PeerCertificate> => ({ name, uris: [], dnsNames: [], commonName: name });
  const matches: readonly [pattern: string, certificate: Partial<PeerCertificate>, matches: boolean][] = [
    ["spiffe://prod.example/ns/*/sa/billing", {}, true],
    ["spiffe://prod.example/ns/*/sa/*", {}, true],
    ["spiffe://prod.example/*", {}, false],
    ["spiffe://prod.example/ns/shop/sa/bill", {}, false],
    ["spiffe://prod.example/a/*", uri("spiffe://prod.example/a/b?c"), false],
    ["spiffe://prod.example/a/*", uri("spiffe://prod.example/a/b#c"), false],
    ["spiffe://prod.example/a/*", uri("spiffe://prod.example/a/."), false],
    ["spiffe://prod.example/a/*", uri("spiffe://prod.example/a/*"), false],
    ["spiffe://prod.example/a/*", uri("spiffe://prod.example/a//"), false],
    ["spiffe://prod.example/a", uri("SPIFFE://prod.example/a"), false],
    ["spiffe://prod.example/a", uri("spiffe://prod.example/a/"), false],
    ["urn:uuid:1234", uri("urn:uuid:1234"), true],
    ["urn:uuid:1234", uri("urn:uuid:12345"), false],
    ["urn:uuid:1234", cn("urn:uuid:1234"), false],
    ["billing.example", dns("BILLING.example"), true],
    ["Billing.example", dns("billing.example"), true],
    ["billing.example", dns("xbilling.example"), false],
    ["billing.example", cn("billing.example"), false],
    ["*.example", dns("billing.example"), true],
    ["*.example", dns("example"), false],
    ["*.example", dns(".example"), false],
    ["*.example", dns("*.example"), false],
    ["*.example", dns("a.b.example"), false],
    ["CN=billing", cn("billing"), true],
    ["CN=billing", cn("Billing"), false],
    ["CN=*", cn("billing"), false],
    ["CN=*", cn("*"), true],
    ["CN=billing", dns("billing"), false],
    ["CN=billing.example", { ...dns("x.example"), commonName: "billing.example" }, false],
  ];
  it.each(matches)("A5 %s and %j: %s", (pattern, of, expected) => {
    const { principal } = atOnce(mtls({ roles: { [pattern]: ["a"] } }), callWith(of));
    expect(principal.roles.has("a")).toBe(expected);
  });

  it("A5 the roles of several patterns add up", () => {
    const roles = { "spiffe://prod.example/ns/*/sa/*": ["a", "b"], [certificate.name ?? ""]: ["b", "c"] };
    expect([...atOnce(mtls({ roles }), callWith({})).principal.roles]).toEqual(["a", "b", "c"]);
  });

  it.each([
    ["names nobody", { name: undefined }],
    ["has a common name that poses as a URI", cn("spiffe://prod.example/x")],
    ["has a DNS name that poses as a URI", dns("spiffe://prod.example/x")],
  ])("A5 a certificate that %s is invalid", (_what, of) => {
    expect(() => atOnce(mtls(), callWith(of))).toThrow(expect.objectContaining({ problem: "invalid" }));
  });

  it("T7 isRevoked is asked on each call of a connection, and a revoked certificate is invalid", async () => {
    const revoked = new Set<string>();
    const authenticator = mtls({ isRevoked: async ({ serialNumber }) => revoked.has(serialNumber) });
    const call = callWith({});
    expect((await authenticator.authenticate(call)).principal.subject).toBe(certificate.name);
    revoked.add(certificate.serialNumber);
    await expect(authenticator.authenticate(call)).rejects.toMatchObject({ problem: "invalid" });
    revoked.clear();
    expect((await authenticator.authenticate(call)).principal.subject).toBe(certificate.name);
  });

  it("T7 isRevoked may answer without a promise", () => {
    const call = callWith({});
    expect(atOnce(mtls({ isRevoked: () => false }), call).principal.subject).toBe(certificate.name);
    expect(() => atOnce(mtls({ isRevoked: () => true }), call)).toThrow(
      expect.objectContaining({ problem: "invalid" }),
    );
  });

  const noAnswers: readonly [what: string, isRevoked: () => unknown][] = [
    ["undefined", () => undefined],
    ["0", () => 0],
    ["a text", () => "false"],
    ["a promise of undefined", async () => undefined],
    [
      "a throw",
      () => {
        throw new Error("the list is down");
      },
    ],
    ["a rejection", () => Promise.reject(new Error("the list is down"))],
  ];
  it.each(noAnswers)(
    "T7 isRevoked that gives %s has not said that the certificate is good",
    async (_what, isRevoked) => {
      const authenticator = mtls({ isRevoked: isRevoked as () => boolean });
      const outcome = await (async () => authenticator.authenticate(callWith({})))().catch(
        (error: unknown) => error,
      );
      expect(outcome).toBeInstanceOf(Error);
      expect(outcome).not.toBeInstanceOf(CredentialError);
    },
  );

  const wrong: readonly [what: string, options: unknown, path: string][] = [
    ["isRevoked that is no function", { isRevoked: true }, "mtls.isRevoked: "],
    ["a wildcard for a part of a segment", { roles: { "spiffe://a/b*": [] } }, "mtls.roles.spiffe://a/b*: "],
    ["a wildcard for several segments", { roles: { "spiffe://a/**": [] } }, "mtls.roles.spiffe://a/**: "],
    ["a wildcard for the trust domain", { roles: { "spiffe://*/b": [] } }, "mtls.roles.spiffe://*/b: "],
    ["a slash at the end", { roles: { "spiffe://a/b/": [] } }, "mtls.roles.spiffe://a/b/: "],
    ["a wildcard in a URN", { roles: { "urn:*": [] } }, "mtls.roles.urn:*: "],
    ["a wildcard alone", { roles: { "*": [] } }, "mtls.roles.*: "],
    ["a wildcard inside a DNS name", { roles: { "a.*.example": [] } }, "mtls.roles.a.*.example: "],
    ["an empty pattern", { roles: { "": [] } }, "mtls.roles: not a pattern"],
    ["an empty common name", { roles: { "CN=": [] } }, "mtls.roles.CN=: "],
    ["a role that is no text", { roles: { "a.example": [1] } }, "mtls.roles.a.example.0: "],
    ["an unknown key", { role: {} }, "mtls.role: unknown option"],
    ["an unknown word", { unmatched: "admit" }, "mtls.unmatched: "],
    ["a rule that refuses everybody", { unmatched: "refuse" }, "mtls.unmatched: would refuse every caller"],
  ];
  it.each(wrong)("%s is a ConfigError", (_what, options, path) => {
    try {
      mtls(options as MtlsOptions);
    } catch (error) {
      expect(error).toBeInstanceOf(ConfigError);
      expect((error as ConfigError).problems).toEqual([expect.stringMatching(startsWith(path))]);
      return;
    }
    expect.unreachable("the options were taken");
  });

  function startsWith(text: string): RegExp {
    return new RegExp(`^${text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}`);
  }
});
