// What a call presents in its metadata, told apart without keeping it: for whoever counts bad credentials.
import type { Buffer } from "node:buffer";
import { createHash, type Hash } from "node:crypto";
import type { CallContext, ReadonlyMetadata } from "../../chain/context.ts";
import { type Authenticator, headersOf, singleAuthenticators } from "./authenticator.ts";

/** Headers that are credentials whether or not an authenticator reads them. */
const credentialHeaders: readonly string[] = ["authorization", "x-api-key"];

/** What differs from call to call and is never a credential: everything else may be one, where an authenticator does not say. */
const perCallHeaders: ReadonlySet<string> = new Set([
  "x-request-id",
  "x-correlation-id",
  "traceparent",
  "tracestate",
  "grpc-trace-bin",
  "grpc-previous-rpc-attempts",
]);

/** Those that the authenticators of this process declared. As many as the program names. */
const declaredHeaders: Set<string> = new Set(credentialHeaders);

/** The headers, in lower case, that carry credentials to any server of this process. */
export function credentialHeadersOfProcess(): ReadonlySet<string> {
  return declaredHeaders;
}

/** The headers that carry credentials where this authenticator is used, in lower case. */
export function credentialHeadersOf(authenticator: Authenticator): readonly string[] {
  const declared = singleAuthenticators(authenticator).flatMap((single) => headersOf(single) ?? []);
  for (const header of declared) declaredHeaders.add(header);
  return [...new Set([...credentialHeaders, ...declared])];
}

/** Authenticators that read metadata and do not say which. */
export function undeclaredAuthenticators(authenticator: Authenticator): readonly Authenticator[] {
  return singleAuthenticators(authenticator).filter(
    (single) => single.source === "metadata" && single.headers === undefined,
  );
}

/** Reads the credentials of calls as `authenticator` would. A certificate is none of them: TLS proved it, nobody guessed it. */
export class PresentedCredentials {
  readonly #headers: readonly string[];
  readonly #undeclared: readonly Authenticator[];

  constructor(authenticator: Authenticator) {
    this.#headers = credentialHeadersOf(authenticator);
    this.#undeclared = undeclaredAuthenticators(authenticator);
  }

  /** Is there anything in the metadata that could be a guess? */
  arePresentedBy(call: CallContext): boolean {
    for (const header of this.#headers) if (call.metadata.get(header).length > 0) return true;
    return this.#undeclared.some((authenticator) => presents(authenticator, call));
  }

  /**
   * SHA-256 over all of them. Where an authenticator does not declare its headers any of them may be its credential: then
   * over all metadata but what differs from call to call.
   */
  digestOf(metadata: ReadonlyMetadata): string {
    const digest = createHash("sha256");
    for (const header of this.#undeclared.length === 0 ? this.#headers : possibleHeaders(metadata))
      for (const value of metadata.get(header)) addField(digest, header, inOneForm(header, value));
    return digest.digest("base64");
  }
}

function possibleHeaders(metadata: ReadonlyMetadata): readonly string[] {
  const headers = Object.keys(metadata.getMap()).filter((header) => !perCallHeaders.has(header));
  return headers.sort();
}

/** The scheme in any case, and any number of spaces behind it, make it no other credential (RFC 9110 section 11.4). */
function inOneForm(header: string, value: string | Buffer): string | Buffer {
  if (header !== "authorization" || typeof value !== "string") return value;
  const [scheme = "", ...rest] = value.trim().split(" ");
  return [scheme.toLowerCase(), ...rest.filter((part) => part !== "")].join(" ");
}

/** With its length: binary values may hold any byte, and two lists of fields must not read the same. */
function addField(digest: Hash, header: string, value: string | Buffer): void {
  digest.update(`${header} ${value.length} `).update(value);
}

/** What fails here fails again where the credential is verified, and is told there. */
function presents(authenticator: Authenticator, call: CallContext): boolean {
  try {
    return authenticator.presents(call);
  } catch {
    return false;
  }
}
