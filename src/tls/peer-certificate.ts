// Who is at the other end of a TLS connection, by its certificate. Asked once for each connection.
import type { X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";
import type { PeerCertificate } from "../grpc/peer.ts";
import { subjectAttributes, subjectText } from "./certificate-subject.ts";
import { validityOf } from "./load-pem.ts";

/** No certificate; one that verified and is within its time; or one that must not be believed. */
export type ClientCertificateVerdict = "none" | "verified" | "unverified";

/**
 * What is to be thought of the certificate of a server's client. A connection that is `"unverified"` is to be ended.
 *
 * `socket.authorized` alone does not tell: on a TLS 1.3 session that was resumed without a certificate it is true; and
 * on a resumed one it tells what was found when the session began, when the certificate may have been younger. An
 * unverifiable certificate can be read like any other. So: a certificate, and a chain that verified, and its time.
 */
export function clientCertificateVerdict(socket: TLSSocket): ClientCertificateVerdict {
  return verdictOn(socket.getPeerX509Certificate(), socket.authorized);
}

function verdictOn(certificate: X509Certificate | undefined, authorized: boolean): ClientCertificateVerdict {
  if (certificate === undefined) return "none";
  if (!authorized) return "unverified";
  const { notBefore, notAfter } = validityOf(certificate);
  const now = Date.now();
  return now >= notBefore && now <= notAfter ? "verified" : "unverified";
}

/** The client's certificate, where `clientCertificateVerdict` is `"verified"`; undefined otherwise. */
export function peerCertificateOf(socket: TLSSocket): PeerCertificate | undefined {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined || verdictOn(certificate, socket.authorized) !== "verified") return undefined;
  return describeCertificate(certificate);
}

/** Reads a certificate's identity. It says nothing about whether the certificate is to be believed. */
export function describeCertificate(certificate: X509Certificate): PeerCertificate {
  const names = parseSubjectAltName(certificate.subjectAltName ?? "");
  const commonNames = commonNamesOf(certificate);
  const { notBefore, notAfter } = validityOf(certificate);
  // Names that cannot be understood must not let the subject speak in their place.
  const subject = names === undefined ? undefined : subjectAttributes(certificate.raw);
  return Object.freeze({
    name: names === undefined ? undefined : identityFrom(names, commonNames),
    uris: Object.freeze(names?.uris ?? []),
    dnsNames: Object.freeze(names?.dnsNames ?? []),
    commonName: onlyPlain(commonNames),
    ...(subject === undefined ? {} : { subject: subjectText(subject) }),
    serialNumber: certificate.serialNumber.toUpperCase(),
    issuer: certificate.issuer,
    fingerprint256: certificate.fingerprint256,
    notBefore,
    notAfter,
  });
}

interface AlternativeNames {
  readonly uris: readonly string[];
  readonly dnsNames: readonly string[];
}

/**
 * The first kind of name that is there decides, and where it is ambiguous or odd nobody is named: falling back to
 * another kind would let whoever fills in the certificate's other fields choose.
 */
export function identityFrom(names: AlternativeNames, commonNames: readonly string[]): string | undefined {
  if (names.uris.length > 0) return onlyPlain(names.uris);
  if (names.dnsNames.length > 0) return onlyPlain(names.dnsNames.slice(0, 1));
  return onlyPlain(commonNames);
}

/** The single value, if it is one and consists of what can be printed: no control, format or unassigned character. */
export function onlyPlain(values: readonly string[]): string | undefined {
  const [value] = values;
  if (value === undefined || values.length > 1) return undefined;
  return value !== "" && value.trim() === value && !/\p{C}/u.test(value) ? value : undefined;
}

function commonNamesOf(certificate: X509Certificate): readonly string[] {
  // A certificate without a subject has none here either, whatever the type says.
  const subject: { readonly CN?: string | string[] } | undefined = certificate.toLegacyObject().subject;
  const commonName = subject?.CN;
  if (commonName === undefined) return [];
  return typeof commonName === "string" ? [commonName] : commonName;
}

/**
 * One entry of `X509Certificate.subjectAltName`: `kind:value`, where a value that could be mistaken for the text
 * around it is a JSON string (since CVE-2021-44532; before, `a.com, DNS:evil.com` in one name read as two).
 */
const entry = /([A-Za-z0-9 ]+):([^",]*)("(?:[^"\\]|\\.)*")?(?:, |$)/y;

/** The URIs and DNS names in a certificate's alternative names; undefined where the text cannot be understood whole. */
export function parseSubjectAltName(text: string): AlternativeNames | undefined {
  const uris: string[] = [];
  const dnsNames: string[] = [];
  let position = 0;
  while (position < text.length) {
    entry.lastIndex = position;
    const match = entry.exec(text);
    if (match === null) return undefined;
    position = entry.lastIndex;
    const [, kind, plain = "", quoted] = match;
    if (kind !== "URI" && kind !== "DNS") continue;
    if (quoted !== undefined && plain !== "") return undefined;
    const value = quoted === undefined ? plain : unquote(quoted);
    if (value === undefined) return undefined;
    (kind === "URI" ? uris : dnsNames).push(value);
  }
  return { uris, dnsNames };
}

function unquote(quoted: string): string | undefined {
  try {
    const value: unknown = JSON.parse(quoted);
    return typeof value === "string" ? value : undefined;
  } catch {
    return undefined;
  }
}
