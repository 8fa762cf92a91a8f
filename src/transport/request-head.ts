// What a HEADERS frame says of a call, read once.
import type { IncomingHttpHeaders } from "node:http2";

export interface RequestHead {
  /** RFC 9113 section 10.5.1: name + value + 32 for each field, pseudo-header fields included. */
  readonly metadataBytes: number;
  /** Milliseconds; undefined: no `grpc-timeout`; "malformed": one that the gRPC specification does not allow. */
  readonly timeoutMs: number | undefined | "malformed";
  /** `x-forwarded-client-cert`, taken out of what middleware and handlers see: only whoever knows its sender may read it. */
  readonly forwardedCertificate: string | undefined;
  /** The header fields as they came, `name, value, name, value`; undefined where nobody tells (a server that somebody else made). */
  readonly rawFields: readonly string[] | undefined;
}

/** What gRPC allows in the names and values of metadata: gRPC over HTTP/2, "Custom-Metadata". */
const legalKey = /^[:0-9a-z_.-]+$/;
const legalValue = /^[ -~]*$/;
/** The name of the field that stood last in each place and was legal: most calls have the same ones in the same order. */
const lastLegalKeys: string[] = [];
/** Callers choose the others. */
const maxKeptKeyLength = 32;

function isLegalKey(name: string, place: number): boolean {
  if (name === lastLegalKeys[place]) return true;
  if (!legalKey.test(name)) return false;
  if (name.length <= maxKeptKeyLength) lastLegalKeys[place] = name;
  return true;
}

/**
 * `Metadata.fromHttp2Headers` writes a field that gRPC does not allow to standard error, with its value, which may be a
 * credential. The field stays, without its value: a credential that was presented must not be passed over as if there were none.
 */
function withhold(headers: IncomingHttpHeaders, name: string): void {
  if (name.startsWith(":")) return;
  if (legalKey.test(name)) headers[name] = "";
  else delete headers[name];
}

const forwardedFor = "x-forwarded-for";

/** The caller writes the first entries and our proxy the last one: what he wrote must not take the proxy's word away. */
function legalEntries(sent: string | string[] | undefined): string {
  return String(sent ?? "")
    .split(",")
    .map((entry) => (legalValue.test(entry) ? entry : ""))
    .join(",");
}

/** Size of a list of header fields: RFC 9113 section 10.5.1. HTTP/2 strings are of one byte a character in Node. */
export function headerListBytes(rawHeaders: readonly string[]): number {
  let bytes = 0;
  for (let i = 0; i + 1 < rawHeaders.length; i += 2)
    bytes += (rawHeaders[i] ?? "").length + (rawHeaders[i + 1] ?? "").length + 32;
  return bytes;
}

export interface RequestHeadSize {
  readonly metadataBytes: number;
  /** A middleware will refuse the call for it: what takes time to parse is not. */
  readonly tooLarge: boolean;
}

/** Reads what the chain needs, and withholds in `headers` what nobody may see. */
export function readHead(
  headers: IncomingHttpHeaders,
  rawHeaders: readonly string[],
  { metadataBytes, tooLarge }: RequestHeadSize,
): RequestHead {
  let authorizations: string[] | undefined;
  let illegalForwardedFor = false;
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] ?? "";
    const value = rawHeaders[i + 1] ?? "";
    if (!legalValue.test(value) || !isLegalKey(name, i >> 1)) {
      // Node joins all fields of this name, so it is looked through once, however many there are.
      if (name === forwardedFor) illegalForwardedFor = true;
      else withhold(headers, name);
    } else if (name === "authorization") {
      authorizations ??= [];
      authorizations.push(value);
    }
  }
  if (illegalForwardedFor) headers[forwardedFor] = legalEntries(headers[forwardedFor]);
  // Node keeps the first of two `authorization` fields and drops the other; whoever checks credentials must see both.
  if (authorizations !== undefined && authorizations.length > 1) {
    (headers as Record<string, string | string[]>)["authorization"] = authorizations;
  }
  const forwardedCertificate = takeForwardedCertificate(headers, tooLarge);
  const timeout = headers["grpc-timeout"];
  return {
    metadataBytes,
    timeoutMs: timeout === undefined ? undefined : parseTimeout(timeout),
    forwardedCertificate,
    rawFields: rawHeaders,
  };
}

/** Everybody can send one. Node joins several with commas, as RFC 9110 section 5.3 does. */
function takeForwardedCertificate(headers: IncomingHttpHeaders, tooLarge: boolean): string | undefined {
  const sent = headers["x-forwarded-client-cert"];
  if (sent === undefined) return undefined;
  delete headers["x-forwarded-client-cert"];
  // An empty one names nobody, and is not believed.
  if (tooLarge) return "";
  return typeof sent === "string" ? sent : sent.join(", ");
}

const timeoutSyntax = /^[0-9]{1,8}[HMSmun]$/;
const unitMs: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 };

/** gRPC over HTTP/2, "Timeout": at most eight digits and a unit. */
export function parseTimeout(value: string | string[]): number | "malformed" {
  if (typeof value !== "string" || !timeoutSyntax.test(value)) return "malformed";
  const last = value.length - 1;
  const unit = unitMs[value.charAt(last)];
  return unit === undefined ? "malformed" : Number(value.slice(0, last)) * unit;
}
