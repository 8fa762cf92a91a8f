// The verified client certificate as a credential: TLS has proven possession of its key, this says whose it is.
import { z } from "zod";
import type { CallContext } from "../../chain/context.ts";
import { FrozenSet } from "../../chain/frozen-set.ts";
import type { Identity, Principal } from "../../chain/principal.ts";
import { isThenable } from "../../chain/thenable.ts";
import { type Filled, parseOptions } from "../../config/options.ts";
import { CredentialError } from "../../grpc/errors.ts";
import type { PeerCertificate } from "../../grpc/peer.ts";
import { type Authenticator, needsCertificates } from "./authenticator.ts";
import {
  matchesName,
  type NameKind,
  type NamePattern,
  nameKindOf,
  parseNamePattern,
} from "./certificate-name-pattern.ts";
import { refuseRevoked } from "./revocation/revocation-list.ts";

export interface MtlsOptions {
  /**
   * Roles by the names of certificates; where several patterns match, their roles add up:
   * - `spiffe://prod.example/ns/billing` or any other URI: a certificate with exactly this URI SAN; between two slashes of
   *   the path, or behind the last one, `*` stands for exactly one segment of letters, digits, `.`, `_` and `-`
   *   (`spiffe://prod.example/ops/*` is met by `…/ops/ada`, not by `…/ops` or `…/ops/ada/x`);
   * - `billing.example`: a certificate without a URI SAN whose first DNS SAN is this, in any case; `*.billing.example` is
   *   met by exactly one label more;
   * - `CN=billing`: a certificate with neither a URI nor a DNS SAN, and exactly this common name.
   *
   * Default: none.
   */
  readonly roles?: Readonly<Record<string, readonly string[]>> | undefined;
  /**
   * What a verified certificate is that no pattern matches: a principal `"without-roles"`, whom the policy will let do
   * little, or one to `"refuse"`, as invalid. Default: `"without-roles"`.
   */
  readonly unmatched?: "without-roles" | "refuse" | undefined;
  /**
   * Says whether a verified certificate was revoked: by its `serialNumber` and `issuer`, or its `fingerprint256`. Asked on
   * each call, so let it be quick. `true` refuses the certificate as invalid; a throw, a rejection or any answer but `true`
   * and `false` is UNAVAILABLE. Default: nobody is asked.
   */
  readonly isRevoked?: IsCertificateRevoked | undefined;
}

type IsCertificateRevoked = (certificate: PeerCertificate) => boolean | Promise<boolean>;

const text = z.string().min(1, "expected a string that is not empty");

/** The options with their defaults. */
interface MtlsSettings extends Filled<Omit<MtlsOptions, "isRevoked">> {
  readonly isRevoked?: IsCertificateRevoked | undefined;
}

/** The shape of `mtls`'s options; the only place where its defaults stand. */
export const mtlsSchema: z.ZodType<MtlsSettings> = z
  .strictObject({
    roles: z.record(z.string(), z.array(text)).default({}),
    unmatched: z.enum(["without-roles", "refuse"]).default("without-roles"),
    isRevoked: z
      .custom<IsCertificateRevoked>((value) => typeof value === "function", "expected a function")
      .optional(),
  })
  .superRefine(({ roles, unmatched }, context) => {
    for (const pattern of Object.keys(roles)) {
      if (parseNamePattern(pattern) !== undefined) continue;
      context.addIssue({
        code: "custom",
        path: ["roles", pattern],
        message:
          "not a pattern for a certificate's name; expected a URI, a DNS name or CN=name, where * is a whole segment of the " +
          "URI's path or the first label of the DNS name",
      });
    }
    if (unmatched === "refuse" && Object.keys(roles).length === 0) {
      context.addIssue({
        code: "custom",
        path: ["unmatched"],
        message:
          "would refuse every caller: roles has no pattern; give a pattern with an empty list to admit callers without roles",
      });
    }
  });

/**
 * Authenticates by the connection's verified client certificate. The principal is of kind `service` and scheme `mtls`;
 * its subject is the certificate's name: the URI SAN (a SPIFFE ID), else the first DNS SAN, else the common name.
 * `claims` has `nameKind` (`uri`, `dns` or `cn`), `serialNumber`, `issuer`, `fingerprint256`, `uris`, `dnsNames` and
 * `commonName`. The identity ends when the certificate does. Behind a sidecar the certificate is the one that a trusted
 * peer forwards (`tls.trustForwardedClientCertFrom`); what the sidecar leaves out of it is empty.
 *
 * The server must ask for certificates: without `tls.clientCa`, and on loopback without TLS, `createSecureServer` does not
 * start with it, wherever in a combination it stands. A certificate that does not verify never gets this far. One that
 * names nobody, or two URIs, or whose DNS or common name looks like a URI, is invalid.
 *
 * Throws `ConfigError` for options that are wrong.
 *
 * @example
 * mtls({ roles: { "spiffe://prod.example/billing": ["billing"], "spiffe://prod.example/ops/*": ["ops"] } })
 */
export function mtls(options: MtlsOptions = {}): Authenticator {
  const { roles, unmatched, isRevoked } = parseOptions(mtlsSchema, options, "mtls");
  const grants = Object.entries(roles).flatMap(([text, granted]) => {
    const pattern = parseNamePattern(text);
    return pattern === undefined ? [] : [{ pattern, roles: granted }];
  });
  return new MtlsAuthenticator(grants, unmatched, isRevoked);
}

interface Grant {
  readonly pattern: NamePattern;
  readonly roles: readonly string[];
}

class MtlsAuthenticator implements Authenticator {
  readonly [needsCertificates] = "mtls";
  readonly name = "mtls";
  readonly source = "connection";
  readonly headers: readonly string[] = [];
  readonly schemes: readonly string[] = ["mtls"];
  readonly actorSchemes: readonly string[] = [];
  readonly #grants: readonly Grant[];
  readonly #unmatched: "without-roles" | "refuse";
  readonly #isRevoked: IsCertificateRevoked | undefined;
  /** One identity for each connection, as its certificate is one object. */
  readonly #identities: WeakMap<PeerCertificate, Identity> = new WeakMap();

  constructor(
    grants: readonly Grant[],
    unmatched: "without-roles" | "refuse",
    isRevoked: IsCertificateRevoked | undefined,
  ) {
    this.#grants = grants;
    this.#unmatched = unmatched;
    this.#isRevoked = isRevoked;
  }

  presents(call: CallContext): boolean {
    return call.peer.certificate !== undefined;
  }

  authenticate(call: CallContext): Identity | Promise<Identity> {
    const { certificate } = call.peer;
    if (certificate === undefined) throw new CredentialError("missing", "the connection has no certificate");
    const identity = this.#identityOf(certificate);
    // On each call: the identity is kept for the connection, and a certificate is revoked while it is open.
    const answer = this.#isRevoked === undefined ? false : this.#isRevoked(certificate);
    if (isThenable(answer)) return answer.then((revoked) => unlessRevoked(identity, revoked));
    return unlessRevoked(identity, answer);
  }

  #identityOf(certificate: PeerCertificate): Identity {
    const known = this.#identities.get(certificate);
    if (known !== undefined) return known;
    const identity = this.#identify(certificate);
    this.#identities.set(certificate, identity);
    return identity;
  }

  #identify(certificate: PeerCertificate): Identity {
    const { name } = certificate;
    if (name === undefined) throw invalid("the certificate has no usable name, or several");
    const nameKind = nameKindOf(certificate);
    // Whoever reads the subject alone must not take it for the URI that it imitates.
    if (nameKind !== "uri" && name.includes("://")) {
      throw invalid(`the certificate's ${nameKind === "dns" ? "DNS" : "common"} name looks like a URI`);
    }
    const matching = this.#grants.filter(({ pattern }) => matchesName(pattern, nameKind, name));
    if (matching.length === 0 && this.#unmatched === "refuse")
      throw invalid("no pattern of mtls.roles matches the certificate");
    const principal = principalOf(
      certificate,
      name,
      nameKind,
      new FrozenSet(matching.flatMap(({ roles }) => roles)),
    );
    return Object.freeze({ principal, ...endOf(certificate) });
  }
}

function unlessRevoked(identity: Identity, revoked: unknown): Identity {
  refuseRevoked(revoked, "mtls.isRevoked", "the certificate is revoked");
  return identity;
}

function principalOf(
  certificate: PeerCertificate,
  subject: string,
  nameKind: NameKind,
  roles: FrozenSet,
): Principal {
  const { serialNumber, issuer, fingerprint256, uris, dnsNames, commonName } = certificate;
  return Object.freeze({
    subject,
    kind: "service",
    scheme: "mtls",
    roles,
    permissions: new FrozenSet(),
    claims: Object.freeze({ nameKind, serialNumber, issuer, fingerprint256, uris, dnsNames, commonName }),
    ...endOf(certificate),
  });
}

/** A proxy that forwards a certificate may not say when it ends; the proxy then answers for its time. */
function endOf({ notAfter }: PeerCertificate): { readonly expiresAt?: number } {
  return notAfter === Number.POSITIVE_INFINITY ? {} : { expiresAt: notAfter };
}

function invalid(message: string): CredentialError {
  return new CredentialError("invalid", message);
}
