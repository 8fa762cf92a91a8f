// What a policy's principals are compared with: the names in the caller's certificate, as grpc-go has them (gRFC A41).
import type { Peer, PeerCertificate } from "../../../grpc/peer.ts";

/**
 * The names, of which one must match; none where the connection is not encrypted, so that no principal matches; undefined
 * where there is a certificate whose names cannot be read.
 */
export type CallerNames = readonly string[] | undefined;

/** TLS without a client certificate: the principal `""` matches. */
const withoutCertificate: readonly string[] = [""];
const unauthenticated: readonly string[] = [];

/** What is true of a connection is worked out once. */
const remembered = new WeakMap<PeerCertificate, { readonly names: CallerNames }>();

/** The first kind of name that the certificate has counts alone: its URIs, else its DNS names, else its subject. */
export function callerNames(peer: Peer): CallerNames {
  const { certificate } = peer;
  if (certificate === undefined) {
    if (peer.certificateLost === true) return undefined;
    return peer.secure ? withoutCertificate : unauthenticated;
  }
  const known = remembered.get(certificate);
  if (known !== undefined) return known.names;
  const names = namesIn(certificate);
  remembered.set(certificate, { names });
  return names;
}

function namesIn({ uris, dnsNames, subject }: PeerCertificate): CallerNames {
  if (uris.length > 0) return uris.map(uriText);
  if (dnsNames.length > 0) return dnsNames;
  return subject === undefined ? undefined : [subject];
}

/** Scheme, everything up to the path, path, query, fragment (RFC 3986, appendix B). */
const uriParts = /^([A-Za-z][A-Za-z0-9+.-]*:)((?:\/\/[^/?#]*)?)([^?#]*)(\?[^#]*)?(?:#(.*))?$/s;

/**
 * A URI as Go writes one that it has read: the scheme in lower case, no empty fragment, and a path or fragment with a character
 * that does not belong there encoded anew. A SPIFFE ID stays as it is.
 */
export function uriText(uri: string): string {
  const parts = uriParts.exec(uri);
  if (parts === null) return uri;
  const [, scheme = "", authority = "", path = "", query = "", fragment = ""] = parts;
  // Without a slash it is opaque, and kept.
  const isOpaque = authority === "" && !path.startsWith("/");
  return [
    scheme.toLowerCase(),
    authority,
    isOpaque ? path : encodedAnew(path, pathSyntax, kept),
    query,
    fragment === "" ? "" : `#${encodedAnew(fragment, fragmentSyntax, keptInFragment)}`,
  ].join("");
}

const pathSyntax = /^[A-Za-z0-9\-._~!$&'()*+,;=:@/[\]%]*$/;
const fragmentSyntax = /^[A-Za-z0-9\-._~!$&'()*+,;=:@/?[\]%]*$/;
const kept = /[A-Za-z0-9\-._~$&+,/:;=@]/;
const keptInFragment = /[A-Za-z0-9\-._~$&+,/:;=@?!()*]/;

function encodedAnew(text: string, syntax: RegExp, keeps: RegExp): string {
  if (syntax.test(text)) return text;
  const decoded = text.replace(/%([0-9A-Fa-f]{2})/g, (_, code: string) =>
    String.fromCharCode(Number.parseInt(code, 16)),
  );
  return decoded.replace(/./gs, (character) =>
    keeps.test(character)
      ? character
      : `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`,
  );
}
