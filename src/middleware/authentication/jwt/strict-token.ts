// What a token says of itself, read strictly and not verified. jose reads more than RFC 7515 allows: padding, white space and
// stray bits in a part, and a byte order mark. Here one part has one spelling. A token is not known by its text all the same: to
// an ECDSA signature (r, s) there is another, (r, n - s). What revokes tokens goes by their claims.
import { Buffer, isUtf8 } from "node:buffer";
import { CredentialError } from "../../../grpc/errors.ts";
import { isObject } from "./json-object.ts";

/** Good for choosing who verifies the token, never for trust. */
export interface UnverifiedToken {
  readonly header: Readonly<Record<string, unknown>>;
  readonly payload: Readonly<Record<string, unknown>>;
}

export interface HeaderRules {
  /** The accepted `typ`, as media types without `application/`, in lower case. */
  readonly types: ReadonlySet<string>;
  readonly typeRequired: boolean;
}

/** Three base64url parts, none empty, the first two JSON objects (RFC 7515 section 7.1). Undefined for anything else. */
export function readStrictToken(token: string): UnverifiedToken | undefined {
  const parts = token.split(".", 4);
  const [encodedHeader = "", encodedPayload = "", encodedSignature = ""] = parts;
  if (parts.length !== 3 || bytesOf(encodedSignature) === undefined) return undefined;
  const header = objectIn(bytesOf(encodedHeader));
  const payload = objectIn(bytesOf(encodedPayload));
  return header === undefined || payload === undefined ? undefined : { header, payload };
}

/** Node and jose accept several spellings of the same bytes; RFC 7515 section 2 does not. */
function bytesOf(part: string): Buffer | undefined {
  const bytes = Buffer.from(part, "base64url");
  return part !== "" && bytes.toString("base64url") === part ? bytes : undefined;
}

/** `JSON.parse` takes no byte order mark. Of a name that stands twice the last counts, as for jose (RFC 7519 section 4). */
function objectIn(bytes: Buffer | undefined): Readonly<Record<string, unknown>> | undefined {
  if (bytes === undefined || !isUtf8(bytes)) return undefined;
  try {
    const value: unknown = JSON.parse(bytes.toString());
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The `kid`, where the header has one. Throws `CredentialError` for a header that is not accepted, whoever signed it. jose
 * checks `alg`.
 */
export function checkHeader(
  header: UnverifiedToken["header"],
  { types, typeRequired }: HeaderRules,
): string | undefined {
  // RFC 7515 section 4.1.11: an extension marked critical must be understood, and none is.
  if (Object.hasOwn(header, "crit"))
    throw invalid("the token's header has critical extensions (crit), which are not supported");
  const { kid, typ } = header;
  if (kid !== undefined && typeof kid !== "string") throw invalid("kid is not text");
  if (typ === undefined && !typeRequired) return kid;
  if (typeof typ !== "string" || !types.has(mediaType(typ)))
    throw invalid("the token's typ is not one that is accepted; see the option typ");
  return kid;
}

/** RFC 7515 section 4.1.9: a media type, whose `application/` may be left out. */
export function mediaType(typ: string): string {
  const name = typ.toLowerCase();
  return name.startsWith("application/") && name.indexOf("/", 12) < 0 ? name.slice(12) : name;
}

function invalid(message: string): CredentialError {
  return new CredentialError("invalid", message);
}
