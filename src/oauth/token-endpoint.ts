// Asks a token endpoint (RFC 6749 section 3.2) for a token, by oauth4webapi, with what that leaves to its caller: a bound for
// the answer, no redirects, and errors in which nothing stands that the endpoint wrote.

import type { Logger } from "pino";
import { z } from "zod";
import { type FetchedToken, kindOf, TokenFailure } from "../client/renewed-token.ts";
import { loggerSchema } from "../config/logger-option.ts";
import { milliseconds } from "../config/options.ts";
import { clientAuth } from "./client-auth.ts";
import type { OAuthClient } from "./oauth-client.ts";
import { oauth4webapi } from "./oauth4webapi.ts";
import { type Answered, maxAnswerBytes, postForm, TooLarge } from "./token-http.ts";
import { tokenServer } from "./token-server.ts";

/** What every source of this kind takes. */
export interface TokenEndpointOptions {
  /**
   * The authorization server. Its token endpoint is read from its metadata (OpenID Connect Discovery, RFC 8414) with the first
   * call. An https URL, exactly as the metadata has it; http only on this machine. Either `issuer` or `tokenEndpoint` is given. Default: none.
   */
  readonly issuer?: string | undefined;
  /** The token endpoint itself: an https URL; http only on this machine. Either `issuer` or `tokenEndpoint` is given. Default: none. */
  readonly tokenEndpoint?: string | undefined;
  /** Who asks: `{ id, secret, method? }` or `{ id, privateKey, keyId? }`. */
  readonly client: OAuthClient;
  /** `scope` of the request (RFC 6749 section 3.3); a list is joined by spaces. Default: none. */
  readonly scope?: string | readonly string[] | undefined;
  /** `audience` of the request: Auth0, and RFC 8693. Default: none. */
  readonly audience?: string | readonly string[] | undefined;
  /** `resource` of the request (RFC 8707): URLs of the services that the token is for. Default: none. */
  readonly resource?: string | readonly string[] | undefined;
  /** How long one request may take, in milliseconds. Default: 10,000. */
  readonly timeoutMs?: number | undefined;
  /**
   * A pino logger for fetches that fail, at most once in 10 s, or `false` for none. Default: process warnings
   * (`PalisadeWarning`).
   */
  readonly logger?: Logger | false | undefined;
}

const text = z.string().min(1);
const texts: z.ZodOptional<z.ZodUnion<readonly [z.ZodString, z.ZodArray<z.ZodString>]>> = z
  .union([text, z.array(text).min(1)])
  .optional();

/** Schemas of `TokenEndpointOptions`, for the options that have more. */
export const endpointShape: {
  readonly issuer: z.ZodOptional<z.ZodString>;
  readonly tokenEndpoint: z.ZodOptional<z.ZodString>;
  readonly client: z.ZodType<OAuthClient, OAuthClient>;
  readonly scope: typeof texts;
  readonly audience: typeof texts;
  readonly resource: typeof texts;
  readonly timeoutMs: z.ZodDefault<z.ZodInt>;
  readonly logger: z.ZodOptional<z.ZodUnion<readonly [z.ZodType<Logger>, z.ZodLiteral<false>]>>;
} = {
  issuer: text.optional(),
  tokenEndpoint: text.optional(),
  // Checked in whole by clientAuth.
  client: z.custom<OAuthClient>((value) => typeof value === "object" && value !== null, {
    error: "expected { id, secret } or { id, privateKey }",
  }),
  scope: texts,
  audience: texts,
  resource: texts,
  timeoutMs: milliseconds.default(10_000),
  logger: z.union([loggerSchema, z.literal(false)]).optional(),
};

/** The options with their defaults. */
export interface TokenEndpointSettings extends TokenEndpointOptions {
  readonly timeoutMs: number;
}

export interface TokenAnswer extends FetchedToken {
  /** RFC 6749 section 6: it takes the place of the one that was used. */
  readonly refreshToken: string | undefined;
  /** RFC 8693 section 2.2.1. */
  readonly issuedTokenType: string | undefined;
}

export interface TokenRequest {
  readonly grantType: string;
  readonly parameters: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  /** RFC 8693 section 2.2.1: what is issued may be another token than an access token, `token_type` is `N_A` then. */
  readonly mayBeOtherToken?: boolean;
}

export type RequestToken = (request: TokenRequest) => Promise<TokenAnswer>;

/** @throws {ConfigError} where the options do not fit together, or oauth4webapi is not installed. */
export function tokenEndpoint(where: string, options: TokenEndpointSettings): RequestToken {
  const oauth = oauth4webapi();
  const findServer = tokenServer(where, options);
  const authenticate = clientAuth(where, options.client);
  const client = { client_id: options.client.id };
  const common = commonParameters(options);

  return async ({ grantType, parameters, signal, mayBeOtherToken = false }) => {
    const server = await findServer(signal);
    const form = new URLSearchParams([...common, ...Object.entries(parameters)]);
    let answered: Answered | undefined;
    try {
      const response = await oauth.genericTokenEndpointRequest(
        server,
        client,
        await authenticate(),
        grantType,
        form,
        {
          // Where http is allowed was checked: on this machine alone.
          [oauth.allowInsecureRequests]: true,
          [oauth.customFetch]: async (url, { headers, body }) => {
            answered = await postForm(new URL(url), { headers, body, signal });
            return responseOf(answered);
          },
        },
      );
      const answer = await oauth.processGenericTokenEndpointResponse(server, client, response, {
        // What is issued is sent as a bearer token all the same.
        recognizedTokenTypes: mayBeOtherToken ? { n_a: () => {} } : {},
      });
      // oauth4webapi lets DPoP pass too, and any name that every object has a member of.
      if (answer.token_type !== "bearer" && !(mayBeOtherToken && answer.token_type === "n_a"))
        throw new TokenFailure("the token_type is not bearer");
      const issued = answer["issued_token_type"];
      return {
        token: answer.access_token,
        lifeMs: answer.expires_in === undefined ? undefined : answer.expires_in * 1000,
        refreshToken: answer.refresh_token,
        issuedTokenType: typeof issued === "string" ? issued : undefined,
      };
    } catch (error) {
      throw failureOf(error, answered);
    }
  };
}

function commonParameters({ scope, audience, resource }: TokenEndpointOptions): [string, string][] {
  const list = (value: string | readonly string[] | undefined): readonly string[] =>
    value === undefined ? [] : [value].flat();
  const scopes = list(scope);
  return [
    ...(scopes.length === 0 ? [] : [["scope", scopes.join(" ")] satisfies [string, string]]),
    ...list(audience).map((value): [string, string] => ["audience", value]),
    ...list(resource).map((value): [string, string] => ["resource", value]),
  ];
}

/** As oauth4webapi reads it. An ID token that comes along is not used, and so is not there to be verified. */
function responseOf({ status, contentType, authenticate, body }: Answered): Response {
  const headers = new Headers();
  if (contentType !== undefined) headers.set("content-type", contentType);
  if (authenticate !== undefined) headers.set("www-authenticate", authenticate);
  return new Response(status === 200 ? withoutIdToken(body) : body, { status, headers });
}

function withoutIdToken(body: string): string {
  try {
    const answer: unknown = JSON.parse(body);
    if (typeof answer !== "object" || answer === null || !("id_token" in answer)) return body;
    const { id_token: _, ...rest } = answer;
    return JSON.stringify(rest);
  } catch {
    return body;
  }
}

/** RFC 6749 section 5.2, RFC 8707 section 2, RFC 6750 section 3.1. Any other word may be anything. */
const knownErrors: ReadonlySet<unknown> = new Set([
  "invalid_request",
  "invalid_client",
  "invalid_grant",
  "unauthorized_client",
  "unsupported_grant_type",
  "invalid_scope",
  "invalid_target",
  "access_denied",
  "server_error",
  "temporarily_unavailable",
  "slow_down",
]);

function failureOf(error: unknown, answered: Answered | undefined): TokenFailure {
  if (error instanceof TokenFailure) return error;
  if (error instanceof TooLarge)
    return new TokenFailure(`the token endpoint answered with more than ${maxAnswerBytes} bytes`);
  if (answered === undefined)
    return new TokenFailure(`the token endpoint could not be asked: ${kindOf(error)}`);
  const { status } = answered;
  if (status !== 200) {
    const code = errorIn(answered.body);
    const why = code === undefined ? "" : ` (${code})`;
    const redirect = status >= 300 && status < 400 ? ", a redirect, which is not followed" : "";
    return new TokenFailure(`the token endpoint answered HTTP ${status}${why}${redirect}`, {
      retryAfterMs: retryAfterMs(answered.retryAfter),
    });
  }
  return new TokenFailure(
    `the token endpoint's answer is not one: ${problems.get(codeOf(error)) ?? "it is malformed"}`,
  );
}

const problems: ReadonlyMap<unknown, string> = new Map([
  ["OAUTH_RESPONSE_IS_NOT_JSON", "it is not JSON"],
  ["OAUTH_PARSE_ERROR", "it is not JSON"],
  ["OAUTH_INVALID_RESPONSE", "a member is missing or of another type"],
  ["OAUTH_UNSUPPORTED_OPERATION", "the token_type is not bearer"],
]);

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}

function errorIn(body: string): string | undefined {
  try {
    const answer: unknown = JSON.parse(body);
    const code: unknown =
      typeof answer === "object" && answer !== null ? Reflect.get(answer, "error") : undefined;
    return typeof code === "string" && knownErrors.has(code) ? code : undefined;
  } catch {
    return undefined;
  }
}

/** RFC 9110 section 10.2.3: seconds, or a date. */
function retryAfterMs(value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const ms = /^\d{1,9}$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isFinite(ms) && ms > 0 ? ms : undefined;
}
