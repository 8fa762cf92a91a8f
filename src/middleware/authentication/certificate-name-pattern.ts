// Patterns for the names in client certificates, and the roles that they give. Whole segments, no regular expressions.
import type { PeerCertificate } from "../../grpc/peer.ts";

/** Which field of the certificate its name stands in (`PeerCertificate.name`). */
export type NameKind = "uri" | "dns" | "cn";

/** The first kind that is there decides: a common name counts only where there is neither a URI nor a DNS name. */
export function nameKindOf(certificate: PeerCertificate): NameKind {
  if (certificate.uris.length > 0) return "uri";
  return certificate.dnsNames.length > 0 ? "dns" : "cn";
}

export interface NamePattern {
  readonly kind: NameKind;
  /** The name in parts, each to be met exactly; `*` stands for any one part. */
  readonly parts: readonly string[];
}

/** `scheme://authority/path`; the authority without user, and neither query nor fragment. */
const hierarchicalUri = /^[a-z][a-z0-9+.-]*:\/\/[^\s/?#@*%]+(?:\/[^\s/?#%]+)*$/;
/** Such as `urn:uuid:…`: taken whole. */
const opaqueUri = /^[a-z][a-z0-9+.-]*:[^\s/*][^\s*]*$/i;
const dnsName = /^(?:\*\.)?[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*$/i;
const printable = /^[^\s\p{C}](?:[^\p{C}]*[^\s\p{C}])?$/u;

/** What `*` may stand for: a segment as SPIFFE has it (SPIFFE-ID section 2.2), so no `..`, nothing encoded, not nothing. */
const wildSegment = /^(?!\.{1,2}$)[A-Za-z0-9._-]+$/;

/** Undefined for what is no pattern. */
export function parseNamePattern(text: string): NamePattern | undefined {
  if (text.startsWith("CN=")) {
    const name = text.slice(3);
    return printable.test(name) ? { kind: "cn", parts: [name] } : undefined;
  }
  if (text.includes("://")) {
    if (!hierarchicalUri.test(text)) return undefined;
    const parts = text.split("/");
    return parts.every((part) => part === "*" || !part.includes("*")) ? { kind: "uri", parts } : undefined;
  }
  if (text.includes(":")) return opaqueUri.test(text) ? { kind: "uri", parts: [text] } : undefined;
  return dnsName.test(text) ? { kind: "dns", parts: text.toLowerCase().split(".") } : undefined;
}

/** Does the name, which stands in this field of the certificate, meet the pattern whole? */
export function matchesName(pattern: NamePattern, kind: NameKind, name: string): boolean {
  if (pattern.kind !== kind) return false;
  const parts = partsOf(pattern, name);
  if (parts.length !== pattern.parts.length) return false;
  return pattern.parts.every((wanted, index) => meets(wanted, parts[index] ?? "", pattern));
}

function partsOf({ kind, parts }: NamePattern, name: string): readonly string[] {
  // DNS names are the same in any case (RFC 4343); URIs and common names are not.
  if (kind === "dns") return name.toLowerCase().split(".");
  return kind === "uri" && parts.length > 1 ? name.split("/") : [name];
}

function meets(wanted: string, part: string, { kind }: NamePattern): boolean {
  return wanted === "*" && kind !== "cn" ? wildSegment.test(part) : wanted === part;
}
