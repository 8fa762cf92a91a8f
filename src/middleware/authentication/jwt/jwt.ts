// Signed JSON Web Tokens (RFC 7519, RFC 9068) as bearer tokens, verified as RFC 8725 advises.
import type { KeyObject } from "node:crypto";
import type { Logger } from "pino";
import { z } from "zod";
import { type CallContext, ContextKey } from "../../../chain/context.ts";
import type { Identity } from "../../../chain/principal.ts";
import { isThenable } from "../../../chain/thenable.ts";
import { parseOptions, refused } from "../../../config/options.ts";
import { ConfigError, CredentialError } from "../../../grpc/errors.ts";
import { redactSecrets } from "../../../observability/redaction.ts";
import { type Authenticator, needsCertificates, subscription } from "../authenticator.ts";
import { type BearerToken, bearerToken } from "../authorization-header.ts";
import type { JWK } from "../jose.ts";
import {
  type RevocableToken,
  type RevocationList,
  refuseRevoked,
  revocationsSchema,
} from "../revocation/revocation-list.ts";
import { type CertificateBound, checkBinding } from "./certificate-binding.ts";
import { claimPathSchema, claimPathsSchema, pathOf, pathsOf } from "./claim-path.ts";
import { discoveredLocation, fixedLocation } from "./jwks-location.ts";
import { fixedKeys, type KeySet, type KeySource } from "./key-set.ts";
import { publicJwksFrom, type SignatureAlgorithm, signatureAlgorithms, UnusableKey } from "./public-jwk.ts";
import { remoteJwks } from "./remote-jwks.ts";
import { checkHeader, type HeaderRules, mediaType } from "./strict-token.ts";
import { TokenCache, type VerifiedToken } from "./token-cache.ts";
import { checkTimes, shownClaim } from "./token-claims.ts";
import { type NotVerified, TokenVerifier } from "./verification.ts";

/** A public key: a PEM text (SubjectPublicKeyInfo or PKCS #1), a JWK, a `KeyObject`, or a JWK Set. */
export type JwtKey = string | JWK | KeyObject | { readonly keys: readonly JWK[] };

/** Answers whether the token with these claims was revoked. */
export type IsRevoked = (claims: Readonly<Record<string, unknown>>) => boolean | Promise<boolean>;

export interface JwtOptions {
  /** The `iss` of the tokens, compared exactly (a slash at the end matters). */
  readonly issuer: string;
  /** The name or names of this service, one of which must be in `aud`. */
  readonly audience: string | readonly string[];
  /**
   * Where the issuer publishes its keys. https; http only to a loopback address. Fetched when first needed, and when a token
   * names an unknown key (five times at once, then once in 10 s); until that is possible the token is UNAVAILABLE. Keys are
   * believed for ten minutes, or for the `max-age` of the issuer's answer where it is less (60 s or more); then they are
   * fetched first, and on a server with calls in the background before that. The server's certificate is always verified,
   * against the system's roots and NODE_EXTRA_CA_CERTS; redirects and proxies are not followed.
   *
   * Without `jwksUri` and `keys` it is read from the issuer's metadata: `/.well-known/openid-configuration` (OpenID Connect
   * Discovery 1.0 section 4), and where that is not found, `/.well-known/oauth-authorization-server` (RFC 8414 section 3).
   * `issuer` is then a URL, and the `issuer` in the metadata must be the same text. Default: none.
   */
  readonly jwksUri?: string | undefined;
  /**
   * Fetch the keys in `listen()`, and fail there if that is not possible, so that a wrong issuer is found when the server
   * starts. Else they are fetched for the first token. Has no effect in `secureInterceptors`, which does not listen.
   * Default: false.
   */
  readonly warmUp?: boolean | undefined;
  /**
   * How long fetched keys serve while the issuer is away, in seconds since they were fetched: 60 to 2,592,000.
   * After that its tokens are UNAVAILABLE. A key that the issuer removes during an outage is believed for that long.
   * Default: 86,400.
   */
  readonly maxStaleSec?: number | undefined;
  /** The issuer's public keys, given directly in place of `jwksUri`. Default: none. */
  readonly keys?: JwtKey | readonly JwtKey[] | undefined;
  /**
   * How tokens may be signed. `none` and HMAC are never accepted (RFC 8725 section 3.1). Default: RS256, PS256, ES256,
   * ES384, EdDSA.
   */
  readonly algorithms?: readonly SignatureAlgorithm[] | undefined;
  /** How far the clocks of issuer and service may differ, for `exp`, `nbf` and age, in seconds; at most 300. Default: 5. */
  readonly clockToleranceSec?: number | undefined;
  /** The greatest age of a token by its `iat`, which is then required, in seconds; without it `exp` decides. Default: none. */
  readonly maxTokenAgeSec?: number | undefined;
  /**
   * The `typ` a token must have, such as `at+jwt` (RFC 9068); upper and lower case and a leading `application/` do not
   * matter. Left out, a token may have no `typ`, `JWT`, `JOSE` or `at+jwt`, so that one made for another purpose, such as
   * `logout+jwt`, is not taken for an access token (RFC 8725 section 3.11). Default: none.
   */
  readonly typ?: string | undefined;
  /** Further claims that must be there, as names or paths as in `claims`. Default: none. */
  readonly requiredClaims?: readonly string[] | undefined;
  /**
   * Where in the token to find what the principal needs: a claim's name or a dotted path (`realm_access.roles`). A claim of
   * exactly that name goes first. In a path a backslash stands before a dot that belongs to a name, which is two of them in
   * a string of JavaScript: `"resource_access.my\\.app.roles"`. Own members of objects only.
   */
  readonly claims?:
    | {
        /** Who the token is about. Default: `sub`. */
        readonly subject?: string | undefined;
        /**
         * The principal's roles: an array of names or one text with spaces between the names. The names of several claims
         * are joined. A claim that is not there has none; one of another shape makes the token invalid. Default: `roles`.
         */
        readonly roles?: string | readonly string[] | undefined;
        /**
         * The principal's permissions, likewise. The scopes of OAuth 2.0 stand in `scope`, a text (RFC 8693 section 4.2, RFC
         * 9068 section 2.2.3), or in `scp`, a text or an array (Entra, Okta): give `"scope"`, `"scp"` or
         * `["scope", "scp"]`. Default: `permissions`.
         */
        readonly permissions?: string | readonly string[] | undefined;
        /** The principal's tenant. Default: `tenant`. */
        readonly tenant?: string | undefined;
      }
    | undefined;
  /**
   * What to do with tokens that are bound to a client certificate (`cnf` with `x5t#S256`, RFC 8705 section 3):
   * - `"if-present"`: such a token is good only on a connection with exactly that certificate;
   * - `"require"`: the same, and a token that is not bound is refused;
   * - `"ignore"`: `cnf` is passed over. Whoever stole a bound token can then use it.
   *
   * A token that is bound in another way (`jkt`, `jwk` …) is refused unless this is `"ignore"`. Default: `"if-present"`.
   */
  readonly certificateBound?: CertificateBound | undefined;
  /**
   * Which tokens were revoked, such as by a logout: `revocationList()` and its siblings for several instances, or your own. Asked
   * on each call, cached token or not, with the token's id (`jti`), the principal's subject, and `iat`. A revoked token is
   * `invalid`, and so is one whose `jti` is no string; calls that are open with one end (`callsOutliveCredentials`). Default:
   * nobody is asked.
   */
  readonly revocations?: RevocationList | undefined;
  /**
   * Has this token been revoked? As `revocations`, for what can only be told from other claims: asked with the verified claims
   * on each call, so let it be quick: a look into a set, best without a promise. `true` refuses the call as `invalid`. A
   * throw, a rejection or any answer but `true` and `false` is UNAVAILABLE. Calls that are open already go on until the token
   * expires. Default: nobody is asked.
   */
  readonly isRevoked?: IsRevoked | undefined;
  /** Tokens whose signature need not be computed again. */
  readonly cache?:
    | {
        /** How many tokens are kept at most. Default: 10,000. */
        readonly maxEntries?: number | undefined;
        /** How long a token is kept, in seconds; never beyond its `exp`. Default: 60. */
        readonly maxAgeSec?: number | undefined;
      }
    | undefined;
}

/** The options with their defaults; keys are not imported yet. */
interface JwtSettings {
  readonly issuer: string;
  readonly audience: string | readonly string[];
  readonly jwksUri?: string | undefined;
  readonly warmUp: boolean;
  readonly maxStaleSec: number;
  readonly keys?: unknown | undefined;
  readonly algorithms: readonly SignatureAlgorithm[];
  readonly clockToleranceSec: number;
  readonly maxTokenAgeSec?: number | undefined;
  readonly typ?: string | undefined;
  readonly requiredClaims: readonly string[];
  readonly claims: {
    readonly subject: string;
    readonly roles: string | readonly string[];
    readonly permissions: string | readonly string[];
    readonly tenant: string;
  };
  readonly certificateBound: CertificateBound;
  readonly revocations?: RevocationList | undefined;
  readonly isRevoked?: IsRevoked | undefined;
  readonly cache: { readonly maxEntries: number; readonly maxAgeSec: number };
}

const text = z.string().min(1, "expected a string that is not empty");

const sharedSecret = "whoever verifies with a shared secret can also sign with it";

/** The shape of `jwt`'s options; the only place where its defaults stand. */
export const jwtSchema: z.ZodType<JwtSettings> = z
  .strictObject({
    issuer: text,
    audience: z.union([text, z.array(text).min(1, "expected at least one audience")], {
      error: ({ input }) =>
        input === undefined
          ? 'expected the name of this service, as it stands in the claim aud of its tokens, such as audience: "orders"; it is missing'
          : undefined,
    }),
    jwksUri: text.optional(),
    warmUp: z.boolean().default(false),
    maxStaleSec: z.number().min(60).max(2_592_000).default(86_400),
    keys: z.unknown().optional(),
    secret: refused(
      `shared secrets (HMAC) are never accepted, because ${sharedSecret}; give the issuer's public keys as keys, or its jwksUri`,
    ),
    algorithms: z
      .array(z.enum(signatureAlgorithms, { error: ({ input }) => hmacAdvice(input) }))
      .min(1, "expected at least one algorithm")
      .default([...signatureAlgorithms]),
    clockToleranceSec: z.number().min(0).max(300).default(5),
    maxTokenAgeSec: z.number().positive().max(1e9).optional(),
    typ: text.optional(),
    requiredClaims: z.array(claimPathSchema).default([]),
    claims: z
      .strictObject({
        subject: claimPathSchema.default("sub"),
        roles: claimPathsSchema.default("roles"),
        permissions: claimPathsSchema.default("permissions"),
        tenant: claimPathSchema.default("tenant"),
      })
      .prefault({}),
    certificateBound: z.enum(["if-present", "require", "ignore"]).default("if-present"),
    revocations: revocationsSchema,
    isRevoked: z
      .custom<IsRevoked>((value) => typeof value === "function", "expected a function of the token's claims")
      .optional(),
    cache: z
      .strictObject({
        maxEntries: z.int().min(1).max(10_000_000).default(10_000),
        maxAgeSec: z.number().positive().max(86_400).default(60),
      })
      .prefault({}),
  })
  .refine(({ jwksUri, keys }) => jwksUri === undefined || keys === undefined, {
    message: "expected either jwksUri or keys, not both",
    path: ["keys"],
  });

function hmacAdvice(algorithm: unknown): string | undefined {
  if (typeof algorithm !== "string" || !/^HS\d+$/i.test(algorithm)) return undefined;
  return `HMAC (HS256, HS384, HS512) is never accepted, because ${sharedSecret}; sign with a private key, and give the public ones as keys or jwksUri`;
}

const defaultTypes: ReadonlySet<string> = new Set(["jwt", "jose", "at+jwt"]);

/**
 * Verifies the bearer tokens of one issuer. Signature, `exp`, `nbf`, `iss`, `aud` and the subject are always checked;
 * `exp` is required. For several issuers give `anyOf` one `jwt(...)` each: a key is only ever tried on a token of its
 * own issuer. A token bound to a client certificate (`cnf`) is good only together with it; see `certificateBound`. Keys
 * that a token names itself (`jwk`, `jku`, `x5u`, `x5c`) are never used.
 *
 * The principal's kind is `service` where the client is its own subject (`sub` equals `client_id`, `azp` or `cid`), else `user`.
 * Its `expiresAt` is `exp`; the identity ends when the token is no longer accepted, clock tolerance included.
 *
 * Throws `ConfigError` for options that are wrong.
 *
 * @example
 * jwt({ issuer: "https://id.example", audience: "orders" })
 */
export function jwt(options: JwtOptions): Authenticator {
  const parsed = parseOptions(jwtSchema, options, "jwt");
  const keys = keySourceOf(parsed, options);
  return new JwtAuthenticator({
    issuer: parsed.issuer,
    keys,
    header: {
      types: parsed.typ === undefined ? defaultTypes : new Set([mediaType(parsed.typ)]),
      typeRequired: parsed.typ !== undefined,
    },
    cache: new TokenCache(parsed.cache),
    maxShared: parsed.cache.maxEntries,
    warmUp: parsed.warmUp,
    revocations: parsed.revocations,
    isRevoked: parsed.isRevoked,
    bindingRequired: parsed.certificateBound === "require",
    verifier: new TokenVerifier({
      algorithms: parsed.algorithms,
      claims: {
        issuer: parsed.issuer,
        audiences: new Set(listOf(parsed.audience)),
        clockToleranceSec: parsed.clockToleranceSec,
        maxTokenAgeSec: parsed.maxTokenAgeSec,
        requiredClaims: pathsOf(parsed.requiredClaims),
        certificateBound: parsed.certificateBound,
        paths: {
          subject: pathOf(parsed.claims.subject),
          roles: pathsOf(parsed.claims.roles),
          permissions: pathsOf(parsed.claims.permissions),
          tenant: pathOf(parsed.claims.tenant),
        },
      },
    }),
  });
}

function keySourceOf(parsed: JwtSettings, given: JwtOptions): KeySource {
  const { issuer, keys, jwksUri, maxStaleSec } = parsed;
  if (keys === undefined) {
    // Whoever names where the keys are must not get others because a variable is not set.
    for (const option of ["keys", "jwksUri"] as const) {
      if (jwksUri === undefined && option in given)
        throw new ConfigError(
          `jwt.${option}: is undefined; set the variable, or remove the option to discover the keys`,
        );
    }
    const location = jwksUri === undefined ? discoveredLocation(issuer) : fixedLocation(jwksUri);
    return remoteJwks(location, { maxStaleMs: maxStaleSec * 1000 });
  }
  for (const option of ["maxStaleSec", "warmUp"] as const) {
    if (given[option] !== undefined)
      throw new ConfigError(
        `jwt.${option}: applies only to keys that are fetched, not to keys that you give`,
      );
  }
  return fixedKeys(importKeys(keys));
}

interface JwtRules {
  readonly issuer: string;
  readonly keys: KeySource;
  readonly header: HeaderRules;
  readonly cache: TokenCache;
  readonly maxShared: number;
  readonly warmUp: boolean;
  readonly revocations: RevocationList | undefined;
  readonly isRevoked: IsRevoked | undefined;
  readonly bindingRequired: boolean;
  readonly verifier: TokenVerifier;
}

class JwtAuthenticator implements Authenticator {
  readonly [needsCertificates]: string | undefined;
  readonly name = "jwt";
  readonly source = "metadata";
  readonly headers: readonly string[] = ["authorization"];
  readonly schemes: readonly string[] = ["jwt"];
  readonly actorSchemes: readonly string[] = [];
  readonly warmUp?: (log: Logger) => Promise<void>;
  readonly onChange?: (listener: () => void) => () => void;
  readonly #rules: JwtRules;
  /** What was verified for a call. */
  readonly #verified = new ContextKey<VerifiedToken>("verified token");
  /** Verifications under way, by the token's digest: calls that bring the same token at once share one. */
  readonly #pending: Map<string, Promise<VerifiedToken>> = new Map();

  constructor(rules: JwtRules) {
    this.#rules = rules;
    const { revocations } = rules;
    if (revocations?.onChange !== undefined)
      this.onChange = (listener) => subscription(revocations.onChange?.(listener));
    if (rules.warmUp) this.warmUp = (log) => this.#fetchKeys(log);
    this[needsCertificates] = rules.bindingRequired ? 'jwt({ certificateBound: "require" })' : undefined;
  }

  /** A signed token that names our issuer. The unverified name chooses who verifies the token; it grants nothing. */
  presents(call: CallContext): boolean {
    const token = bearerToken(call);
    if (token === undefined) return false;
    return this.#rules.cache.has(token.digest) || token.unverified?.payload["iss"] === this.#rules.issuer;
  }

  explain(call: CallContext): string | undefined {
    const token = bearerToken(call);
    // The redaction takes whatever stands behind the word Bearer for a token.
    if (token === undefined) return "there is no token, or one that is too long, after the scheme Bearer";
    if (token.unverified === undefined) return "the token is not a signed JSON Web Token";
    return `the token's issuer (iss) is ${shownClaim(token.unverified.payload["iss"])}, not ${JSON.stringify(this.#rules.issuer)}`;
  }

  async #fetchKeys(log: Logger): Promise<void> {
    const { keys } = this.#rules;
    try {
      if (keys.believed({ log }) === undefined) await keys.renew({ log });
    } catch (error) {
      const { message, cause } = error instanceof Error ? error : new Error(String(error));
      const why = cause instanceof Error ? `: ${cause.message}` : "";
      throw new ConfigError(`jwt.warmUp: ${redactSecrets(`${message}${why}`, 1024)}`);
    }
    if (keys.believed({ log })?.isEmpty === true)
      throw new ConfigError("jwt.warmUp: the issuer publishes no key that can verify its tokens");
  }

  authenticate(call: CallContext): Identity | Promise<Identity> {
    const token = bearerToken(call);
    if (token === undefined) throw new CredentialError("missing", "no token was presented");
    const { cache, keys } = this.#rules;
    const verified = call.get(this.#verified) ?? cache.get(token.digest);
    if (verified === undefined) return this.#verify(token, call);
    if (/* protection: key-still-there */ keys.believed(call) !== verified.keys) {
      cache.delete(token.digest);
      return this.#verify(token, call);
    }
    return this.#admit(verified, call);
  }

  /** An open call is looked at again without verifying its signature, however long ago that was. */
  #keep(verified: VerifiedToken, call: CallContext): void {
    if (this.onChange !== undefined) call.set(this.#verified, verified);
  }

  async #verify(token: BearerToken, call: CallContext): Promise<Identity> {
    const underWay = this.#pending.get(token.digest);
    if (underWay !== undefined) return this.#admit(await underWay, call);
    const verification = this.#verifyAlone(token, call);
    if (this.#pending.size < this.#rules.maxShared) {
      const forget = (): void => {
        this.#pending.delete(token.digest);
      };
      this.#pending.set(token.digest, verification);
      verification.then(forget, forget);
    }
    return this.#admit(await verification, call);
  }

  /** Tries the keys at hand, and newer ones where the token's key may be among them. */
  async #verifyAlone(token: BearerToken, call: CallContext): Promise<VerifiedToken> {
    const { unverified } = token;
    if (unverified === undefined) throw invalid("the token is not a signed JSON Web Token");
    const { keys, header, verifier, cache } = this.#rules;
    const kid = checkHeader(unverified.header, header);
    const sentBefore = keys.requestsSent;
    for (;;) {
      const set = keys.believed(call);
      const answered = keys.answeredRequest;
      if (set !== undefined) {
        const facts = await verifier.verify(token.text, set, kid);
        if (typeof facts !== "string") {
          const verified: VerifiedToken = { keys: set, ...facts };
          cache.set(token.digest, verified);
          return verified;
        }
        // Requested after the token was here: the issuer itself says that it has no such key.
        if (hasTheKey(set, kid, facts) || answered > sentBefore) throw invalid(reasons[facts]);
      }
      if (keys.answeredRequest === answered) await keys.renew(call);
    }
  }

  /** What is asked on each call, whoever verified the signature and when. */
  #admit(verified: VerifiedToken, call: CallContext): Identity | Promise<Identity> {
    checkTimes(verified, Date.now());
    // protection: certificate-bound
    checkBinding(verified.boundTo, call);
    this.#keep(verified, call);
    const { revocations, isRevoked } = this.#rules;
    if (revocations === undefined && isRevoked === undefined) return verified.identity;
    const answer = revocations === undefined ? false : revocations.isRevoked(revocable(verified));
    if (isThenable(answer)) return this.#admitAsync(answer, verified);
    refuseRevoked(answer, "revocations");
    return this.#ask(verified);
  }

  async #admitAsync(answer: Promise<boolean>, verified: VerifiedToken): Promise<Identity> {
    refuseRevoked(await answer, "revocations");
    return this.#ask(verified);
  }

  #ask({ identity }: VerifiedToken): Identity | Promise<Identity> {
    const { isRevoked } = this.#rules;
    const answer = isRevoked === undefined ? false : isRevoked(identity.principal.claims);
    if (isThenable(answer))
      return answer.then((revoked) => {
        refuseRevoked(revoked, "jwt.isRevoked");
        return identity;
      });
    refuseRevoked(answer, "jwt.isRevoked");
    return identity;
  }

  async close(): Promise<void> {
    await this.#rules.revocations?.close?.();
  }
}

/** Would newer keys of the issuer change nothing? A key is for its own algorithms: one that is known says enough. */
function hasTheKey(set: KeySet, kid: string | undefined, why: NotVerified): boolean {
  return kid === undefined ? set.isNamed && why === "not signed" : set.kids.has(kid);
}

const reasons: Readonly<Record<NotVerified, string>> = {
  "no key": "the token's key (kid, alg) is not one of the issuer's",
  "not signed": "the token's signature does not verify",
};

function revocable({ identity: { principal }, issuedAt }: VerifiedToken): RevocableToken {
  const { jti } = principal.claims;
  if (jti !== undefined && typeof jti !== "string")
    throw invalid("the token's id (jti) is no string, so that it could not be revoked");
  return {
    subject: principal.subject,
    ...(jti === undefined ? {} : { id: jti }),
    ...(issuedAt === undefined ? {} : { issuedAt }),
  };
}

function listOf(value: string | readonly string[]): readonly string[] {
  return typeof value === "string" ? [value] : value;
}

function importKeys(given: unknown): readonly JWK[] {
  const several = Array.isArray(given);
  const values: readonly unknown[] = several ? given : [given];
  if (values.length === 0) throw new ConfigError("jwt.keys: expected at least one key");
  const problems: string[] = [];
  const keys = values.flatMap((value, index) => {
    try {
      return publicJwksFrom(value);
    } catch (error) {
      if (!(error instanceof UnusableKey)) throw error;
      problems.push(`jwt.keys${several ? `.${index}` : ""}: ${error.message}`);
      return [];
    }
  });
  if (problems.length > 0) throw new ConfigError(problems);
  return keys;
}

function invalid(message: string): CredentialError {
  return new CredentialError("invalid", message);
}
