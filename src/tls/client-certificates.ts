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
import { type CertificateChain, trustedChains } from "./trusted-chain.ts";

export interface ClientCertificatesOptions {
  /** The roots in use now. */
  readonly roots: () => readonly X509Certificate[];
  readonly revocations: CertificateRevocations | undefined;
}

export interface RefusedCertificate {
  /** For the log. */
  readonly detail: string;
  readonly certificate: X509Certificate | undefined;
}

interface Status {
  readonly status: RevocationStatus;
  readonly detail: string;
}

/** A handshake takes no longer (`limits.handshakeTimeoutMs`), and its connection may have been accepted with the roots of before. */
const maxHandshakeMs = 120_000;

export class ClientCertificates {
  readonly #roots: () => readonly X509Certificate[];
  readonly #revocations: CertificateRevocations | undefined;
  /** As the connection came: Node hands out what the client sent beside its certificate once, and not again later. */
  readonly #sent: WeakMap<TLSSocket, X509Certificate> = new WeakMap();
  #rootsChangedAt: number = Number.NEGATIVE_INFINITY;

  constructor({ roots, revocations }: ClientCertificatesOptions) {
    this.#roots = roots;
    this.#revocations = revocations;
  }

  rootsChanged(): void {
    this.#rootsChangedAt = performance.now();
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
      };
    if (certificate === undefined || !this.#looksAtChains()) return undefined;
    const chains = trustedChains(certificate, this.#roots());
    if (chains.length === 0)
      return { detail: "what the client sent leads to no root of tls.clientCa", certificate };
    const { status, detail } = this.#statusOf(chains);
    return status === "unrevoked" ? undefined : { detail, certificate };
  }

  /** OpenSSL has verified a chain. Which one matters for revocations, and with which roots where they have changed. */
  #looksAtChains(): boolean {
    return this.#revocations !== undefined || performance.now() - this.#rootsChangedAt < maxHandshakeMs;
  }

  /** Why an open connection is closed, after roots or revocations changed. What cannot be told now is no reason. */
  refuseOpen(socket: TLSSocket): RefusedCertificate | undefined {
    const certificate = this.#sent.get(socket);
    if (certificate === undefined) return undefined;
    const roots = this.#roots();
    const chains = trustedChains(certificate, roots);
    if (chains.length === 0) return { detail: noChainAnyMore(certificate, roots), certificate };
    const { status, detail } = this.#statusOf(chains);
    return status === "revoked" ? { detail, certificate } : undefined;
  }

  /**
   * Which chain OpenSSL verified is not known, so that what one of them lacks (a name constraint, a path length) is not known
   * either. So: revoked where one is, and unrevoked only where one is that.
   */
  #statusOf(chains: readonly CertificateChain[]): Status {
    const revocations = this.#revocations;
    if (revocations === undefined) return { status: "unrevoked", detail: "" };
    const all = chains.map((chain) => statusOf(revocations, chain));
    const found = (wanted: RevocationStatus): Status | undefined =>
      all.find(({ status }) => status === wanted);
    return found("revoked") ?? found("unrevoked") ?? { status: "undetermined", detail: all[0]?.detail ?? "" };
  }
}

function noChainAnyMore(certificate: X509Certificate, roots: readonly X509Certificate[]): string {
  return trustedChains(certificate, roots, "at any time").length > 0
    ? "an intermediate certificate that the client sent has expired; give the client a renewed one"
    : "no root of tls.clientCa vouches for the certificate any more";
}

/** What is somebody else's may throw, or answer anything. */
function statusOf(revocations: CertificateRevocations, chain: CertificateChain): Status {
  const where = `tls.crl (${revocations.name})`;
  try {
    const answer: unknown = revocations.statusOf(chain);
    const { status, detail } = (answer ?? {}) as Partial<CertificateRevocationAnswer>;
    if (status === "unrevoked" || status === "revoked")
      return { status, detail: told(detail, "the certificate is revoked") };
    return {
      status: "undetermined",
      detail: told(detail, `${where} cannot tell whether the certificate is revoked`),
    };
  } catch (error) {
    return { status: "undetermined", detail: `${where} failed: ${describeError(error).message}` };
  }
}

function told(detail: unknown, otherwise: string): string {
  return typeof detail === "string" && detail !== "" ? detail : otherwise;
}
