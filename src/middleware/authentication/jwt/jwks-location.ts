/**
 * Where an issuer publishes its keys: fixed, or read from the issuer's own metadata (OpenID Connect Discovery 1.0 section 4,
 * then RFC 8414 section 3).
 *
 * The metadata is read from the issuer's host alone, without redirects, and its `issuer` must be the configured one exactly
 * (OpenID Connect Discovery section 4.3): otherwise one tenant of a provider could speak for another. Its `jwks_uri` may be
 * on another host, as Google's is.
 */

import { isLoopbackTarget } from "../../../config/loopback.ts";
import { ConfigError } from "../../../grpc/errors.ts";
import { maxTextLength, redactSecrets } from "../../../observability/redaction.ts";
import { RefusedRequest, requestDocument } from "./issuer-request.ts";
import { isObject } from "./json-object.ts";
import { shownClaim } from "./token-claims.ts";

export interface FoundLocation {
  readonly uri: URL;
  /** Was it read before, by another request? */
  readonly isRemembered: boolean;
}

export interface JwksLocation {
  /** For errors and the log, without a query, which may hold a secret. */
  readonly place: string;
  /** `anew`: what the issuer says now, where it can be asked. Rejects where nothing is known. */
  find(asked: { readonly signal: AbortSignal; readonly anew: boolean }): Promise<FoundLocation>;
  /** The keys were not at a remembered place: it is to be read again. */
  forget(): void;
}

/** How long `jwks_uri` is believed. Issuers hardly ever change it. */
const maxAgeMs = 3_600_000;
/** For reading it again. The rest of the time is for the keys, which may be where they were. */
const rereadTimeoutMs = 1_500;

/** @throws {ConfigError} where it is not an https URL (http only to this machine). */
export function fixedLocation(jwksUri: string): JwksLocation {
  const uri = checkedUrl(jwksUri, "jwt.jwksUri");
  const found = Promise.resolve({ uri, isRemembered: false });
  return { place: placeOf(uri), find: () => found, forget: () => {} };
}

/** @throws {ConfigError} where the issuer is not a URL that metadata can be read from. */
export function discoveredLocation(issuer: string): JwksLocation {
  const why = "; its metadata is read from there, unless jwksUri or keys is given";
  const url = checkedUrl(issuer, "jwt.issuer", why);
  // OpenID Connect Discovery section 2 and RFC 8414 section 2 allow no query and no fragment. What URL parsers change, such as
  // white space and dot segments, would have the metadata read elsewhere than the text says.
  if (
    !/^https?:\/\/[^\s/\\@?#]+(?:\/[^\s\\?#]*)?$/i.test(issuer) ||
    /\/(?:\.|%2e){1,2}(?:\/|$)/i.test(issuer)
  )
    throw new ConfigError(
      `jwt.issuer: expected a URL without query, fragment, spaces and dot segments${why}`,
    );
  return new DiscoveredLocation(issuer, url);
}

/** The issuer's metadata is there, and wrong: nothing that it said before stands in for it. */
class WrongMetadata extends Error {}

class DiscoveredLocation implements JwksLocation {
  readonly place: string;
  readonly #issuer: string;
  readonly #url: URL;
  #last: { readonly uri: URL; readonly readAt: number } | undefined = undefined;

  constructor(issuer: string, url: URL) {
    this.place = placeOf(url);
    this.#issuer = issuer;
    this.#url = url;
  }

  async find({ signal, anew }: { signal: AbortSignal; anew: boolean }): Promise<FoundLocation> {
    const last = this.#last;
    const readAt = performance.now();
    if (last === undefined) {
      const uri = await this.#discover(signal);
      this.#last = { uri, readAt };
      return { uri, isRemembered: false };
    }
    if (!anew && readAt - last.readAt < maxAgeMs) return { uri: last.uri, isRemembered: true };
    try {
      const uri = await this.#discover(AbortSignal.any([signal, AbortSignal.timeout(rereadTimeoutMs)]));
      this.#last = { uri, readAt };
      return { uri, isRemembered: false };
    } catch (error) {
      if (error instanceof WrongMetadata) throw error;
      // Its metadata is away. Its keys need not be.
      return { uri: last.uri, isRemembered: false };
    }
  }

  forget(): void {
    if (this.#last !== undefined) this.#last = { ...this.#last, readAt: Number.NEGATIVE_INFINITY };
  }

  /** Only where the first document is not there the second is looked for: one that is wrong is an answer. */
  async #discover(signal: AbortSignal): Promise<URL> {
    const { origin, pathname } = this.#url;
    const path = pathname.replace(/\/$/, "");
    const first = new URL(`${origin}${path}/.well-known/openid-configuration`);
    try {
      return await this.#read(first, signal);
    } catch (error) {
      if (!(error instanceof RefusedRequest) || error.statusCode !== 404) throw error;
    }
    return this.#read(new URL(`${origin}/.well-known/oauth-authorization-server${path}`), signal);
  }

  async #read(url: URL, signal: AbortSignal): Promise<URL> {
    const what = `the metadata at ${url}`;
    const { body } = await requestDocument(url, { what, accept: "application/json", signal });
    try {
      return jwksUriIn(body, this.#issuer);
    } catch (error) {
      throw new WrongMetadata(`${what} ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}

/** The `jwks_uri` of an issuer's metadata. Throws, with what is wrong with the document. */
export function jwksUriIn(body: string, configuredIssuer: string): URL {
  const { issuer, jwks_uri: jwksUri } = objectIn(body);
  if (issuer !== configuredIssuer)
    throw new Error(
      `is of the issuer ${shownIssuer(issuer)}, not ${JSON.stringify(configuredIssuer)}; give issuer as the metadata has it`,
    );
  if (typeof jwksUri !== "string" || !URL.canParse(jwksUri)) throw new Error("has no jwks_uri that is a URL");
  const uri = new URL(jwksUri);
  // An issuer on another machine says nothing of this one.
  const isHere = new URL(configuredIssuer).protocol === "http:";
  const problem = uri.protocol === "http:" && !isHere ? "expected https" : problemOf(uri);
  if (problem !== undefined) throw new Error(`has the jwks_uri ${placeOf(uri)}: ${problem}`);
  return uri;
}

/** Anything may stand there. What looks like a secret goes before the text is cut, which may leave half of one. */
function shownIssuer(value: unknown): string {
  return shownClaim(typeof value === "string" ? redactSecrets(value, maxTextLength) : value);
}

function objectIn(body: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    throw new Error("is not JSON");
  }
  if (!isObject(value)) throw new Error("is not a JSON object");
  return value;
}

function placeOf({ protocol, host, pathname }: URL): string {
  return `${protocol}//${host}${pathname}`;
}

function checkedUrl(text: string, option: string, why = ""): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const problem = url === undefined ? "expected an absolute https URL" : problemOf(url);
  if (url === undefined || problem !== undefined) throw new ConfigError(`${option}: ${problem}${why}`);
  return url;
}

/** Whoever can change the answer can sign tokens: https, and http only where it never leaves the machine. */
function problemOf(url: URL): string | undefined {
  if (url.username !== "" || url.password !== "") return "expected a URL without credentials";
  if (url.protocol === "https:") return undefined;
  if (url.protocol === "http:" && isLoopbackTarget(url.hostname)) return undefined;
  return "expected https (http only to a loopback address)";
}
