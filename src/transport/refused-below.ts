/** Why something was refused before there was a call. A fixed set: it is a metric's label. */
export const reasonsBelow = [
  /** Too many connections in all. */
  "connection_limit",
  /** Too many connections from this peer. */
  "peer_connection_limit",
  /** The peer's address stays far over its rate limit. */
  "address_over_limit",
  /** The oldest connection of a health port made room for a new one. */
  "health_connection_limit",
  /** The handshake was not done in time. */
  "handshake_timeout",
  /** Pings more often than allowed. */
  "too_many_pings",
  /** The TLS handshake failed: protocol, cipher, or no TLS at all. */
  "tls_handshake",
  /** The client's certificate is missing or does not verify. */
  "certificate",
  /** A `mesh` connection from an address that is not a configured peer. */
  "untrusted_peer",
  /** Not HTTP/2. */
  "unknown_protocol",
  /** HTTP/2 that breaks the protocol or its limits. */
  "http2_error",
  /** An HTTP/2 request that is no gRPC call. */
  "content_type",
] as const;

export type RefusedBelow = (typeof reasonsBelow)[number];

/** Whom a certificate is for, and who signed it, as Node tells it: of an untrusted one this is unverified. */
export interface CertificateNames {
  readonly subject: string | undefined;
  readonly issuer: string | undefined;
}

/** Told of each refusal; of the certificate, where it was refused for one that can be read. */
export type OnRefusedBelow = (
  reason: RefusedBelow,
  address: string,
  detail: string,
  certificate?: CertificateNames | undefined,
) => void;
