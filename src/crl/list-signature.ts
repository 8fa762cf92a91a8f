// The signatures that revocation lists may have. What is left out is weak: MD5, SHA-1.
import type { Buffer } from "node:buffer";
import { constants, type KeyObject, type VerifyKeyObjectInput, verify } from "node:crypto";
import { contextTag, DerError, DerReader, integerOf, only, tags } from "../tls/der.ts";

type Check = (signed: Buffer, signature: Buffer, key: KeyObject) => boolean;

/** By object identifier (RFC 4055, 5758, 8410), with the type of key that each is for. */
const algorithms: ReadonlyMap<string, Check> = new Map([
  ["2a864886f70d01010b", hashed("rsa", "sha256")],
  ["2a864886f70d01010c", hashed("rsa", "sha384")],
  ["2a864886f70d01010d", hashed("rsa", "sha512")],
  ["2a8648ce3d040302", hashed("ec", "sha256")],
  ["2a8648ce3d040303", hashed("ec", "sha384")],
  ["2a8648ce3d040304", hashed("ec", "sha512")],
  ["2b6570", hashed("ed25519", undefined)],
  ["2b6571", hashed("ed448", undefined)],
]);

const rsassaPss = "2a864886f70d01010a";

const pssHashes: ReadonlyMap<string, string> = new Map([
  ["608648016503040201", "sha256"],
  ["608648016503040202", "sha384"],
  ["608648016503040203", "sha512"],
]);

/** `algorithm`: the contents of an AlgorithmIdentifier. Throws `DerError` for one that is not accepted. */
export function signatureCheck(algorithm: Buffer): Check {
  const reader = new DerReader(algorithm);
  const id = reader.take(tags.oid, "signatureAlgorithm").toString("hex");
  if (id === rsassaPss) {
    const { hash, saltLength } = pssParameters(reader);
    return hashed("rsa", hash, { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength });
  }
  const check = algorithms.get(id);
  if (check === undefined)
    throw new DerError(
      "signatureAlgorithm: not one of RSA and ECDSA with SHA-256, SHA-384 or SHA-512, and EdDSA",
    );
  return check;
}

/**
 * RFC 4055 section 3.1. A hash that is left out is SHA-1, a salt's length 20 bytes. That the mask is made with the same hash shows
 * when the signature is verified.
 */
function pssParameters(reader: DerReader): { readonly hash: string; readonly saltLength: number } {
  const what = "RSASSA-PSS-params";
  const parameters = new DerReader(reader.take(tags.sequence, what));
  const hash = parameters.takeOptional(contextTag(0), what);
  const id =
    hash === undefined
      ? undefined
      : new DerReader(only(hash, tags.sequence, what)).take(tags.oid, what).toString("hex");
  const name = id === undefined ? undefined : pssHashes.get(id);
  if (name === undefined) throw new DerError(`${what}: not SHA-256, SHA-384 or SHA-512`);
  parameters.takeOptional(contextTag(1), what);
  const salt = parameters.takeOptional(contextTag(2), what);
  const saltLength = salt === undefined ? "14" : integerOf(only(salt, tags.integer, what), what);
  if (saltLength.length > 4) throw new DerError(`${what}: a salt of that length is in no signature`);
  return { hash: name, saltLength: Number.parseInt(saltLength, 16) };
}

function hashed(
  type: "rsa" | "ec" | "ed25519" | "ed448",
  hash: string | undefined,
  options: Omit<VerifyKeyObjectInput, "key"> = {},
): Check {
  return (signed, signature, key) => {
    const fits = key.asymmetricKeyType === type || (type === "rsa" && key.asymmetricKeyType === "rsa-pss");
    try {
      return fits && verify(hash, signed, { ...options, key }, signature);
    } catch {
      // A key with parameters of its own, such as another hash of RSASSA-PSS.
      return false;
    }
  };
}
