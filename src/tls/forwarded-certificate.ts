// The client certificate that a sidecar verified and forwards in `x-forwarded-client-cert`, in Envoy's format.
// Source: Envoy's documentation, "HTTP header manipulation", x-forwarded-client-cert.
import { X509Certificate } from "node:crypto";
import { inItsTime, type Peer, type PeerCertificate } from "../grpc/peer.ts";
import { type NameAttribute, subjectText } from "./certificate-subject.ts";
import { describeCertificate, identityFrom, onlyPlain } from "./peer-certificate.ts";

/** The peers of calls whose header could not be understood: a middleware refuses them. */
const unreadable: WeakSet<Peer> = new WeakSet();

/** Did this call come with a forwarded certificate that must not be believed? */
export function hasUnreadableCertificate(peer: Peer): boolean {
  return unreadable.has(peer);
}

/** Callers choose what is in the header, so what is remembered of it is bounded. */
const maxRemembered = 256;
const maxRememberedLength = 4_096;

/**
 * The peer of each call of a connection that is trusted to forward certificates. A header is read once as long as it is
 * among the last ones: a sidecar sends the same for every call of one client.
 */
export function forwardedPeers(): (connection: Peer, header: string | undefined) => Peer {
  const remembered = new Map<string, PeerCertificate>();
  return (connection, header) => {
    if (header === undefined) return connection;
    const known = remembered.get(header);
    const certificate = known ?? forwardedCertificate(header);
    if (certificate === undefined || Date.now() > certificate.notAfter) {
      const peer = new PeerBehindSidecar(connection, undefined);
      unreadable.add(peer);
      return peer;
    }
    if (known === undefined && header.length <= maxRememberedLength) {
      if (remembered.size >= maxRemembered) remembered.clear();
      remembered.set(header, certificate);
    }
    return new PeerBehindSidecar(connection, certificate);
  };
}

class PeerBehindSidecar implements Peer {
  readonly address: string;
  readonly port: number | undefined;
  readonly secure: boolean;
  readonly #certificate: PeerCertificate | undefined;

  constructor(connection: Peer, certificate: PeerCertificate | undefined) {
    this.address = connection.address;
    this.port = connection.port;
    this.secure = connection.secure;
    this.#certificate = certificate;
  }

  get certificate(): PeerCertificate | undefined {
    return inItsTime(this.#certificate);
  }
}

/**
 * The certificate in the last element of the header: the one that the nearest proxy wrote. Undefined where any of the
 * header cannot be understood: a quote that a caller opens in an earlier element must not decide where the last begins.
 */
export function forwardedCertificate(header: string): PeerCertificate | undefined {
  const last = lastElement(header);
  if (last === undefined) return undefined;
  const fingerprint256 = fingerprintIn(last);
  // Envoy always writes it. Without it nobody could say which certificate is meant.
  if (fingerprint256 === undefined) return undefined;
  const whole = last.get("cert");
  if (whole !== undefined) return wholeCertificate(whole, fingerprint256);
  const [subject = "", ...otherSubjects] = last.get("subject") ?? [];
  if (otherSubjects.length > 0) return undefined;
  const uris = last.get("uri") ?? [];
  const dnsNames = last.get("dns") ?? [];
  const attributes = attributesIn(subject);
  const commonNames = commonNamesAmong(attributes);
  return Object.freeze({
    forwarded: true as const,
    name: identityFrom({ uris, dnsNames }, commonNames),
    uris: Object.freeze(uris),
    dnsNames: Object.freeze(dnsNames),
    commonName: onlyPlain(commonNames),
    ...forwardedSubject(attributes),
    serialNumber: "",
    issuer: "",
    fingerprint256,
    notBefore: Number.NEGATIVE_INFINITY,
    notAfter: Number.POSITIVE_INFINITY,
  });
}

/** The values of one element by key, in lower case. */
type Element = ReadonlyMap<string, readonly string[]>;

const keySyntax = /^[A-Za-z]+$/;
/** A value without quotes, with the white space behind it. One class of characters, so nothing is tried twice. */
const unquoted = /[^",;]*/y;
const whiteSpace = /\s*/y;

/**
 * `key=value` pairs with `;` between them, elements with `,`. Read from left to right, each character once, and nothing is
 * kept but the last element.
 */
function lastElement(header: string): Element | undefined {
  const element = new Map<string, string[]>();
  let position = 0;
  for (;;) {
    const sign = header.indexOf("=", position);
    const key = header.slice(position, Math.max(position, sign)).trimStart();
    if (!keySyntax.test(key)) return undefined;
    const value = valueAt(header, sign + 1);
    if (value === undefined) return undefined;
    const name = key.toLowerCase();
    const values = element.get(name);
    // Proxies write a key for a name that the certificate does not have: `URI=`.
    if (values === undefined) element.set(name, value.text === "" ? [] : [value.text]);
    else if (value.text !== "") values.push(value.text);
    if (value.end === header.length) return element;
    const separator = header.charAt(value.end);
    if (separator !== "," && separator !== ";") return undefined;
    if (separator === ",") element.clear();
    position = value.end + 1;
  }
}

interface Value {
  readonly text: string;
  /** Where it is over, white space behind it included. */
  readonly end: number;
}

/** In quotes, in which `\"` stands for a quote, or without. Undefined for a quote that is not closed. */
function valueAt(header: string, start: number): Value | undefined {
  if (header.charAt(start) !== '"') {
    const end = endOf(unquoted, header, start);
    return { text: header.slice(start, end).trimEnd(), end };
  }
  const close = closingQuote(header, start + 1);
  if (close === undefined) return undefined;
  const text = header.slice(start + 1, close).replaceAll('\\"', '"');
  return { text, end: endOf(whiteSpace, header, close + 1) };
}

function closingQuote(header: string, start: number): number | undefined {
  for (let i = start; i < header.length; i++) {
    const character = header.charAt(i);
    if (character === '"') return i;
    if (character === "\\") i += 1;
  }
  return undefined;
}

/** Of what begins there; the expression meets nothing too. */
function endOf(expression: RegExp, text: string, start: number): number {
  expression.lastIndex = start;
  expression.test(text);
  return expression.lastIndex;
}

/** As in `PeerCertificate`: upper case, colons between bytes. */
function fingerprintIn(element: Element): string | undefined {
  const [hash, ...others] = element.get("hash") ?? [];
  if (hash === undefined || others.length > 0 || !/^[0-9A-Fa-f]{64}$/.test(hash)) return undefined;
  return hash.toUpperCase().match(/../g)?.join(":");
}

/** `Cert`, URL-encoded PEM: everything then comes from the certificate itself, which must be the one of the hash. */
function wholeCertificate(values: readonly string[], fingerprint256: string): PeerCertificate | undefined {
  const [encoded, ...others] = values;
  if (encoded === undefined || others.length > 0) return undefined;
  try {
    const certificate = new X509Certificate(decodeURIComponent(encoded));
    if (certificate.fingerprint256 !== fingerprint256) return undefined;
    return Object.freeze({ ...describeCertificate(certificate), forwarded: true as const });
  } catch {
    return undefined;
  }
}

/** One part of a distinguished name (RFC 2253): `CN=Some \, name`. */
const namePart = /([A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)*)=((?:[^,+"\\]|\\.)*)(?:[,+]|$)/y;

/**
 * The attributes of a subject as Envoy writes it, the last one first; none where it is in another form, or cannot be
 * understood whole.
 */
function attributesIn(subject: string): readonly NameAttribute[] {
  const attributes: NameAttribute[] = [];
  let position = 0;
  while (position < subject.length) {
    namePart.lastIndex = position;
    const match = namePart.exec(subject);
    if (match === null) return [];
    position = namePart.lastIndex;
    const [, type = "", value = ""] = match;
    attributes.push({ type: type.toUpperCase(), value: unescaped(value) });
  }
  return attributes;
}

function commonNamesAmong(attributes: readonly NameAttribute[]): readonly string[] {
  return attributes.filter(({ type }) => type === "CN").map(({ value }) => value);
}

/** What OpenSSL calls the types of attributes. */
const typeNames: ReadonlyMap<string, string> = new Map([
  ["CN", "2.5.4.3"],
  ["SERIALNUMBER", "2.5.4.5"],
  ["C", "2.5.4.6"],
  ["L", "2.5.4.7"],
  ["ST", "2.5.4.8"],
  ["STREET", "2.5.4.9"],
  ["O", "2.5.4.10"],
  ["OU", "2.5.4.11"],
  ["POSTALCODE", "2.5.4.17"],
  ["EMAILADDRESS", "1.2.840.113549.1.9.1"],
  ["DC", "0.9.2342.19200300.100.1.25"],
  ["UID", "0.9.2342.19200300.100.1.1"],
]);

/** Nothing where there is no subject, or a type of it is not known. */
function forwardedSubject(attributes: readonly NameAttribute[]): { readonly subject?: string } {
  if (attributes.length === 0) return {};
  const inOrder: NameAttribute[] = [];
  for (const { type, value } of attributes) {
    const number = typeNames.get(type);
    if (number === undefined) return {};
    inOrder.unshift({ type: number, value });
  }
  return { subject: subjectText(inOrder) };
}

/** RFC 2253 section 2.4: `\,` for a special character, `\C4\8D` for bytes of UTF-8. */
function unescaped(value: string): string {
  return value.replace(/(?:\\[0-9A-Fa-f]{2})+|\\(.)/g, (escaped: string, special: string | undefined) =>
    special === undefined ? Buffer.from(escaped.replaceAll("\\", ""), "hex").toString("utf8") : special,
  );
}
