// A JSON Web Signature in compact form (RFC 7515 section 7.1), taken apart. Nothing in it is verified here.
import { Buffer } from "node:buffer";

/** What a token says of itself before anybody verified it: good for choosing who verifies it, never for trust. */
export interface UnverifiedJws {
  /** What the signature is over: header and payload in the encoding they came in (RFC 7515 section 5.2). */
  readonly text: string;
  readonly signature: Buffer;
  readonly header: Readonly<Record<string, unknown>>;
  readonly payload: Readonly<Record<string, unknown>>;
}

const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Three base64url parts, none empty, the first two JSON objects. Undefined for anything else: no padding, no white
 * space, no unsigned token. Of a name that stands twice the last counts, in every reader alike (RFC 7519 section 4).
 */
export function readCompactJws(token: string): UnverifiedJws | undefined {
  const parts = token.split(".", 4);
  const [encodedHeader, encodedPayload, encodedSignature] = parts;
  if (parts.length !== 3 || !encodedHeader || !encodedPayload || !encodedSignature) return undefined;
  const signature = decodeBase64url(encodedSignature);
  if (signature === undefined) return undefined;
  const header = readHeader(encodedHeader);
  const payload = decodeJsonObject(encodedPayload);
  if (header === undefined || payload === undefined) return undefined;
  return { text: token.slice(0, -encodedSignature.length - 1), signature, header, payload };
}

let lastEncodedHeader = "";
let lastHeader: Readonly<Record<string, unknown>> | undefined;

/** An issuer's tokens mostly have one header. */
function readHeader(encoded: string): Readonly<Record<string, unknown>> | undefined {
  if (encoded === lastEncodedHeader) return lastHeader;
  const header = decodeJsonObject(encoded);
  if (header === undefined || encoded.length > longestRememberedHeader) return header;
  lastEncodedHeader = encoded;
  lastHeader = header;
  return header;
}

/** Whoever sends a token may make it as long as tokens get. */
const longestRememberedHeader = 512;

function decodeJsonObject(encoded: string): Readonly<Record<string, unknown>> | undefined {
  const bytes = decodeBase64url(encoded);
  if (bytes === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(strictUtf8.decode(bytes));
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Node forgives white space, padding and stray bits; RFC 7515 section 2 does not: one value, one spelling. */
function decodeBase64url(encoded: string): Buffer | undefined {
  const bytes = Buffer.from(encoded, "base64url");
  return bytes.toString("base64url") === encoded ? bytes : undefined;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
