// Where the introspection endpoint is: given, or read from the issuer's metadata, once for all who wait.
import { ConfigError } from "../grpc/errors.ts";
import type { AuthorizationServer } from "./oauth4webapi.ts";
import { checkedUrl, discoverServer } from "./token-server.ts";

export interface IntrospectionServer {
  /** What it is called in the log. */
  readonly place: string;
  /** Rejects where the metadata is needed and cannot be read. */
  find(): AuthorizationServer | Promise<AuthorizationServer>;
}

export interface IntrospectionServerOptions {
  readonly issuer: string | undefined;
  readonly endpoint: string | undefined;
  /** For the metadata, in milliseconds. */
  readonly timeoutMs: number;
}

/** After this time the metadata is read again, while calls go on with what is known. */
const maxAgeMs = 3_600_000;
/** Known metadata that cannot be read again serves for this long: the endpoint still answers for itself. */
const maxStaleMs = 86_400_000;
const retryMs = 10_000;

/** @throws {ConfigError} where neither is given, or one is not an https URL (http only to this machine). */
export function introspectionServer(
  where: string,
  { issuer, endpoint, timeoutMs }: IntrospectionServerOptions,
): IntrospectionServer {
  if (endpoint !== undefined) {
    const { href } = checkedUrl(endpoint, `${where}.endpoint`);
    const server: AuthorizationServer = { issuer: issuer ?? href, introspection_endpoint: href };
    return { place: href, find: () => server };
  }
  if (issuer === undefined) throw new ConfigError(`${where}: expected issuer or endpoint`);
  const url = checkedUrl(issuer, `${where}.issuer`);
  return new DiscoveredServer(issuer, () =>
    discoverServer(issuer, url, {
      endpoint: "introspection_endpoint",
      signal: AbortSignal.timeout(timeoutMs),
    }),
  );
}

class DiscoveredServer implements IntrospectionServer {
  readonly place: string;
  readonly #discover: () => Promise<AuthorizationServer>;
  #known: { readonly server: AuthorizationServer; readonly readAt: number } | undefined = undefined;
  #pending: Promise<AuthorizationServer> | undefined = undefined;
  #failedAt: number = Number.NEGATIVE_INFINITY;

  constructor(issuer: string, discover: () => Promise<AuthorizationServer>) {
    this.place = issuer;
    this.#discover = discover;
  }

  find(): AuthorizationServer | Promise<AuthorizationServer> {
    const now = performance.now();
    const known = this.#known;
    if (known === undefined || now - known.readAt >= maxStaleMs) return this.#read();
    if (now - known.readAt >= maxAgeMs && now - this.#failedAt >= retryMs) this.#read().catch(() => {});
    return known.server;
  }

  #read(): Promise<AuthorizationServer> {
    this.#pending ??= this.#discover()
      .then(
        (server) => {
          this.#known = { server, readAt: performance.now() };
          return server;
        },
        (error: unknown) => {
          this.#failedAt = performance.now();
          throw error;
        },
      )
      .finally(() => {
        this.#pending = undefined;
      });
    return this.#pending;
  }
}
