// Where an endpoint of an authorization server is: given, or read from the issuer's metadata (OpenID Connect Discovery 1.0
// section 4, then RFC 8414 section 3), from the issuer's host alone.

import { kindOf, TokenFailure } from "../client/renewed-token.ts";
import { isLoopbackTarget } from "../config/loopback.ts";
import { ConfigError } from "../grpc/errors.ts";
import { RefusedRequest, requestDocument } from "../middleware/authentication/jwt/issuer-request.ts";
import type { AuthorizationServer } from "./oauth4webapi.ts";

export type FindServer = (signal: AbortSignal) => Promise<AuthorizationServer>;

/** How long metadata is believed. */
const maxAgeMs = 3_600_000;

/** @throws {ConfigError} where neither or both are given, or one is not an https URL (http only to this machine). */
export function tokenServer(
  where: string,
  {
    issuer,
    tokenEndpoint,
  }: { readonly issuer?: string | undefined; readonly tokenEndpoint?: string | undefined },
): FindServer {
  if ((issuer === undefined) === (tokenEndpoint === undefined))
    throw new ConfigError(`${where}: expected either issuer or tokenEndpoint`);
  if (tokenEndpoint !== undefined) {
    const { href } = checkedUrl(tokenEndpoint, `${where}.tokenEndpoint`);
    const server: AuthorizationServer = { issuer: href, token_endpoint: href };
    return async () => server;
  }
  return discovered(issuer ?? "", checkedUrl(issuer ?? "", `${where}.issuer`));
}

function discovered(issuer: string, url: URL): FindServer {
  let last: { readonly server: AuthorizationServer; readonly readAt: number } | undefined;
  return async (signal) => {
    const now = performance.now();
    if (last !== undefined && now - last.readAt < maxAgeMs) return last.server;
    const server = await discoverServer(issuer, url, { endpoint: "token_endpoint", signal });
    last = { server, readAt: now };
    return server;
  };
}

export interface Discovery {
  /** The member of the metadata that is needed, besides `issuer`. */
  readonly endpoint: "token_endpoint" | "introspection_endpoint";
  readonly signal: AbortSignal;
}

/** Rejects where the issuer's metadata cannot be read, is another's, or names no such endpoint. */
export async function discoverServer(
  issuer: string,
  url: URL,
  { endpoint, signal }: Discovery,
): Promise<AuthorizationServer> {
  const path = url.pathname.replace(/\/$/, "");
  const openId = new URL(`${url.origin}${path}/.well-known/openid-configuration`);
  const oauth = new URL(`${url.origin}/.well-known/oauth-authorization-server${path}`);
  const body = await read(openId, signal)
    .catch((error: unknown) => {
      if (error instanceof RefusedRequest && error.statusCode === 404) return read(oauth, signal);
      throw error;
    })
    .catch((error: unknown) => {
      // Whoever set the time limit says that it is over.
      if (signal.aborted) throw error;
      const why = error instanceof RefusedRequest ? `HTTP ${error.statusCode}` : kindOf(error);
      throw new TokenFailure(`the issuer's metadata could not be read: ${why}`);
    });
  return serverIn(body, issuer, endpoint);
}

async function read(url: URL, signal: AbortSignal): Promise<string> {
  return (await requestDocument(url, { what: "the metadata", accept: "application/json", signal })).body;
}

function serverIn(body: string, issuer: string, name: Discovery["endpoint"]): AuthorizationServer {
  let found: unknown;
  try {
    found = JSON.parse(body);
  } catch {
    throw new TokenFailure("the issuer's metadata is not JSON");
  }
  const member = (name: string): unknown =>
    typeof found === "object" && found !== null ? Reflect.get(found, name) : undefined;
  // OpenID Connect Discovery section 4.3, RFC 8414 section 3.3.
  if (member("issuer") !== issuer)
    throw new TokenFailure(
      "the issuer's metadata is of another issuer; give issuer exactly as it stands in the metadata",
    );
  const endpoint = member(name);
  const problem = typeof endpoint === "string" ? urlProblem(endpoint) : "it is missing";
  if (typeof endpoint !== "string" || problem !== undefined)
    throw new TokenFailure(`the issuer's metadata has no ${name} that is an https URL`);
  // An issuer on another machine says nothing of this one.
  if (endpoint.startsWith("http:") && !issuer.startsWith("http:"))
    throw new TokenFailure(`the issuer's metadata has no ${name} that is an https URL`);
  return { issuer, [name]: endpoint };
}

/** @throws {ConfigError} where it is not an https URL (http only to this machine). */
export function checkedUrl(text: string, option: string): URL {
  const problem = urlProblem(text);
  if (problem !== undefined) throw new ConfigError(`${option}: ${problem}`);
  return new URL(text);
}

/** The request carries a client's secret: https, and http only where it never leaves the machine. */
function urlProblem(text: string): string | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined) return "expected an absolute https URL";
  if (url.username !== "" || url.password !== "") return "expected a URL without credentials";
  if (url.hash !== "") return "expected a URL without a fragment";
  if (url.protocol === "https:") return undefined;
  if (url.protocol === "http:" && isLoopbackTarget(url.hostname)) return undefined;
  return "expected https (http only to a loopback address)";
}
