// The signature of a token (RFC 7515 section 5.2), by Node's own cryptography.
import { Buffer } from "node:buffer";
import { constants, type KeyObject, type VerifyKeyObjectInput, verify } from "node:crypto";
import type { SignatureAlgorithm } from "./verification-key.ts";

interface Scheme {
  readonly hash: string | null;
  /** Of the signature, where the algorithm has but one length. */
  readonly bytes?: number;
  readonly padding?: number;
  readonly saltLength?: number;
  readonly dsaEncoding?: "ieee-p1363";
}

/** RFC 7518 sections 3.3 to 3.5, and RFC 8037 section 3.1. */
const schemes: Readonly<Record<SignatureAlgorithm, Scheme>> = {
  RS256: { hash: "sha256", padding: constants.RSA_PKCS1_PADDING },
  PS256: {
    hash: "sha256",
    padding: constants.RSA_PKCS1_PSS_PADDING,
    saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
  },
  ES256: { hash: "sha256", dsaEncoding: "ieee-p1363", bytes: 64 },
  ES384: { hash: "sha384", dsaEncoding: "ieee-p1363", bytes: 96 },
  EdDSA: { hash: null, bytes: 64 },
};

export interface Signed {
  /** What was signed: header and payload as they came. */
  readonly text: string;
  readonly signature: Buffer;
}

/** Is this a signature by that key? The key must be one for the algorithm; `verification-key.ts` sees to that. */
export function isSignedBy(signed: Signed, alg: SignatureAlgorithm, key: KeyObject): boolean {
  const asked = ask(signed, alg, key);
  return asked !== undefined && verify(asked.hash, asked.data, asked.key, signed.signature);
}

/** The same on another thread. */
export function isSignedByLater(signed: Signed, alg: SignatureAlgorithm, key: KeyObject): Promise<boolean> {
  const asked = ask(signed, alg, key);
  if (asked === undefined) return Promise.resolve(false);
  return new Promise((resolve, reject) => {
    verify(asked.hash, asked.data, asked.key, signed.signature, (error, verified) => {
      if (error) reject(error);
      else resolve(verified === true);
    });
  });
}

interface Asked {
  readonly hash: string | null;
  readonly data: Buffer;
  readonly key: VerifyKeyObjectInput;
}

/** What `verify` is asked; undefined where the signature has not the algorithm's length. */
function ask({ text, signature }: Signed, alg: SignatureAlgorithm, key: KeyObject): Asked | undefined {
  const { hash, bytes, ...scheme } = schemes[alg];
  if (bytes !== undefined && signature.length !== bytes) return undefined;
  return { hash, data: Buffer.from(text, "latin1"), key: { key, ...scheme } };
}
