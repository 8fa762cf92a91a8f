// Whether a client's certificate is good enough for its connection: when it comes, and again when roots or revocations changed.
import type { X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";
import { describeError } from "../observability/error-description.ts";
import type {
  CertificateRevocationAnswer,
  CertificateRevocations,
  RevocationStatus,
} from "./certificate-revocations.ts";
import { clientCertificateVerdict } from "./peer-certificate.ts";
import { trustedChain } from "./trusted-chain.ts";

export interface ClientCertificatesOptions {
  /** The roots in use now. */
  readonly roots: () => readonly X509Certificate[];
  readonly revocations: CertificateRevocations | undefined;
}

export interface RefusedCertificate {
  /** For the log. */
  readonly detail: string;
  readonly certificate: X509Certificate | undefined;
  /** Is it the certificate that is bad? Else this end cannot tell, and the connection is closed without harm to its calls. */
  readonly isBad: boolean;
}

export class ClientCertificates {
  readonly #roots: () => readonly X509Certificate[];
  readonly #revocations: CertificateRevocations | undefined;
  /** As the connection came: Node hands out what the client sent beside its certificate once, and not again later. */
  readonly #sent: WeakMap<TLSSocket, X509Certificate> = new WeakMap();

  constructor({ roots, revocations }: ClientCertificatesOptions) {
    this.#roots = roots;
    this.#revocations = revocations;
  }

  /** Why a new connection is refused. */
  refuseNew(socket: TLSSocket): RefusedCertificate | undefined {
    const certificate = socket.getPeerX509Certificate();
    if (certificate !== undefined) this.#sent.set(socket, certificate);
    const verdict = clientCertificateVerdict(socket);
    if (/* protection: unverified-certificate */ verdict === "unverified")
      return {
        detail: String(socket.authorizationError ?? "the certificate is expired or not valid yet"),
        certificate,
        isBad: true,
      };
    if (certificate === undefined || this.#revocations === undefined) return undefined;
    const chain = trustedChain(certificate, this.#roots());
    if (chain === undefined)
      return { detail: "what the client sent leads to no root of tls.clientCa", certificate, isBad: false };
    const { status, detail } = this.#statusOf(this.#revocations, chain);
    if (status === "unrevoked") return undefined;
    return { detail, certificate, isBad: true };
  }

  /** Why an open connection is closed, after roots or revocations changed. What cannot be told now is no reason. */
  refuseOpen(socket: TLSSocket): RefusedCertificate | undefined {
    const certificate = this.#sent.get(socket);
    if (certificate === undefined) return undefined;
    const chain = trustedChain(certificate, this.#roots());
    if (chain === undefined)
      return {
        detail: "no root of tls.clientCa vouches for the certificate any more",
        certificate,
        // A resumed session has the certificate alone, without its intermediates.
        isBad: !socket.isSessionReused(),
      };
    if (this.#revocations === undefined) return undefined;
    const { status, detail } = this.#statusOf(this.#revocations, chain);
    return status === "revoked" ? { detail, certificate, isBad: true } : undefined;
  }

  /** What is somebody else's may throw, or answer anything. */
  #statusOf(
    revocations: CertificateRevocations,
    chain: readonly X509Certificate[],
  ): { readonly status: RevocationStatus; readonly detail: string } {
    try {
      const answer: unknown = revocations.statusOf(chain);
      const { status, detail } = (answer ?? {}) as Partial<CertificateRevocationAnswer>;
      if (status === "unrevoked" || status === "revoked")
        return { status, detail: told(detail, "the certificate is revoked") };
      return {
        status: "undetermined",
        detail: told(detail, `tls.crl (${revocations.name}) cannot tell whether the certificate is revoked`),
      };
    } catch (error) {
      return {
        status: "undetermined",
        detail: `tls.crl (${revocations.name}) failed: ${describeError(error).message}`,
      };
    }
  }
}

function told(detail: unknown, otherwise: string): string {
  return typeof detail === "string" && detail !== "" ? detail : otherwise;
}
