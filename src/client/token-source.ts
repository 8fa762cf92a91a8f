// A renewed token as a credential source: `authorization: Bearer …` (RFC 6750 section 2.1).
import type { Logger } from "pino";
import { tokenFailures } from "./credential-failures.ts";
import type { CredentialRequest, CredentialSource } from "./credential-source.ts";
import { type FetchedToken, RenewedToken } from "./renewed-token.ts";

export interface TokenSourceOptions {
  /** The source's name in errors and log lines. */
  readonly name: string;
  readonly timeoutMs: number;
  readonly logger: Logger | false | undefined;
}

/** One token for all calls. */
export function tokenSource(
  options: TokenSourceOptions,
  fetch: (signal: AbortSignal) => Promise<FetchedToken>,
): CredentialSource {
  const token = renewedTokens(options)(fetch);
  return {
    name: options.name,
    getCredentials() {
      const current = token.get();
      return typeof current === "string" ? bearerHeader(current) : current.then(bearerHeader);
    },
    renew: () => token.renew(),
  };
}

/** A token for each key: `keyOf` says which one a call needs, and how it is fetched. */
export function keyedTokenSource(
  options: TokenSourceOptions & { readonly maxEntries: number },
  keyOf: (call: CredentialRequest) => Promise<KeyedFetch>,
): CredentialSource {
  const make = renewedTokens(options);
  /** The one that was used last comes last. */
  const tokens = new Map<string, RenewedToken>();
  return {
    name: options.name,
    async getCredentials(call) {
      const { key, fetch } = await keyOf(call);
      const token = tokens.get(key) ?? make(fetch);
      tokens.delete(key);
      tokens.set(key, token);
      if (tokens.size > options.maxEntries) {
        const [longestUnused] = tokens.keys();
        if (longestUnused !== undefined) tokens.delete(longestUnused);
      }
      return bearerHeader(await token.get());
    },
    renew: () => {
      for (const token of tokens.values()) token.renew();
    },
  };
}

export interface KeyedFetch {
  readonly key: string;
  /** Used where the key is new: the same key means the same token. */
  fetch(signal: AbortSignal): Promise<FetchedToken>;
}

function renewedTokens({ name, timeoutMs, logger }: TokenSourceOptions) {
  const say = tokenFailures(logger);
  return (fetch: (signal: AbortSignal) => Promise<FetchedToken>): RenewedToken => {
    const token: RenewedToken = new RenewedToken({
      timeoutMs,
      fetch,
      onFailure: ({ message }) => say(name, message, token.isUsable),
    });
    return token;
  };
}

function bearerHeader(token: string): Readonly<Record<string, string>> {
  return { authorization: `Bearer ${token}` };
}
