// Asks an introspection endpoint (RFC 7662 section 2) about a token, by oauth4webapi, with what that leaves to its caller: bounds
// for time and size, no redirects, and errors in which nothing stands that the endpoint wrote.
import { kindOf, TokenFailure } from "../client/renewed-token.ts";
import { isObject } from "../middleware/authentication/jwt/json-object.ts";
import { clientAuth } from "./client-auth.ts";
import type { IntrospectionServer } from "./introspection-server.ts";
import type { OAuthClient } from "./oauth-client.ts";
import { oauth4webapi } from "./oauth4webapi.ts";
import { NotStrictJson, parseStrictJson } from "./strict-json.ts";
import { type Answered, postForm, TooLarge } from "./token-http.ts";

/** Why nothing is known of a token. Its message holds no text that the endpoint wrote, and no part of a token or a secret. */
export class IntrospectionFailure extends Error {
  override readonly name: string = "IntrospectionFailure";
  /** Will it last until somebody changes the configuration? */
  readonly isLasting: boolean;

  constructor(message: string, { isLasting = false }: { readonly isLasting?: boolean } = {}) {
    super(message);
    this.isLasting = isLasting;
  }
}

export type IntrospectionAnswer = Readonly<Record<string, unknown>>;

/** Rejects with `IntrospectionFailure` for everything but an answer whose `active` is true or false. */
export type Introspect = (token: string, signal: AbortSignal) => Promise<IntrospectionAnswer>;

/** Ten thousand answers are kept. */
export const maxIntrospectionBytes = 65_536;

/** @throws {ConfigError} where the client's key is none, or oauth4webapi is not installed. */
export function introspectionEndpoint(
  where: string,
  { server, client: registered }: { readonly server: IntrospectionServer; readonly client: OAuthClient },
): Introspect {
  const oauth = oauth4webapi();
  const authenticate = clientAuth(where, registered);
  const client = { client_id: registered.id };

  return async (token, signal) => {
    let answered: Answered | undefined;
    try {
      const found = await server.find();
      const response = await oauth.introspectionRequest(found, client, await authenticate(), token, {
        // RFC 7662 section 2.1.
        additionalParameters: { token_type_hint: "access_token" },
        // Where http is allowed was checked: on this machine alone.
        [oauth.allowInsecureRequests]: true,
        [oauth.customFetch]: async (url, { headers, body }) => {
          answered = await postForm(new URL(url), { headers, body, signal });
          return checkedResponse(answered);
        },
      });
      const answer = await oauth.processIntrospectionResponse(found, client, response);
      return Object.hasOwn(answer, "error") ? malformed("it has a member error") : answer;
    } catch (error) {
      throw failureOf(error, { answered, timedOut: signal.aborted });
    }
  };
}

/** As oauth4webapi reads it, which looks at less. */
function checkedResponse({ status, contentType = "", body }: Answered): Response {
  if (status !== 200) return new Response(null, { status: status < 200 || status > 599 ? 500 : status });
  const type = contentType.split(";", 1)[0]?.trim().toLowerCase();
  if (type === "application/token-introspection+jwt")
    throw new IntrospectionFailure(
      "the introspection endpoint answers with a signed token (RFC 9701), which is not supported; have it answer application/json",
      { isLasting: true },
    );
  if (type !== "application/json") malformed("its content type is not application/json");
  if (body.length > maxIntrospectionBytes) throw new TooLarge();
  // Of a name that stands twice oauth4webapi takes the last.
  if (!isObject(parseStrictJson(body))) malformed("it is not an object");
  return new Response(body, { headers: { "content-type": "application/json" } });
}

function malformed(why: string): never {
  throw new IntrospectionFailure(`the introspection endpoint's answer is malformed: ${why}`);
}

interface Attempt {
  readonly answered: Answered | undefined;
  readonly timedOut: boolean;
}

function failureOf(error: unknown, { answered, timedOut }: Attempt): IntrospectionFailure {
  if (error instanceof IntrospectionFailure) return error;
  // Of the metadata.
  if (error instanceof TokenFailure) return new IntrospectionFailure(error.message);
  if (error instanceof TooLarge)
    return new IntrospectionFailure(
      `the introspection endpoint answered with more than ${maxIntrospectionBytes} bytes`,
    );
  if (error instanceof NotStrictJson)
    return new IntrospectionFailure(`the introspection endpoint's answer is malformed: ${error.message}`);
  if (answered !== undefined && answered.status !== 200) return refusedBy(answered);
  if (answered !== undefined)
    return new IntrospectionFailure(
      "the introspection endpoint's answer is malformed: active is neither true nor false",
    );
  return new IntrospectionFailure(
    timedOut
      ? "the introspection endpoint did not answer in time"
      : `the introspection endpoint could not be asked: ${kindOf(error)}`,
  );
}

function refusedBy({ status }: Answered): IntrospectionFailure {
  if (status === 401 || status === 403)
    return new IntrospectionFailure(
      `the introspection endpoint refused this service's own client (HTTP ${status}): check client.id, client.secret or client.privateKey, client.method, and that this client may introspect tokens`,
      { isLasting: true },
    );
  const redirect = status >= 300 && status < 400 ? ", a redirect, which is not followed" : "";
  return new IntrospectionFailure(`the introspection endpoint answered HTTP ${status}${redirect}`);
}
