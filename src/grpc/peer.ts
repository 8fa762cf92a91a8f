// The other end of the connection: its address, and the identity of its verified certificate.

/**
 * A client certificate that verified: against the server's CA, or at a proxy that is trusted to say so. A
 * proxy may leave out what is marked so.
 */
export interface PeerCertificate {
  /** Present where a trusted proxy verified the certificate and forwarded what stands here (`x-forwarded-client-cert`). */
  readonly forwarded?: true;
  /**
   * The name the certificate identifies: the URI SAN (a SPIFFE ID), else the first DNS SAN, else the subject's CN.
   * Undefined where it names nobody, or more than one URI (a SPIFFE X.509-SVID has exactly one).
   */
  readonly name: string | undefined;
  readonly uris: readonly string[];
  readonly dnsNames: readonly string[];
  readonly commonName: string | undefined;
  /**
   * The subject as Go writes it, which gRPC authorization policies compare with: `CN=orders,OU=shop,O=Example,C=DE` (RFC 4514,
   * the attributes in Go's order). Absent where the certificate's names cannot be read, or a proxy left them out.
   */
  readonly subject?: string;
  /** Hexadecimal, upper case, without separators. Empty where a proxy left it out. */
  readonly serialNumber: string;
  /** The issuer's distinguished name, one `key=value` a line, as Node gives it. Empty where a proxy left it out. */
  readonly issuer: string;
  /** SHA-256 of the DER form: hexadecimal, upper case, colons between bytes. */
  readonly fingerprint256: string;
  /** Milliseconds since the epoch. `-Infinity` where a proxy left it out. */
  readonly notBefore: number;
  /** Milliseconds since the epoch. The identity is not valid after it. `Infinity` where a proxy left it out. */
  readonly notAfter: number;
}

/** A connection or a stream may outlive its certificate; the identity does not. */
export function inItsTime(certificate: PeerCertificate | undefined): PeerCertificate | undefined {
  return certificate !== undefined && Date.now() <= certificate.notAfter ? certificate : undefined;
}

export interface Peer {
  /**
   * The remote IP address, or `unix` for a Unix socket; behind a configured proxy, the address that it forwards.
   * Behind a sidecar this is the sidecar's.
   */
  readonly address: string;
  /**
   * The configured proxy that the call came through, by its address. The same as `address` where it forwarded no address
   * that can be read: then nobody knows which of its callers this is. A `certificate` is the proxy's own,
   * unless it is `forwarded` too.
   */
  readonly forwardedBy?: string;
  readonly port: number | undefined;
  /** Is the connection encrypted? */
  readonly secure: boolean;
  /** Present only where the chain verified and the certificate is within its time now. */
  readonly certificate: PeerCertificate | undefined;
  /** The connection had a certificate, which was revoked, or its CA taken out, while it was open: it ends, and so do its calls. */
  readonly certificateLost?: boolean;
}
