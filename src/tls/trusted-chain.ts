// The chains that lead from a client's certificate to a root. Which one OpenSSL verified in the handshake Node does not tell: it
// hands out what the client sent, in the client's order, and that may be anything beside what was needed.
import type { X509Certificate } from "node:crypto";
import { validityOf } from "./load-pem.ts";

/** The certificate, each followed by its issuer, whose key signed it, the root last. */
export type CertificateChain = readonly X509Certificate[];

/** More intermediates than anybody sends. */
const maxSent = 16;
/** A client chooses what it sends, and a signature costs time. */
const maxSignatures = 32;
const maxChains = 8;
/** Beyond these, and with a longer exponent, one signature of RSA costs milliseconds. */
const maxModulusBits = 8_192;
const maxExponent = 2n ** 32n;

/**
 * All chains from the certificate to these roots, of which a client has one, seldom two. None: no root vouches for the
 * certificate, or the client sent so much that it is not looked at to the end.
 *
 * Intermediates are CA certificates in their time, or at any time where it is asked what was trusted once. Other constraints on
 * chains (path lengths, names, purposes) OpenSSL has verified for one of them in the handshake.
 */
export function trustedChains(
  leaf: X509Certificate,
  roots: readonly X509Certificate[],
  intermediates: "in their time" | "at any time" = "in their time",
): readonly CertificateChain[] {
  const anchors = new Set(roots.map(({ fingerprint256 }) => fingerprint256));
  const sent = sentWith(leaf);
  const isUsable = intermediates === "in their time" ? isInTime : () => true;
  const issuers = [...roots, ...sent.filter((each) => each.ca && isUsable(each))];
  const chains: CertificateChain[] = [];
  let signatures = 0;
  // A chain that was not found may be the one that is revoked.
  let tooMuch = sent.length > maxSent;
  const climb = (chain: CertificateChain): void => {
    const last = chain[chain.length - 1];
    if (last === undefined || tooMuch) return;
    // OpenSSL trusts no other certificate of the roots by itself.
    if (anchors.has(last.fingerprint256) && last.subject === last.issuer) {
      chains.push(chain);
      tooMuch = chains.length > maxChains;
      return;
    }
    for (const issuer of issuers) {
      if (chain.some(({ fingerprint256 }) => fingerprint256 === issuer.fingerprint256)) continue;
      if (tooMuch || !last.checkIssued(issuer)) continue;
      signatures += 1;
      tooMuch = signatures > maxSignatures;
      if (!tooMuch && isSignedBy(last, issuer)) climb([...chain, issuer]);
    }
  };
  climb([leaf]);
  return tooMuch ? [] : chains;
}

function sentWith(leaf: X509Certificate): readonly X509Certificate[] {
  const sent: X509Certificate[] = [];
  for (
    let next = leaf.issuerCertificate;
    next !== undefined && sent.length <= maxSent;
    next = next.issuerCertificate
  )
    sent.push(next);
  return sent;
}

function isInTime(certificate: X509Certificate): boolean {
  const { notBefore, notAfter } = validityOf(certificate);
  const now = Date.now();
  return now >= notBefore && now <= notAfter;
}

function isSignedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  try {
    const key = issuer.publicKey;
    const { modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {};
    if (modulusLength > maxModulusBits || publicExponent > maxExponent) return false;
    return certificate.verify(key);
  } catch {
    // A key of a type that OpenSSL does not know, or not one of the type that the signature is of.
    return false;
  }
}
