// Signed JSON Web Tokens (RFC 7519, RFC 9068) as bearer tokens, verified as RFC 8725 advises.
import type { KeyObject } from "node:crypto";
import { z } from "zod";
import type { CallContext } from "../../chain/context.ts";
import type { Identity } from "../../chain/principal.ts";
import { isThenable } from "../../chain/thenable.ts";
import { isLoopbackTarget } from "../../config/loopback.ts";
import { parseOptions } from "../../config/options.ts";
import { ConfigError, CredentialError } from "../../grpc/errors.ts";
import { type Authenticator, needsCertificates } from "./authenticator.ts";
import { type BearerToken, bearerToken } from "./authorization-header.ts";
import { type CertificateBound, checkBinding } from "./certificate-binding.ts";
import type { UnverifiedJws } from "./compact-jws.ts";
import type { JWK } from "./jose.ts";
import { fixedKeys, type KeyQuery, type KeySource, remoteJwks } from "./jwks.ts";
import { isSignedBy, isSignedByLater } from "./signature.ts";
import { TokenCache, type VerifiedToken } from "./token-cache.ts";
import { type ClaimRules, checkTimes, readClaims, shownClaim } from "./token-claims.ts";
import {
  keysFrom,
  type SignatureAlgorithm,
  signatureAlgorithms,
  UnusableKey,
  type VerificationKey,
} from "./verification-key.ts";

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
   * against the system's roots and NODE_EXTRA_CA_CERTS; redirects and proxies are not followed. Exactly one of `jwksUri` and
   * `keys`. Default: none.
   */
  readonly jwksUri?: string | undefined;
  /**
   * How long the keys of `jwksUri` serve while the issuer is away, in seconds since they were fetched: 60 to 2,592,000.
   * After that its tokens are UNAVAILABLE. A key that the issuer removes during an outage is believed for that long.
   * Default: 86,400.
   */
  readonly maxStaleSec?: number | undefined;
  /** The issuer's public keys, given directly. Exactly one of `jwksUri` and `keys`. Default: none. */
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
  /** Further claims that must be there, as names or dotted paths. Default: none. */
  readonly requiredClaims?: readonly string[] | undefined;
  /**
   * Where in the token to find what the principal needs: a claim's name or a dotted path (`realm_access.roles`). Roles and
   * permissions are an array of names or one text with spaces between the names; absent means none, another shape makes
   * the token invalid.
   */
  readonly claims?:
    | {
        /** Who the token is about. Default: `sub`. */
        readonly subject?: string | undefined;
        /** The principal's roles. Default: `roles`. */
        readonly roles?: string | undefined;
        /** The principal's permissions. Default: `permissions`. */
        readonly permissions?: string | undefined;
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
   * Has this token been revoked, such as by a logout? Asked with the verified claims on each call, cached token or not,
   * so let it be quick: a look into a set, best without a promise. `true` refuses the call as `invalid`. A throw, a
   * rejection or any answer but `true` and `false` is UNAVAILABLE. Calls that are open already go on until the token
   * expires. Default: nobody is asked.
   */
  readonly isRevoked?: IsRevoked | undefined;
  /** Tokens whose signature need not be computed again. */
  readonly cache?:
    | {
        /** How many tokens are kept. Default: 10,000. */
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
  readonly maxStaleSec: number;
  readonly keys?: unknown | undefined;
  readonly algorithms: readonly SignatureAlgorithm[];
  readonly clockToleranceSec: number;
  readonly maxTokenAgeSec?: number | undefined;
  readonly typ?: string | undefined;
  readonly requiredClaims: readonly string[];
  readonly claims: ClaimRules["paths"];
  readonly certificateBound: CertificateBound;
  readonly isRevoked?: IsRevoked | undefined;
  readonly cache: { readonly maxEntries: number; readonly maxAgeSec: number };
}

const text = z.string().min(1, "expected text that is not empty");

/** The shape of `jwt`'s options; the only place where its defaults stand. */
export const jwtSchema: z.ZodType<JwtSettings> = z
  .strictObject({
    issuer: text,
    audience: z.union([text, z.array(text).min(1, "expected at least one audience")]),
    jwksUri: text.optional(),
    maxStaleSec: z.number().min(60).max(2_592_000).default(86_400),
    keys: z.unknown().optional(),
    algorithms: z
      .array(z.enum(["RS256", "PS256", "ES256", "ES384", "EdDSA"]))
      .min(1, "expected at least one algorithm")
      .default([...signatureAlgorithms]),
    clockToleranceSec: z.number().min(0).max(300).default(5),
    maxTokenAgeSec: z.number().positive().max(1e9).optional(),
    typ: text.optional(),
    requiredClaims: z.array(text).default([]),
    claims: z
      .strictObject({
        subject: text.default("sub"),
        roles: text.default("roles"),
        permissions: text.default("permissions"),
        tenant: text.default("tenant"),
      })
      .prefault({}),
    certificateBound: z.enum(["if-present", "require", "ignore"]).default("if-present"),
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
  .refine((options) => (options.jwksUri === undefined) !== (options.keys === undefined), {
    message: "expected exactly one of jwksUri and keys",
    path: ["keys"],
  });

const defaultTypes: ReadonlySet<string> = new Set(["jwt", "jose", "at+jwt"]);

/**
 * Verifies the bearer tokens of one issuer. Signature, `exp`, `nbf`, `iss`, `aud` and the subject are always checked;
 * `exp` is required. For several issuers give `anyOf` one `jwt(...)` each: a key is only ever tried on a token of its
 * own issuer. A token bound to a client certificate (`cnf`) is good only together with it; see `certificateBound`. Keys
 * that a token names itself (`jwk`, `jku`, `x5u`, `x5c`) are never used.
 *
 * The principal's kind is `service` where the client is its own subject (`sub` equals `client_id` or `azp`), else `user`.
 * Its `expiresAt` is `exp`; the identity ends when the token is no longer accepted, clock tolerance included.
 *
 * Throws `ConfigError` for options that are wrong.
 *
 * @example
 * jwt({ issuer: "https://id.example", audience: "orders", jwksUri: "https://id.example/jwks" })
 */
export function jwt(options: JwtOptions): Authenticator {
  const parsed = parseOptions(jwtSchema, options, "jwt");
  if (parsed.jwksUri === undefined && options.maxStaleSec !== undefined)
    throw new ConfigError("jwt.maxStaleSec: has a meaning only with jwksUri; keys that are given stay");
  const keys =
    parsed.jwksUri === undefined
      ? fixedKeys(importKeys(parsed.keys))
      : remoteJwks(checkJwksUri(parsed.jwksUri), { maxStaleMs: parsed.maxStaleSec * 1000 });
  return new JwtAuthenticator({
    keys,
    algorithms: parsed.algorithms,
    types: parsed.typ === undefined ? defaultTypes : new Set([mediaType(parsed.typ)]),
    typeRequired: parsed.typ !== undefined,
    cache: new TokenCache(parsed.cache),
    maxShared: parsed.cache.maxEntries,
    isRevoked: parsed.isRevoked,
    claims: {
      issuer: parsed.issuer,
      audiences: new Set(typeof parsed.audience === "string" ? [parsed.audience] : parsed.audience),
      clockToleranceSec: parsed.clockToleranceSec,
      maxTokenAgeSec: parsed.maxTokenAgeSec,
      requiredClaims: parsed.requiredClaims,
      certificateBound: parsed.certificateBound,
      paths: parsed.claims,
    },
  });
}

interface JwtRules {
  readonly keys: KeySource;
  readonly algorithms: readonly SignatureAlgorithm[];
  readonly types: ReadonlySet<string>;
  readonly typeRequired: boolean;
  readonly cache: TokenCache;
  readonly maxShared: number;
  readonly isRevoked: IsRevoked | undefined;
  readonly claims: ClaimRules;
}

class JwtAuthenticator implements Authenticator {
  readonly [needsCertificates]: string | undefined;
  readonly name = "jwt";
  readonly source = "metadata";
  readonly headers: readonly string[] = ["authorization"];
  readonly schemes: readonly string[] = ["jwt"];
  readonly actorSchemes: readonly string[] = [];
  readonly #rules: JwtRules;
  /** Verifications under way, by the token's digest: calls that bring the same token at once share one. */
  readonly #pending: Map<string, Promise<VerifiedToken>> = new Map();

  constructor(rules: JwtRules) {
    this.#rules = rules;
    this[needsCertificates] =
      rules.claims.certificateBound === "require" ? 'jwt({ certificateBound: "require" })' : undefined;
  }

  /** A signed token that names our issuer. The unverified name chooses who verifies the token; it grants nothing. */
  presents(call: CallContext): boolean {
    const token = bearerToken(call);
    if (token === undefined) return false;
    return (
      this.#rules.cache.has(token.digest) || token.unverified?.payload["iss"] === this.#rules.claims.issuer
    );
  }

  explain(call: CallContext): string | undefined {
    const token = bearerToken(call);
    // The redaction takes whatever stands behind the word Bearer for a token.
    if (token === undefined) return "it has no token of a fit length behind the scheme Bearer";
    if (token.unverified === undefined) return "the token is not a signed JSON Web Token";
    return `the token's issuer (iss) is ${shownClaim(token.unverified.payload["iss"])}, not ${JSON.stringify(this.#rules.claims.issuer)}`;
  }

  authenticate(call: CallContext): Identity | Promise<Identity> {
    const token = bearerToken(call);
    if (token === undefined) throw new CredentialError("missing", "no token was presented");
    const { cache, keys } = this.#rules;
    const verified = cache.get(token.digest);
    if (verified === undefined) return this.#verify(token, call);
    if (/* protection: key-still-there */ !keys.holds(verified.key, call)) {
      cache.delete(token.digest);
      return this.#verify(token, call);
    }
    return this.#admit(verified, call);
  }

  #verify(token: BearerToken, call: CallContext): Identity | Promise<Identity> {
    const underWay = this.#pending.get(token.digest);
    if (underWay !== undefined) return underWay.then((verified) => this.#admit(verified, call));
    const verification = this.#verifyAlone(token, call);
    if (!isThenable(verification)) return this.#admit(verification, call);
    if (this.#pending.size < this.#rules.maxShared) {
      const forget = (): void => {
        this.#pending.delete(token.digest);
      };
      this.#pending.set(token.digest, verification);
      verification.then(forget, forget);
    }
    return verification.then((verified) => this.#admit(verified, call));
  }

  #verifyAlone(token: BearerToken, call: CallContext): VerifiedToken | Promise<VerifiedToken> {
    const jws = token.unverified;
    if (jws === undefined) throw invalid("the token is not a signed JSON Web Token");
    const alg = this.#checkHeader(jws.header);
    const kid = jws.header["kid"];
    if (kid !== undefined && typeof kid !== "string") throw invalid("kid is not text");
    const query = { alg, kid };
    const keys = this.#rules.keys.find(query, call);
    if (isThenable(keys)) return this.#verifyLater({ token, jws, query, keys, call });
    const [only] = keys;
    if (keys.length !== 1 || only?.verifiesQuickly !== true || kid === undefined)
      return this.#verifyLater({ token, jws, query, keys, call });
    if (/* protection: signature */ !isSignedBy(jws, alg, only.key)) throw invalid(notSigned);
    return this.#remember(token, jws, only);
  }

  async #verifyLater({ token, jws, query, keys: found, call }: Search): Promise<VerifiedToken> {
    const keys = await found;
    if (keys.length === 0) throw invalid("the token's key (kid, alg) is not one of the issuer's");
    let key = await signer(jws, query.alg, keys);
    if (key === undefined && query.kid === undefined)
      key = await signer(jws, query.alg, await this.#rules.keys.findOthers(query, keys, call));
    if (key === undefined) throw invalid(notSigned);
    return this.#remember(token, jws, key);
  }

  /** Only for a token whose signature verified with that key. */
  #remember(token: BearerToken, jws: UnverifiedJws, key: VerificationKey): VerifiedToken {
    const verified: VerifiedToken = { key, ...readClaims(jws.payload, this.#rules.claims) };
    this.#rules.cache.set(token.digest, verified);
    return verified;
  }

  /** What is asked on each call, whoever verified the signature and when. */
  #admit(verified: VerifiedToken, call: CallContext): Identity | Promise<Identity> {
    checkTimes(verified, Date.now());
    // protection: certificate-bound
    checkBinding(verified.boundTo, call);
    const { isRevoked } = this.#rules;
    if (isRevoked === undefined) return verified.identity;
    const revoked = isRevoked(verified.identity.principal.claims);
    if (isThenable(revoked)) return admitLater(revoked, verified);
    refuseRevoked(revoked);
    return verified.identity;
  }

  #checkHeader(header: Readonly<Record<string, unknown>>): SignatureAlgorithm {
    // RFC 7515 section 4.1.11: an extension marked critical must be understood, and none is.
    if (Object.hasOwn(header, "crit")) throw invalid("the token's header has critical extensions (crit)");
    const alg = this.#rules.algorithms.find(
      (algorithm) => /* protection: algorithms */ algorithm === header["alg"],
    );
    if (alg === undefined) throw invalid(`alg is not one of ${this.#rules.algorithms.join(", ")}`);
    const { typ } = header;
    if (typ === undefined && !this.#rules.typeRequired) return alg;
    if (typeof typ !== "string" || !this.#rules.types.has(mediaType(typ))) {
      throw invalid("the token's typ is not one that is accepted; see the option typ");
    }
    return alg;
  }
}

/** Anything but a plain no refuses: a lookup that forgot to answer has not said that the token is good. */
function refuseRevoked(revoked: boolean): void {
  if (revoked === false) return;
  if (revoked === true) throw invalid("the token is revoked");
  throw new TypeError("jwt.isRevoked answered neither true nor false");
}

async function admitLater(revoked: Promise<boolean>, { identity }: VerifiedToken): Promise<Identity> {
  refuseRevoked(await revoked);
  return identity;
}

interface Search {
  readonly token: BearerToken;
  readonly jws: UnverifiedJws;
  readonly query: KeyQuery;
  readonly keys: readonly VerificationKey[] | Promise<readonly VerificationKey[]>;
  readonly call: CallContext;
}

/** The first of the keys that signed it. */
async function signer(
  jws: UnverifiedJws,
  alg: SignatureAlgorithm,
  keys: readonly VerificationKey[],
): Promise<VerificationKey | undefined> {
  for (const key of keys)
    if (/* protection: signature-elsewhere */ await isSignedByLater(jws, alg, key.key)) return key;
  return undefined;
}

const notSigned = "the token's signature does not verify";

/** RFC 7515 section 4.1.9: a media type, whose `application/` may be left out. */
function mediaType(typ: string): string {
  const name = typ.toLowerCase();
  return name.startsWith("application/") && name.indexOf("/", 12) < 0 ? name.slice(12) : name;
}

function importKeys(given: unknown): readonly VerificationKey[] {
  const several = Array.isArray(given);
  const values: readonly unknown[] = several ? given : [given];
  if (values.length === 0) throw new ConfigError("jwt.keys: expected at least one key");
  const problems: string[] = [];
  const keys = values.flatMap((value, index) => {
    try {
      return keysFrom(value);
    } catch (error) {
      if (!(error instanceof UnusableKey)) throw error;
      problems.push(`jwt.keys${several ? `.${index}` : ""}: ${error.message}`);
      return [];
    }
  });
  if (problems.length > 0) throw new ConfigError(problems);
  return keys;
}

/** Whoever can change the answer can sign tokens: https, and http only where it never leaves the machine. */
function checkJwksUri(given: string): URL {
  if (!URL.canParse(given)) throw new ConfigError("jwt.jwksUri: expected an absolute https URL");
  const uri = new URL(given);
  if (uri.username !== "" || uri.password !== "")
    throw new ConfigError("jwt.jwksUri: expected a URL without credentials");
  if (uri.protocol === "https:") return uri;
  if (uri.protocol === "http:" && isLoopbackTarget(uri.hostname)) return uri;
  throw new ConfigError("jwt.jwksUri: expected https (http only to a loopback address)");
}

function invalid(message: string): CredentialError {
  return new CredentialError("invalid", message);
}
