// The signature and the claims of a token, verified by jose with the keys of its issuer (RFC 7515, RFC 7519).
import type { webcrypto } from "node:crypto";
import { CredentialError } from "../../../grpc/errors.ts";
import { type CryptoKey, type JWTVerifyGetKey, type JWTVerifyOptions, jose } from "../jose.ts";
import { isObject } from "./json-object.ts";
import type { KeySet } from "./key-set.ts";
import type { SignatureAlgorithm } from "./public-jwk.ts";
import { audienceProblem, type ClaimRules, checkTimes, readClaims, type TokenFacts } from "./token-claims.ts";

export interface VerificationRules {
  readonly algorithms: readonly SignatureAlgorithm[];
  readonly claims: ClaimRules;
}

/** Why no key of a set verified the token. */
export type NotVerified = "no key" | "not signed";

/** A token without `kid` is tried against so many keys at most: each try is a signature to compute. */
const maxCandidates = 10;

/** The verifier of one issuer's tokens. */
export class TokenVerifier {
  readonly #rules: VerificationRules;
  readonly #options: JWTVerifyOptions;

  constructor(rules: VerificationRules) {
    this.#rules = rules;
    const { issuer, audiences, clockToleranceSec } = rules.claims;
    this.#options = {
      // protection: algorithms
      algorithms: [...rules.algorithms],
      issuer,
      // protection: audience
      audience: [...audiences],
      // jose compares whole seconds. A second more leaves the last word to `checkTimes`, which is exact.
      clockTolerance: clockToleranceSec + 1,
    };
  }

  /**
   * What the token says, where a key of the set verifies it. Rejects with `CredentialError` where no other key could make it
   * good, and with anything else where we failed.
   */
  async verify(token: string, keys: KeySet, kid: string | undefined): Promise<TokenFacts | NotVerified> {
    const { kids, resolve, resolveUnnamed } = keys;
    if (kid === undefined || resolveUnnamed === undefined) return this.#verifyWith(token, resolve);
    const verified = kids.has(kid) ? await this.#verifyWith(token, resolve) : "no key";
    return typeof verified === "string" ? this.#verifyWith(token, resolveUnnamed) : verified;
  }

  async #verifyWith(token: string, resolve: JWTVerifyGetKey): Promise<TokenFacts | NotVerified> {
    try {
      const verified = /* protection: signature */ await jose.jwtVerify(token, resolve, this.#options);
      if (!hasWholeSignature(token, verified.key)) return "not signed";
      return readClaims(verified.payload, this.#rules.claims);
    } catch (error) {
      switch (codeOf(error)) {
        case "ERR_JWKS_NO_MATCHING_KEY":
          return "no key";
        case "ERR_JWS_SIGNATURE_VERIFICATION_FAILED":
          return "not signed";
        case "ERR_JWKS_MULTIPLE_MATCHING_KEYS":
          return this.#verifyWithEach(token, error);
        default:
          throw this.#refusal(error);
      }
    }
  }

  /** jose's error gives the keys that may have signed the token. */
  async #verifyWithEach(token: string, candidates: unknown): Promise<TokenFacts | NotVerified> {
    if (!isAsyncIterable(candidates)) throw candidates;
    let tried = 0;
    for await (const key of candidates) {
      const verified = await this.#verifyWith(token, () => key);
      if (typeof verified !== "string") return verified;
      tried += 1;
      if (tried === maxCandidates) break;
    }
    return "not signed";
  }

  /** jose's errors are known by their code: under Jest their classes are of another realm. */
  #refusal(error: unknown): unknown {
    switch (codeOf(error)) {
      case "ERR_JWT_CLAIM_VALIDATION_FAILED":
      case "ERR_JWT_EXPIRED":
        return this.#refusedClaim(error);
      case "ERR_JOSE_ALG_NOT_ALLOWED":
        return invalid(`alg is not one of ${this.#rules.algorithms.join(", ")}`);
      case "ERR_JOSE_NOT_SUPPORTED":
      case "ERR_JWS_INVALID":
      case "ERR_JWT_INVALID":
        return invalid("the token is malformed, or has no alg");
      default:
        return error;
    }
  }

  /** The signature is good; a claim is not. Says which, in the words for the log. */
  #refusedClaim(error: unknown): unknown {
    if (!isObject(error) || !isObject(error["payload"])) return error;
    const { claim, payload } = error;
    if (!isObject(payload)) return error;
    const { claims } = this.#rules;
    if (claim === "iss") return invalid("iss is not the configured issuer");
    if (claim === "aud") return invalid(audienceProblem(payload["aud"], claims.audiences));
    try {
      checkTimes(readClaims(payload, claims), Date.now());
    } catch (reason) {
      return reason;
    }
    return invalid(`${claim} is not accepted`);
  }
}

/**
 * Is an RSA signature as long as its key (RFC 8017, 8.1.2)? OpenSSL also accepts a PSS signature whose leading zeros are
 * left out: one token would have two texts.
 */
function hasWholeSignature(token: string, key: CryptoKey | Uint8Array): boolean {
  if (!("algorithm" in key) || !isRsa(key.algorithm)) return true;
  const characters = token.length - token.lastIndexOf(".") - 1;
  return characters === Math.ceil((Math.ceil(key.algorithm.modulusLength / 8) * 4) / 3);
}

function isRsa(algorithm: webcrypto.KeyAlgorithm): algorithm is webcrypto.RsaKeyAlgorithm {
  return algorithm.name.startsWith("RSA");
}

function codeOf(error: unknown): unknown {
  return isObject(error) ? error["code"] : undefined;
}

function isAsyncIterable(value: unknown): value is AsyncIterable<CryptoKey> {
  return typeof value === "object" && value !== null && Symbol.asyncIterator in value;
}

function invalid(message: string): CredentialError {
  return new CredentialError("invalid", message);
}
