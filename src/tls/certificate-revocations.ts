// What `tls.crl` is: who knows which client certificates were revoked.
import type { X509Certificate } from "node:crypto";

/** gRFC A69: what is known of a chain of certificates. */
export type RevocationStatus = "unrevoked" | "revoked" | "undetermined";

/** What a `CertificateRevocations` says of a client's certificate. Let in is only who is `unrevoked`. */
export interface CertificateRevocationAnswer {
  readonly status: RevocationStatus;
  /** Why, for the log. */
  readonly detail?: string | undefined;
}

/**
 * Knows which client certificates were revoked: `crlFiles` of `grpc-palisade/crl`, or your own. Asked for each connection before
 * HTTP/2 is spoken on it, and for the open ones after each change.
 */
export interface CertificateRevocations {
  readonly name: string;
  /**
   * `chain`: the client's certificate first, each followed by its issuer, the root of `tls.clientCa` last; all signatures are
   * verified. Answers at once, from memory: the handshake waits. A throw, or anything but `unrevoked`, refuses the connection.
   */
  statusOf(chain: readonly X509Certificate[]): CertificateRevocationAnswer;
  /**
   * Told of the roots in use, when the server is made and when `clientCa` changed.
   * @throws {ConfigError} for what cannot be used with them.
   */
  useRoots?(roots: readonly X509Certificate[]): void;
  /** Calls `listener` after each change. Returns what ends that. */
  onChange?(listener: () => void): () => void;
  /** The server is shut down. Others may use it still. */
  close?(): void;
}

export function isCertificateRevocations(value: unknown): value is CertificateRevocations {
  return (
    typeof value === "object" &&
    value !== null &&
    "name" in value &&
    typeof value.name === "string" &&
    "statusOf" in value &&
    typeof value.statusOf === "function"
  );
}
