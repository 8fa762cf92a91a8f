// Bearer tokens that only their authorization server can read: it is asked about each (RFC 7662).
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { z } from "zod";
import { type CallContext, ContextKey } from "../chain/context.ts";
import type { Identity } from "../chain/principal.ts";
import { isThenable } from "../chain/thenable.ts";
import { milliseconds, parseOptions } from "../config/options.ts";
import { QueueFull, RequestQueue } from "../config/request-queue.ts";
import { ConfigError, CredentialError } from "../grpc/errors.ts";
import {
  type Authenticator,
  needsCertificates,
  subscription,
} from "../middleware/authentication/authenticator.ts";
import { type BearerToken, bearerToken } from "../middleware/authentication/authorization-header.ts";
import { type CertificateBound, checkBinding } from "../middleware/authentication/jwt/certificate-binding.ts";
import {
  claimPathSchema,
  claimPathsSchema,
  pathOf,
  pathsOf,
} from "../middleware/authentication/jwt/claim-path.ts";
import { TokenCache } from "../middleware/authentication/jwt/token-cache.ts";
import { checkTimes } from "../middleware/authentication/jwt/token-claims.ts";
import {
  type RevocationList,
  refuseRevoked,
  revocationsSchema,
} from "../middleware/authentication/revocation/revocation-list.ts";
import { describeError } from "../observability/error-description.ts";
import { LogThrottle } from "../observability/log-throttle.ts";
import { type ActiveToken, type AnswerRules, readAnswer } from "./introspection-answer.ts";
import { type Introspect, IntrospectionFailure, introspectionEndpoint } from "./introspection-endpoint.ts";
import { introspectionServer } from "./introspection-server.ts";
import type { OAuthClient } from "./oauth-client.ts";
import { endpointShape } from "./token-endpoint.ts";

export interface IntrospectionOptions {
  /**
   * The authorization server. Where `endpoint` is not given, its `introspection_endpoint` is read from its metadata (OpenID
   * Connect Discovery, then RFC 8414) with the first token. An https URL, exactly as the metadata has it; http only to a
   * loopback address. An answer that names another `iss` refuses the token. Either `issuer` or `endpoint` is required. Default: none.
   */
  readonly issuer?: string | undefined;
  /** The introspection endpoint itself: an https URL; http only to a loopback address. Default: none. */
  readonly endpoint?: string | undefined;
  /** Who asks: `{ id, secret, method? }` or `{ id, privateKey, keyId? }`. It must be allowed to introspect. */
  readonly client: OAuthClient;
  /**
   * The name or names of this service, one of which must be in the answer's `aud`. Without it every active access token of
   * the server is accepted, those for other services included (RFC 7662 section 4), and the answer must have a
   * `token_type`. Default: none.
   */
  readonly audience?: string | readonly string[] | undefined;
  /** Which tokens are sent there. `"opaque"`: all but JSON Web Tokens, signed or encrypted. `"all"`: these too. Default: `"opaque"`. */
  readonly tokens?: "opaque" | "all" | undefined;
  /** Where in the answer to find what the principal needs, as in `jwt`. */
  readonly claims?:
    | {
        /** Who the token is about. Left out, it is `sub`, or `client_id` where there is no `sub`. Default: none. */
        readonly subject?: string | undefined;
        /** The principal's roles. Default: `roles`. */
        readonly roles?: string | readonly string[] | undefined;
        /** The principal's permissions; the scopes of RFC 7662 stand in `scope`. Default: `permissions`. */
        readonly permissions?: string | readonly string[] | undefined;
        /** The principal's tenant. Default: `tenant`. */
        readonly tenant?: string | undefined;
      }
    | undefined;
  /** Active tokens that need not be asked about again. Tokens that are not active are never kept. */
  readonly cache?:
    | {
        /** How many tokens are kept at most. Default: 10,000. */
        readonly maxEntries?: number | undefined;
        /**
         * How long an answer is used, in seconds from its request; never beyond its `exp`. A token that is revoked at the
         * server is accepted for that long. 0: the server is asked with each call. Default: 30.
         */
        readonly maxAgeSec?: number | undefined;
      }
    | undefined;
  /** Which tokens were revoked, asked with each call as in `jwt`: with the answer's `jti`, `iat` and the subject. Default: nobody is asked. */
  readonly revocations?: RevocationList | undefined;
  /** What to do with tokens that are bound to a client certificate (`cnf`), as in `jwt`. Default: `"if-present"`. */
  readonly certificateBound?: CertificateBound | undefined;
  /** How far the clocks may differ, for `exp` and `nbf`, in seconds; at most 300. Default: 5. */
  readonly clockToleranceSec?: number | undefined;
  /** Bounds of what is asked of the server. Calls beyond them end UNAVAILABLE. */
  readonly requests?:
    | {
        /** Requests at once; calls with the same token share one. Default: 32. */
        readonly maxConcurrent?: number | undefined;
        /** Tokens that wait until a request can be made. Default: 1,000. */
        readonly maxQueued?: number | undefined;
        /** How long a token waits for its answer, in milliseconds. Default: 4,000. */
        readonly timeoutMs?: number | undefined;
      }
    | undefined;
  /**
   * Ask in `listen()` about a token that does not exist, and fail there where that is not answered, so that a wrong URL or
   * secret is found when the server starts. Has no effect in `secureInterceptors`, which does not listen. Default: false.
   */
  readonly warmUp?: boolean | undefined;
}

/** The options with their defaults. */
interface IntrospectionSettings {
  readonly issuer?: string | undefined;
  readonly endpoint?: string | undefined;
  readonly client: OAuthClient;
  readonly audience?: string | readonly string[] | undefined;
  readonly tokens: "opaque" | "all";
  readonly claims: {
    readonly subject?: string | undefined;
    readonly roles: string | readonly string[];
    readonly permissions: string | readonly string[];
    readonly tenant: string;
  };
  readonly cache: { readonly maxEntries: number; readonly maxAgeSec: number };
  readonly revocations?: RevocationList | undefined;
  readonly certificateBound: CertificateBound;
  readonly clockToleranceSec: number;
  readonly requests: {
    readonly maxConcurrent: number;
    readonly maxQueued: number;
    readonly timeoutMs: number;
  };
  readonly warmUp: boolean;
}

const text = z.string().min(1, "expected a string that is not empty");

/** The shape of `introspection`'s options; the only place where its defaults stand. */
export const introspectionSchema: z.ZodType<IntrospectionSettings> = z.strictObject({
  issuer: text.optional(),
  endpoint: text.optional(),
  client: endpointShape.client,
  audience: z.union([text, z.array(text).min(1, "expected at least one audience")]).optional(),
  tokens: z.enum(["opaque", "all"]).default("opaque"),
  claims: z
    .strictObject({
      subject: claimPathSchema.optional(),
      roles: claimPathsSchema.default("roles"),
      permissions: claimPathsSchema.default("permissions"),
      tenant: claimPathSchema.default("tenant"),
    })
    .prefault({}),
  cache: z
    .strictObject({
      maxEntries: z.int().min(1).max(10_000_000).default(10_000),
      maxAgeSec: z.number().min(0).max(86_400).default(30),
    })
    .prefault({}),
  revocations: revocationsSchema,
  certificateBound: z.enum(["if-present", "require", "ignore"]).default("if-present"),
  clockToleranceSec: z.number().min(0).max(300).default(5),
  requests: z
    .strictObject({
      maxConcurrent: z.int().min(1).max(1_000).default(32),
      maxQueued: z.int().min(0).max(100_000).default(1_000),
      timeoutMs: milliseconds.default(4_000),
    })
    .prefault({}),
  warmUp: z.boolean().default(false),
});

/**
 * Verifies bearer tokens by asking their authorization server (RFC 7662), as one of its clients. The token must be `active`;
 * `exp`, `nbf`, `iss`, `aud` and `token_type` are checked where the answer has them, `aud` always where `audience` is given.
 *
 * Calls with the same token share one request, and its answer for `cache.maxAgeSec`. Everything that depends on the moment is
 * checked with each call: times, the client certificate, `revocations`. Where the server is away, refuses this client, or
 * answers anything that is not well-formed, calls end UNAVAILABLE, and nothing is counted against the caller. Answers that
 * are signed tokens (RFC 9701) are not supported.
 *
 * The principal's kind is `service` where the client is its own subject, else `user`. Without `exp` in the answer an open call
 * goes on until its deadline.
 *
 * Throws `ConfigError` for options that are wrong, and where oauth4webapi is not installed; secrets and keys are never shown.
 *
 * @example
 * introspection({
 *   issuer: "https://id.example",
 *   client: { id: "orders", secret: process.env.CLIENT_SECRET },
 *   audience: "orders",
 *   claims: { permissions: "scope" },
 * })
 */
export function introspection(options: IntrospectionOptions): Authenticator {
  const where = "introspection";
  const parsed = parseOptions(introspectionSchema, options, where);
  const { issuer, endpoint, client, audience, claims, cache, requests } = parsed;
  // Whoever names the issuer or an audience must not be without one because a variable is not set.
  for (const option of ["issuer", "endpoint", "audience"] as const)
    if (option in options && options[option] === undefined)
      throw new ConfigError(`${where}.${option}: is undefined; set the variable, or remove the option`);
  const server = introspectionServer(where, { issuer, endpoint, timeoutMs: requests.timeoutMs });
  return new IntrospectionAuthenticator({
    place: server.place,
    introspect: introspectionEndpoint(where, { server, client }),
    isForUs: parsed.tokens === "all" ? () => true : isOpaque,
    answer: {
      issuer,
      audiences: audience === undefined ? undefined : new Set([audience].flat()),
      clockToleranceSec: parsed.clockToleranceSec,
      certificateBound: parsed.certificateBound,
      paths: {
        subject: claims.subject === undefined ? undefined : pathOf(claims.subject),
        roles: pathsOf(claims.roles),
        permissions: pathsOf(claims.permissions),
        tenant: pathOf(claims.tenant),
      },
    },
    cache: cache.maxAgeSec === 0 ? undefined : new TokenCache(cache),
    queue: new RequestQueue(requests),
    timeoutMs: requests.timeoutMs,
    revocations: parsed.revocations,
    warmUp: parsed.warmUp,
    bindingRequired: parsed.certificateBound === "require",
  });
}

interface IntrospectionRules {
  /** The endpoint or the issuer, for the log. */
  readonly place: string;
  readonly introspect: Introspect;
  readonly isForUs: (token: string) => boolean;
  readonly answer: AnswerRules;
  readonly cache: TokenCache<ActiveToken> | undefined;
  readonly queue: RequestQueue;
  readonly timeoutMs: number;
  readonly revocations: RevocationList | undefined;
  readonly warmUp: boolean;
  readonly bindingRequired: boolean;
}

class IntrospectionAuthenticator implements Authenticator {
  readonly [needsCertificates]: string | undefined;
  readonly name = "introspection";
  readonly source = "metadata";
  readonly headers: readonly string[] = ["authorization"];
  readonly schemes: readonly string[] = ["introspection"];
  readonly actorSchemes: readonly string[] = [];
  readonly warmUp?: () => Promise<void>;
  readonly onChange?: (listener: () => void) => () => void;
  readonly #rules: IntrospectionRules;
  /** Tokens that are being asked about, by digest. Not more than run and wait in the queue. */
  readonly #pending: Map<string, Promise<ActiveToken>> = new Map();
  /** What an open call was admitted with: when something was revoked, the list is asked again and not the server. */
  readonly #admitted: ContextKey<ActiveToken> = new ContextKey("introspected token");
  readonly #logged = new LogThrottle();

  constructor(rules: IntrospectionRules) {
    this.#rules = rules;
    const { revocations } = rules;
    if (revocations?.onChange !== undefined)
      this.onChange = (listener) => subscription(revocations.onChange?.(listener));
    if (rules.warmUp) this.warmUp = () => this.#askAboutNothing();
    this[needsCertificates] = rules.bindingRequired
      ? 'introspection({ certificateBound: "require" })'
      : undefined;
  }

  presents(call: CallContext): boolean {
    const token = bearerToken(call);
    return token !== undefined && this.#rules.isForUs(token.text);
  }

  explain(call: CallContext): string | undefined {
    // The redaction takes whatever stands behind the word Bearer for a token.
    if (bearerToken(call) === undefined)
      return "there is no token, or one that is too long, after the scheme Bearer";
    // Nor may the option stand here as it is written: the redaction takes what follows `tokens:` for one.
    return 'the token is a JSON Web Token, and introspection asks about opaque ones only; for both, set its option tokens to "all"';
  }

  authenticate(call: CallContext): Identity | Promise<Identity> {
    const token = bearerToken(call);
    if (token === undefined) throw new CredentialError("missing", "no token was presented");
    const known = call.get(this.#admitted) ?? this.#rules.cache?.get(token.digest);
    return known === undefined ? this.#ask(token, call) : this.#admit(known, call);
  }

  async #ask(token: BearerToken, call: CallContext): Promise<Identity> {
    if (!isBearerToken(token.text))
      throw new CredentialError("invalid", "the token has characters that no token has");
    try {
      return await this.#admit(await this.#shared(token), call);
    } catch (error) {
      if (error instanceof IntrospectionFailure) this.#log(error, call);
      throw error;
    }
  }

  /** Whatever becomes of the calls that wait, the request goes on for the others. */
  #shared({ text, digest }: BearerToken): Promise<ActiveToken> {
    const underWay = this.#pending.get(digest);
    if (underWay !== undefined) return underWay;
    const asked = this.#introspect(text, digest);
    const forget = (): void => {
      this.#pending.delete(digest);
    };
    this.#pending.set(digest, asked);
    asked.then(forget, forget);
    return asked;
  }

  async #introspect(token: string, digest: string): Promise<ActiveToken> {
    const { introspect, answer: rules, cache, queue, timeoutMs } = this.#rules;
    const signal = AbortSignal.timeout(timeoutMs);
    const { answer, askedAt } = await queue
      .run(signal, async () => ({
        askedAt: performance.now(),
        answer: await introspect(token, signal),
      }))
      .catch((error: unknown) => {
        throw error instanceof IntrospectionFailure ? error : noTurn(error);
      });
    try {
      const active = readAnswer(answer, rules);
      checkTimes(active, Date.now());
      cache?.set(digest, active, askedAt);
      return active;
    } catch (error) {
      // What was active some time ago is not any more.
      cache?.delete(digest);
      throw error;
    }
  }

  /** What is asked on each call, whoever asked the server and when. */
  #admit(token: ActiveToken, call: CallContext): Identity | Promise<Identity> {
    checkTimes(token, Date.now());
    checkBinding(token.boundTo, call);
    const { revocations } = this.#rules;
    if (revocations === undefined) return token.identity;
    const answer = revocations.isRevoked(token.revocable);
    if (isThenable(answer))
      return answer.then((revoked) => {
        refuseRevoked(revoked, "revocations");
        return this.#remember(token, call);
      });
    refuseRevoked(answer, "revocations");
    return this.#remember(token, call);
  }

  #remember(token: ActiveToken, call: CallContext): Identity {
    call.set(this.#admitted, token);
    return token.identity;
  }

  #log(error: IntrospectionFailure, call: CallContext): void {
    const leftOut = this.#logged.admit(error.message);
    if (leftOut === undefined) return;
    call.log[error.isLasting ? "error" : "warn"](
      { err: describeError(error, { stack: false }), introspection: this.#rules.place, left_out: leftOut },
      "tokens cannot be introspected; calls whose tokens are not cached end UNAVAILABLE",
    );
  }

  async #askAboutNothing(): Promise<void> {
    const { introspect, timeoutMs } = this.#rules;
    const { active } = await introspect(
      randomBytes(32).toString("base64url"),
      AbortSignal.timeout(timeoutMs),
    ).catch((error: unknown) => {
      const why = error instanceof Error ? error.message : "it failed";
      throw new ConfigError(`introspection.warmUp: ${why}`);
    });
    if (active !== false)
      throw new ConfigError(
        "introspection.warmUp: the server says of a token that does not exist that it is active",
      );
  }

  async close(): Promise<void> {
    await this.#rules.revocations?.close?.();
  }
}

function noTurn(error: unknown): IntrospectionFailure {
  return new IntrospectionFailure(
    error instanceof QueueFull
      ? "too many tokens wait for the introspection endpoint (requests.maxQueued)"
      : "no request to the introspection endpoint could begin in time (requests.maxConcurrent)",
  );
}

/** RFC 6749 appendix A.12, without the space. */
function isBearerToken(token: string): boolean {
  return /^[\x21-\x7e]+$/.test(token);
}

/**
 * Is the token no JSON Web Token? Those begin with a JSON object in base64url (RFC 7515 section 7.1, RFC 7516 section 7.1).
 * Read leniently: a signed token that is spelled so that `jwt` does not take it for its own is not one for the server.
 */
function isOpaque(token: string): boolean {
  const dot = token.indexOf(".");
  if (dot < 0) return true;
  const start = Buffer.from(token.slice(0, Math.min(dot, 64)), "base64").toString("latin1");
  // Nothing but white space so far: what comes behind it may be one.
  return !/^(?:\xef\xbb\xbf)?(?:\s*\{|\s+$)/.test(start);
}
