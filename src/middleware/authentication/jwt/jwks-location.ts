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
import { RefusedRequest, requestDocument } from "./issuer-request.ts";
import { isObject } from "./json-object.ts";
import { shownClaim } from "./token-claims.ts";

export interface JwksLocation {
  /** For errors and the log, without a query, which may hold a secret. */
  readonly place: string;
  /** Rejects where the issuer does not say it. */
  find(signal: AbortSignal): Promise<URL>;
  /** The keys could not be fetched from there. */
  forget(): void;
}

/** How long `jwks_uri` is believed. Issuers hardly ever change it, and a failed request for the keys ends it too. */
const maxAgeMs = 3_600_000;

/** @throws {ConfigError} where it is not an https URL (http only to this machine). */
export function fixedLocation(jwksUri: string): JwksLocation {
  const uri = checkedUrl(jwksUri, "jwt.jwksUri");
  return { place: `${uri.origin}${uri.pathname}`, find: () => Promise.resolve(uri), forget: () => {} };
}

/** @throws {ConfigError} where the issuer is not a URL that metadata can be read from. */
export function discoveredLocation(issuer: string): JwksLocation {
  const url = checkedUrl(
    issuer,
    "jwt.issuer",
    "; its metadata is read from there, unless jwksUri or keys is given",
  );
  // OpenID Connect Discovery section 2, RFC 8414 section 2.
  if (/[?#]/.test(issuer)) throw new ConfigError("jwt.issuer: expected a URL without query and fragment");
  return new DiscoveredLocation(issuer, url);
}

class DiscoveredLocation implements JwksLocation {
  readonly place: string;
  readonly #issuer: string;
  readonly #url: URL;
  #found: { readonly uri: URL; readonly at: number } | undefined = undefined;

  constructor(issuer: string, url: URL) {
    this.place = `${url.origin}${url.pathname}`;
    this.#issuer = issuer;
    this.#url = url;
  }

  async find(signal: AbortSignal): Promise<URL> {
    const found = this.#found;
    if (found !== undefined && performance.now() - found.at < maxAgeMs) return found.uri;
    const at = performance.now();
    const uri = await this.#discover(signal);
    this.#found = { uri, at };
    return uri;
  }

  forget(): void {
    this.#found = undefined;
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
    const metadata = objectIn(body, what);
    const { issuer, jwks_uri: jwksUri } = metadata;
    if (issuer !== this.#issuer)
      throw new Error(`${what} is of the issuer ${shownClaim(issuer)}, not ${JSON.stringify(this.#issuer)}`);
    if (typeof jwksUri !== "string") throw new Error(`${what} has no jwks_uri`);
    const uri = URL.canParse(jwksUri) ? new URL(jwksUri) : undefined;
    if (uri === undefined || problemOf(uri, this.#url.protocol === "http:") !== undefined)
      throw new Error(`${what} has a jwks_uri that is not an https URL: ${shownClaim(jwksUri)}`);
    return uri;
  }
}

function objectIn(body: string, what: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch (cause) {
    throw new Error(`${what} is not JSON`, { cause });
  }
  if (!isObject(value)) throw new Error(`${what} is not a JSON object`);
  return value;
}

function checkedUrl(text: string, option: string, why = ""): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const problem = url === undefined ? "expected an absolute https URL" : problemOf(url, true);
  if (url === undefined || problem !== undefined) throw new ConfigError(`${option}: ${problem}${why}`);
  return url;
}

/** Whoever can change the answer can sign tokens: https, and http only where it never leaves the machine. */
function problemOf(url: URL, loopback: boolean): string | undefined {
  if (url.username !== "" || url.password !== "") return "expected a URL without credentials";
  if (url.protocol === "https:") return undefined;
  if (loopback && url.protocol === "http:" && isLoopbackTarget(url.hostname)) return undefined;
  return "expected https (http only to a loopback address)";
}
