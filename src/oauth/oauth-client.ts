// Registered clients as options, and the keys that sign for them.
import { createPrivateKey, KeyObject } from "node:crypto";
import { z } from "zod";
import { ConfigError } from "../grpc/errors.ts";
import { type CryptoKey, jose } from "../middleware/authentication/jose.ts";

/** A private key: PEM (PKCS #8 or SEC 1), a JWK, or a KeyObject. RSA, P-256, P-384 or Ed25519. */
export type PrivateKeySource = string | KeyObject | Readonly<Record<string, unknown>>;

/** A registered client, and how it authenticates. */
export type OAuthClient =
  | {
      /** `client_id`. */
      readonly id: string;
      /** `client_secret`. Never shown. */
      readonly secret: string;
      /** Where the secret goes: into the `authorization` header or the body. Default: `"basic"`. */
      readonly method?: "basic" | "post" | undefined;
    }
  | {
      readonly id: string;
      /** Signs `private_key_jwt` assertions. */
      readonly privateKey: PrivateKeySource;
      /** The key's `kid` at the authorization server. Default: none. */
      readonly keyId?: string | undefined;
    };

const id = z.string().min(1);

export const privateKeySchema: z.ZodType<PrivateKeySource, PrivateKeySource> = z.custom<PrivateKeySource>(
  (value) => typeof value === "string" || (typeof value === "object" && value !== null),
  { error: "expected a private key: PEM text, a JWK or a KeyObject" },
);

export const clientSchema: z.ZodType<OAuthClient, OAuthClient> = z.union([
  z.strictObject({ id, secret: z.string().min(1), method: z.enum(["basic", "post"]).optional() }),
  z.strictObject({ id, privateKey: privateKeySchema, keyId: z.string().min(1).optional() }),
]);

export interface SigningKey {
  readonly cryptoKey: CryptoKey;
  readonly algorithm: string;
  readonly keyId: string | undefined;
}

/** @throws {ConfigError} where it is no private key, or of a kind that signs no tokens. The key is never shown. */
export function signingKey(
  option: string,
  source: PrivateKeySource,
  keyId: string | undefined,
): () => Promise<SigningKey> {
  const key = readKey(option, source);
  const algorithm = algorithmOf(key);
  if (algorithm === undefined)
    throw new ConfigError(`${option}: expected a key of RSA (2048 bits or more), P-256, P-384 or Ed25519`);
  const jwkId: unknown =
    source instanceof KeyObject || typeof source === "string" ? undefined : source["kid"];
  const id = keyId ?? (typeof jwkId === "string" ? jwkId : undefined);
  let imported: Promise<SigningKey> | undefined;
  return () => {
    imported ??= jose
      .importJWK(key.export({ format: "jwk" }), algorithm)
      .then((cryptoKey) => ({ cryptoKey: cryptoKey as CryptoKey, algorithm, keyId: id }));
    return imported;
  };
}

function readKey(option: string, source: PrivateKeySource): KeyObject {
  try {
    if (source instanceof KeyObject) {
      if (source.type === "private") return source;
    } else
      return typeof source === "string"
        ? createPrivateKey(source)
        : createPrivateKey({ key: source, format: "jwk" });
  } catch {
    // OpenSSL's text says nothing that helps, and may quote.
  }
  throw new ConfigError(
    `${option}: expected a private key: PEM text (not a path to it), a JWK or a KeyObject`,
  );
}

function algorithmOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): string | undefined {
  if (asymmetricKeyType === "rsa" && (asymmetricKeyDetails?.modulusLength ?? 0) >= 2048) return "RS256";
  if (asymmetricKeyType === "ed25519") return "EdDSA";
  if (asymmetricKeyType !== "ec") return undefined;
  return { prime256v1: "ES256", secp384r1: "ES384" }[asymmetricKeyDetails?.namedCurve ?? ""];
}
