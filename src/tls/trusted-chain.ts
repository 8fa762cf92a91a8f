// The chain from a client's certificate to a root. Node does not tell which one OpenSSL verified: what it has is what the client
// sent, in the client's order, and that may be anything beside what is needed.
import type { X509Certificate } from "node:crypto";

/** More intermediates than anybody sends; what a client sends beyond is not looked at. */
const maxSent = 16;

/**
 * The certificate, each followed by its issuer, whose key signed it, up to one of the roots; undefined where there is no such
 * chain. Whether the certificates are in their time, and for what they may be used, OpenSSL has verified in the handshake.
 */
export function trustedChain(
  leaf: X509Certificate,
  roots: readonly X509Certificate[],
): readonly X509Certificate[] | undefined {
  const rootPrints = new Set(roots.map(({ fingerprint256 }) => fingerprint256));
  const candidates = [...roots, ...sentWith(leaf)];
  // Each is looked at once: the work grows with the square of what was sent, and no faster.
  const seen = new Set<string>([leaf.fingerprint256]);
  const climb = (chain: readonly X509Certificate[]): readonly X509Certificate[] | undefined => {
    const last = chain[chain.length - 1];
    if (last === undefined) return undefined;
    if (rootPrints.has(last.fingerprint256) && isIssuedBy(last, last)) return chain;
    for (const candidate of candidates) {
      if (seen.has(candidate.fingerprint256) || !isIssuedBy(last, candidate)) continue;
      seen.add(candidate.fingerprint256);
      const found = climb([...chain, candidate]);
      if (found !== undefined) return found;
    }
    return undefined;
  };
  return climb([leaf]);
}

function sentWith(leaf: X509Certificate): readonly X509Certificate[] {
  const sent: X509Certificate[] = [];
  for (
    let next = leaf.issuerCertificate;
    next !== undefined && sent.length < maxSent;
    next = next.issuerCertificate
  )
    sent.push(next);
  return sent;
}

function isIssuedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  try {
    return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
  } catch {
    // A key of a type that OpenSSL does not know, or not the one that the signature is of.
    return false;
  }
}
