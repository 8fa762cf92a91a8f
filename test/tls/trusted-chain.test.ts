// Which chains lead to a root, and how much work a client can make of it (T7).
import type { X509Certificate } from "node:crypto";
import { describe, expect, it } from "vitest";
import { trustedChains } from "../../src/tls/trusted-chain.ts";

/** A certificate that says yes to everything, and counts what it is asked. */
function agreeable(name: string, counted: { signatures: number }, key: object = {}): X509Certificate {
  return {
    subject: name,
    issuer: "somebody",
    fingerprint256: name,
    ca: true,
    validFrom: "Jan 1 00:00:00 2020 GMT",
    validTo: "Jan 1 00:00:00 2099 GMT",
    publicKey: { asymmetricKeyDetails: key },
    checkIssued: () => true,
    verify: () => {
      counted.signatures += 1;
      return true;
    },
  } as unknown as X509Certificate;
}

/** As Node hands out what a client sent: one after the other. */
function sentWith(leaf: X509Certificate, sent: readonly X509Certificate[]): X509Certificate {
  let last: { issuerCertificate?: X509Certificate } = leaf as never;
  for (const each of sent) {
    last.issuerCertificate = each;
    last = each as never;
  }
  return leaf;
}

describe("T7 the work that a client can make", () => {
  it("T7 is 32 signatures, whatever it sends", () => {
    const counted = { signatures: 0 };
    const sent = Array.from({ length: 16 }, (_, n) => agreeable(`sent ${n}`, counted));
    expect(trustedChains(sentWith(agreeable("leaf", counted), sent), [])).toEqual([]);
    expect(counted.signatures).toBe(32);
  });

  it("T7 has no signature of a key that takes long", () => {
    const counted = { signatures: 0 };
    const slow = [{ modulusLength: 16_384 }, { modulusLength: 3_072, publicExponent: 2n ** 3_000n }];
    const sent = slow.map((key, n) => agreeable(`sent ${n}`, counted, key));
    expect(trustedChains(sentWith(agreeable("leaf", counted), sent), [])).toEqual([]);
    expect(counted.signatures).toBe(0);
  });

  const manyRoots = (count: number): readonly X509Certificate[] =>
    Array.from({ length: count }, (_, n) => {
      const root = agreeable(`root ${n}`, { signatures: 0 });
      return { ...root, issuer: root.subject } as X509Certificate;
    });

  it.each([
    ["eight chains", 8, 0, 8],
    ["more chains", 9, 0, 0],
    ["one chain and sixteen certificates that lead nowhere", 1, 16, 1],
    ["one chain and more certificates", 1, 17, 0],
  ])("T7 %s", (_what, roots, others, expected) => {
    const counted = { signatures: 0 };
    const sent = Array.from({ length: others }, (_, n) => ({
      ...agreeable(`sent ${n}`, counted),
      checkIssued: () => false,
      ca: false,
    }));
    const leaf = sentWith(agreeable("leaf", counted), sent as never);
    expect(trustedChains(leaf, manyRoots(roots))).toHaveLength(expected);
  });
});
