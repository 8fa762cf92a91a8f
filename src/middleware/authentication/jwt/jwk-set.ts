// The JWK Set of an issuer (RFC 7517 section 5), as it is published.
import { requestDocument } from "./issuer-request.ts";
import { isObject } from "./json-object.ts";

export interface JwkSet {
  readonly keys: readonly Readonly<Record<string, unknown>>[];
  /** How long the issuer lets the set be kept, in milliseconds. */
  readonly maxAgeMs: number | undefined;
}

const maxKeys = 100;

/**
 * Rejects for everything that is not a well-formed JWK Set, so that it never replaces a good one. A well-formed set is what
 * the issuer says, an empty one included: then it vouches for no key. `onConnect` is called before the issuer reads the
 * request.
 */
export async function requestJwkSet(uri: URL, signal: AbortSignal, onConnect: () => void): Promise<JwkSet> {
  const { body, maxAgeMs } = await requestDocument(uri, {
    what: "the JWK Set",
    accept: "application/jwk-set+json, application/json",
    signal,
    onConnect,
  });
  return { keys: keysOf(body), maxAgeMs };
}

function keysOf(body: string): JwkSet["keys"] {
  const set: unknown = JSON.parse(body);
  if (!isObject(set) || !Array.isArray(set["keys"]))
    throw new Error("the answer is not a JWK Set: no array `keys`");
  const keys: unknown[] = set["keys"];
  if (keys.length > maxKeys) throw new Error(`the JWK Set has more than ${maxKeys} keys`);
  if (!keys.every(isJwk)) throw new Error("the answer is not a JWK Set: a key has no `kty`");
  return keys;
}

function isJwk(value: unknown): value is Record<string, unknown> {
  return isObject(value) && typeof value["kty"] === "string";
}
