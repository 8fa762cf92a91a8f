// Public keys that verify signatures, as JWKs (RFC 7517). A key serves only the algorithms of its own kind, so that a token's
// header cannot choose another (RFC 8725 section 3.1).
import { createPublicKey, KeyObject } from "node:crypto";
import type { JWK } from "../jose.ts";
import { isObject } from "./json-object.ts";

export type SignatureAlgorithm = "RS256" | "PS256" | "ES256" | "ES384" | "EdDSA";

/** RFC 7518 section 3 and RFC 8037. No `none`, no HMAC: a verifier's key must not be able to sign. */
export const signatureAlgorithms = ["RS256", "PS256", "ES256", "ES384", "EdDSA"] as const;

/** Why a key cannot verify signatures. The message never shows the key. */
export class UnusableKey extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "UnusableKey";
  }
}

/** What `keys` accepts: a PEM text, a JWK, a KeyObject, a JWK Set. Throws `UnusableKey`. */
export function publicJwksFrom(value: unknown): readonly JWK[] {
  if (typeof value === "string") return [publicJwkFromPem(value)];
  if (value instanceof KeyObject) return [publicJwkFromKeyObject(value)];
  if (!isObject(value)) throw new UnusableKey("is neither a PEM text, a JWK, a KeyObject nor a JWK Set");
  if (!("keys" in value)) return [publicJwkFrom(value)];
  if (!Array.isArray(value["keys"]) || value["keys"].length === 0)
    throw new UnusableKey("is a JWK Set without keys");
  return value["keys"].map((jwk: unknown, index) => {
    if (!isObject(jwk)) throw new UnusableKey(`is a JWK Set whose key ${index} is not a JWK`);
    return publicJwkFrom(jwk);
  });
}

/**
 * The public key of a JWK with its `kid` and `alg`, and nothing else. RFC 7517 section 4: `use`, `key_ops` and `alg` limit
 * what a key is for. Throws `UnusableKey`.
 */
export function publicJwkFrom(jwk: Readonly<Record<string, unknown>>): JWK {
  const { kty, kid, alg, use, key_ops: operations } = jwk;
  if (kty === "oct" || "k" in jwk)
    throw new UnusableKey("is a symmetric key (HMAC): whoever verifies with it can sign with it");
  if ("d" in jwk || "p" in jwk || "priv" in jwk)
    throw new UnusableKey("holds a private key; give the public key only");
  if (use !== undefined && use !== "sig") throw new UnusableKey("is not for signatures (use)");
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes("verify")))
    throw new UnusableKey("is not for verifying (key_ops)");
  if (kid !== undefined && typeof kid !== "string") throw new UnusableKey("has a kid that is not a string");
  const { algorithms, members } = publicKey(readKey(() => createPublicKey({ key: jwk, format: "jwk" })));
  const named = kid === undefined ? members : { ...members, kid };
  if (alg === undefined) return named;
  const own = algorithms.find((algorithm) => algorithm === alg);
  if (own === undefined)
    throw new UnusableKey(`is for another algorithm (alg) than ${algorithms.join(" or ")}`);
  return { ...named, alg: own };
}

/** A key in PEM form: SubjectPublicKeyInfo or PKCS #1. */
function publicJwkFromPem(pem: string): JWK {
  const labels = [...pem.matchAll(/-----BEGIN ([A-Z0-9 ]+)-----/g)].map((match) => match[1]);
  if (labels.length === 0) throw new UnusableKey("is not PEM (give the key's text, not a path to it)");
  if (labels.length > 1) throw new UnusableKey("holds several PEM blocks; give each key as its own element");
  if (labels[0]?.endsWith("PRIVATE KEY"))
    throw new UnusableKey("holds a private key; give the public key only");
  if (labels[0] !== "PUBLIC KEY" && labels[0] !== "RSA PUBLIC KEY")
    throw new UnusableKey("is not a PEM public key (BEGIN PUBLIC KEY)");
  return publicKey(readKey(() => createPublicKey(pem))).members;
}

function publicJwkFromKeyObject(key: KeyObject): JWK {
  if (key.type === "secret")
    throw new UnusableKey("is a symmetric key (HMAC): whoever verifies with it can sign with it");
  if (key.type === "private") throw new UnusableKey("holds a private key; give the public key only");
  return publicKey(key).members;
}

function readKey(read: () => KeyObject): KeyObject {
  try {
    return read();
  } catch (error) {
    throw new UnusableKey("is not a public key that can be read", { cause: error });
  }
}

interface PublicKey {
  readonly algorithms: readonly SignatureAlgorithm[];
  /** `kty` and the key itself. */
  readonly members: JWK;
}

function publicKey(key: KeyObject): PublicKey {
  return { algorithms: algorithmsOf(key), members: key.export({ format: "jwk" }) };
}

function algorithmsOf(key: KeyObject): readonly SignatureAlgorithm[] {
  const { modulusLength = 0, publicExponent = 0n, namedCurve } = key.asymmetricKeyDetails ?? {};
  switch (key.asymmetricKeyType) {
    case "rsa":
      // RFC 7518 section 3.3: 2048 bits or more.
      if (modulusLength < 2048) throw new UnusableKey("is an RSA key of less than 2048 bits");
      // FIPS 186-5 section A.1.1: odd, more than 2^16 and less than 2^256. With 1 every signature can be made up.
      if (publicExponent < 65_537n || publicExponent >= 2n ** 256n || publicExponent % 2n === 0n)
        throw new UnusableKey(
          "is an RSA key with a public exponent that is even, below 65,537 or above 256 bits",
        );
      return ["RS256", "PS256"];
    case "ec":
      if (namedCurve === "prime256v1") return ["ES256"];
      if (namedCurve === "secp384r1") return ["ES384"];
      throw new UnusableKey("is on a curve other than P-256 and P-384");
    case "ed25519":
      return ["EdDSA"];
    default:
      throw new UnusableKey("is of a kind that none of the algorithms uses (RSA, EC, Ed25519)");
  }
}
