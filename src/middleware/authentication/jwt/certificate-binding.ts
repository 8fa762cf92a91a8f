// Tokens that are bound to the client certificate they were issued to (RFC 8705 section 3): stolen, they are useless
// without its private key, because the TLS handshake proves possession of it on each connection.
import { Buffer } from "node:buffer";
import type { CallContext } from "../../../chain/context.ts";
import { CredentialError } from "../../../grpc/errors.ts";
import { isObject } from "./json-object.ts";

export type CertificateBound = "if-present" | "require" | "ignore";

/** The confirmation method of RFC 8705 section 3.1: base64url of the SHA-256 of the certificate's DER form. */
const thumbprintMember = "x5t#S256";

/**
 * The certificate that a token is bound to, written as `PeerCertificate.fingerprint256` is; undefined for one that is
 * not bound, or need not be. Throws `CredentialError`.
 *
 * RFC 7800 section 3.1 has readers pass over confirmation members that they do not understand. Here they are refused: a
 * token that says that its holder must prove possession of a key (`jkt`, `jwk`, `kid` …) would be a bearer token then.
 */
export function boundCertificate(
  claims: Readonly<Record<string, unknown>>,
  rule: CertificateBound,
): string | undefined {
  if (rule === "ignore") return undefined;
  const confirmation = Object.hasOwn(claims, "cnf") ? claims["cnf"] : undefined;
  if (confirmation === undefined) {
    if (rule === "require")
      throw invalid('the token is not bound to a certificate (cnf), and certificateBound is "require"');
    return undefined;
  }
  if (!isObject(confirmation)) throw invalid("cnf is not an object");
  const members = Object.keys(confirmation);
  if (members.length !== 1 || members[0] !== thumbprintMember) {
    throw invalid(
      `the token is bound to a key (cnf) in another way than by ${thumbprintMember}, and possession of it is not checked here`,
    );
  }
  return fingerprintFrom(confirmation[thumbprintMember]);
}

function fingerprintFrom(thumbprint: unknown): string {
  const bytes = typeof thumbprint === "string" ? Buffer.from(thumbprint, "base64url") : undefined;
  // One value, one spelling: Node's decoder forgives white space, padding and stray bits.
  if (bytes === undefined || bytes.length !== 32 || bytes.toString("base64url") !== thumbprint) {
    throw invalid(`cnf ${thumbprintMember} is not the base64url form of a SHA-256`);
  }
  return (bytes.toString("hex").toUpperCase().match(/../g) ?? []).join(":");
}

/** For each call, whatever a cache remembers of the token. Throws `CredentialError`. */
export function checkBinding(fingerprint: string | undefined, call: CallContext): void {
  if (fingerprint === undefined) return;
  const { certificate } = call.peer;
  if (certificate === undefined)
    throw invalid("the token is bound to a certificate, and the connection has none");
  if (certificate.fingerprint256 !== fingerprint)
    throw invalid("the token is bound to another certificate than the connection's");
}

function invalid(message: string): CredentialError {
  return new CredentialError("invalid", message);
}
