// tokenExchange: a token for a token (RFC 8693), of the caller for whom a call is made, or of the service itself.
import { createHash } from "node:crypto";
import { status } from "@grpc/grpc-js";
import { z } from "zod";
import { type BearerTokenSource, bearerToken } from "../client/bearer-token.ts";
import {
  type CredentialRequest,
  type CredentialSource,
  isCredentialSource,
} from "../client/credential-source.ts";
import { type FetchedToken, TokenFailure } from "../client/renewed-token.ts";
import { secretProblem } from "../client/secret-text.ts";
import { keyedTokenSource } from "../client/token-source.ts";
import { parseOptions } from "../config/options.ts";
import { StatusError } from "../grpc/errors.ts";
import {
  endpointShape,
  type TokenEndpointOptions,
  type TokenEndpointSettings,
  tokenEndpoint,
} from "./token-endpoint.ts";

/**
 * Where a token to exchange comes from: itself, a file, another source such as `clientCredentials(…)`, or a function, which is
 * asked for each call: `callerToken` for the caller's.
 */
export type ExchangedToken =
  | string
  | { readonly file: string }
  | CredentialSource
  | ((call: CredentialRequest) => string | Promise<string>);

export interface TokenExchangeOptions extends TokenEndpointOptions {
  /** On whose behalf: `subject_token`. */
  readonly subjectToken: ExchangedToken;
  /** What kind of token that is (RFC 8693 section 3). Default: `"urn:ietf:params:oauth:token-type:access_token"`. */
  readonly subjectTokenType?: string | undefined;
  /** Who acts: `actor_token`. Default: none. */
  readonly actorToken?: ExchangedToken | undefined;
  /** What kind of token `actorToken` is. Default: `"urn:ietf:params:oauth:token-type:access_token"`. */
  readonly actorTokenType?: string | undefined;
  /** What kind of token is wanted; another one is refused. Default: none. */
  readonly requestedTokenType?: string | undefined;
  /** For how many subjects tokens are kept at a time, 1 to 1,000,000; then those that were not used for the longest time go. Default: 1,000. */
  readonly maxEntries?: number | undefined;
}

interface TokenExchangeSettings extends TokenEndpointSettings {
  readonly subjectToken: ExchangedToken;
  readonly subjectTokenType: string;
  readonly actorToken?: ExchangedToken | undefined;
  readonly actorTokenType: string;
  readonly requestedTokenType?: string | undefined;
  readonly maxEntries: number;
}

const accessToken = "urn:ietf:params:oauth:token-type:access_token";
const tokenType = z.string().regex(/^[a-z][a-z0-9+.-]*:[\x21-\x7e]+$/i, {
  error: `expected a URI, such as "${accessToken}"`,
});
const exchanged = z.custom<ExchangedToken>(isExchangedToken, {
  error: "expected a token, { file }, a credential source or a function, such as callerToken",
});

export const tokenExchangeSchema: z.ZodType<TokenExchangeSettings> = z.strictObject({
  ...endpointShape,
  subjectToken: exchanged,
  subjectTokenType: tokenType.default(accessToken),
  actorToken: exchanged.optional(),
  actorTokenType: tokenType.default(accessToken),
  requestedTokenType: tokenType.optional(),
  maxEntries: z.int().min(1).max(1_000_000).default(1_000),
});

function isExchangedToken(value: unknown): boolean {
  if (typeof value === "string") return value !== "";
  if (typeof value === "function" || isCredentialSource(value)) return true;
  return typeof value === "object" && value !== null && "file" in value;
}

const grantType = "urn:ietf:params:oauth:grant-type:token-exchange";

/**
 * Sends a token that the authorization server gives for another one: within a handler with `subjectToken: callerToken`, one that
 * speaks for the caller to the next service alone.
 *
 * A token is kept for the subject token (and the actor token) that it was given for, and goes with calls of the same one
 * only: callers who bring different tokens never share one. Fetched, renewed and sent as with `clientCredentials`.
 *
 * @throws ConfigError where an option is wrong or oauth4webapi is not installed; tokens and secrets are never shown
 * @example
 * tokenExchange({
 *   issuer: "https://id.example",
 *   client: { id: "orders", secret: process.env.CLIENT_SECRET },
 *   subjectToken: callerToken,
 *   audience: "billing",
 * });
 */
export function tokenExchange(options: TokenExchangeOptions): CredentialSource {
  const where = "tokenExchange";
  const settings = parseOptions(tokenExchangeSchema, options, where);
  const { timeoutMs, logger, maxEntries, subjectTokenType, actorTokenType, requestedTokenType } = settings;
  const request = tokenEndpoint(where, settings);
  const subjectOf = reader(`${where}.subjectToken`, settings.subjectToken);
  const actorOf =
    settings.actorToken === undefined ? undefined : reader(`${where}.actorToken`, settings.actorToken);

  return keyedTokenSource({ name: "token-exchange", timeoutMs, logger, maxEntries }, async (call) => {
    const [subject, actor] = await Promise.all([subjectOf(call), actorOf?.(call)]);
    const parameters = {
      subject_token: subject,
      subject_token_type: subjectTokenType,
      ...(actor === undefined ? {} : { actor_token: actor, actor_token_type: actorTokenType }),
      ...(requestedTokenType === undefined ? {} : { requested_token_type: requestedTokenType }),
    };
    return {
      key: keyOf(subject, actor),
      async fetch(signal: AbortSignal): Promise<FetchedToken> {
        const mayBeOtherToken = requestedTokenType !== undefined && requestedTokenType !== accessToken;
        const answer = await request({ grantType, parameters, signal, mayBeOtherToken });
        if (
          requestedTokenType !== undefined &&
          (answer.issuedTokenType ?? requestedTokenType) !== requestedTokenType
        )
          throw new TokenFailure("the token endpoint gave a token of another type than requestedTokenType");
        return answer;
      },
    };
  });
}

/** A digest, so that no table of tokens lies in memory by name; a length, so that no two pairs run together to one. */
function keyOf(subject: string, actor: string | undefined): string {
  return createHash("sha256")
    .update(`${subject.length}:${subject}${actor ?? ""}`)
    .digest("base64url");
}

/** @throws {ConfigError} where the token cannot be sent. */
function reader(option: string, given: ExchangedToken): (call: CredentialRequest) => Promise<string> {
  if (typeof given === "function") return async (call) => checked(option, await given(call));
  const source = isCredentialSource(given) ? given : bearerToken(given as BearerTokenSource);
  return async (call) => {
    const headers = await source.getCredentials(call);
    const authorization = Object.entries(headers).find(
      ([name]) => name.toLowerCase() === "authorization",
    )?.[1];
    return checked(option, authorization?.replace(/^Bearer +/i, ""));
  };
}

function checked(option: string, token: unknown): string {
  const problem = secretProblem(token);
  if (problem !== undefined) throw new StatusError(status.UNAUTHENTICATED, `what ${option} gave ${problem}`);
  return String(token);
}
