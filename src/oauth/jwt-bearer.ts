// jwtBearer: an assertion in place of a login (RFC 7523 section 2.1).
import { randomUUID } from "node:crypto";
import { z } from "zod";
import type { CredentialSource } from "../client/credential-source.ts";
import { TokenFailure } from "../client/renewed-token.ts";
import { secretProblem } from "../client/secret-text.ts";
import { tokenSource } from "../client/token-source.ts";
import { parseOptions } from "../config/options.ts";
import { jose } from "../middleware/authentication/jose.ts";
import { type PrivateKeySource, privateKeySchema, signingKey } from "./oauth-client.ts";
import {
  endpointShape,
  type TokenEndpointOptions,
  type TokenEndpointSettings,
  tokenEndpoint,
} from "./token-endpoint.ts";

/** An assertion that is signed here (RFC 7523 section 3). */
export interface SignedAssertion {
  /** RSA (2048 bits or more), P-256, P-384 or Ed25519. Never shown. */
  readonly privateKey: PrivateKeySource;
  /** The key's `kid`. Default: none. */
  readonly keyId?: string | undefined;
  /** `iss`. */
  readonly issuer: string;
  /** `sub`: on whose behalf. */
  readonly subject: string;
  /** `aud`: the authorization server, as it wants to be called. */
  readonly audience: string;
}

export interface JwtBearerOptions extends TokenEndpointOptions {
  /** A function that gives an assertion each time a token is fetched, or what one is made of; it is valid for a minute then. */
  readonly assertion: (() => string | Promise<string>) | SignedAssertion;
}

interface JwtBearerSettings extends TokenEndpointSettings {
  readonly assertion: JwtBearerOptions["assertion"];
}

const text = z.string().min(1);

export const jwtBearerSchema: z.ZodType<JwtBearerSettings> = z.strictObject({
  ...endpointShape,
  // What an assertion is made of is checked in whole by assertionOf.
  assertion: z.custom<JwtBearerOptions["assertion"]>(
    (value) => typeof value === "function" || (typeof value === "object" && value !== null),
    { error: "expected a function, or { privateKey, issuer, subject, audience }" },
  ),
});

const signedSchema: z.ZodType<SignedAssertion> = z.strictObject({
  privateKey: privateKeySchema,
  keyId: text.optional(),
  issuer: text,
  subject: text,
  audience: text,
});

const grantType = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const assertionLifeSec = 60;

/**
 * Sends an access token that the authorization server gives for a signed assertion. Fetched, renewed and sent as
 * with `clientCredentials`.
 *
 * @throws ConfigError where an option is wrong or oauth4webapi is not installed; secrets and keys are never shown
 * @example
 * jwtBearer({
 *   issuer: "https://id.example",
 *   client: { id: "billing", secret: process.env.CLIENT_SECRET },
 *   assertion: { privateKey, issuer: "billing", subject: "ada", audience: "https://id.example" },
 * });
 */
export function jwtBearer(options: JwtBearerOptions): CredentialSource {
  const where = "jwtBearer";
  const settings = parseOptions(jwtBearerSchema, options, where);
  const request = tokenEndpoint(where, settings);
  const assertion = assertionOf(where, settings.assertion);
  const { timeoutMs, logger } = settings;
  return tokenSource({ name: "jwt-bearer", timeoutMs, logger }, async (signal) =>
    request({ grantType, parameters: { assertion: await assertion() }, signal }),
  );
}

function assertionOf(where: string, assertion: JwtBearerOptions["assertion"]): () => Promise<string> {
  if (typeof assertion === "function")
    return async () => {
      const given: unknown = await assertion();
      const problem = secretProblem(given);
      if (problem !== undefined) throw new TokenFailure(`what the assertion function returned ${problem}`);
      return String(given);
    };
  const { privateKey, keyId, issuer, subject, audience } = parseOptions(
    signedSchema,
    assertion,
    `${where}.assertion`,
  );
  const key = signingKey(`${where}.assertion.privateKey`, privateKey, keyId);
  return async () => {
    const signer = await key();
    const header = signer.keyId === undefined ? {} : { kid: signer.keyId };
    return new jose.SignJWT()
      .setProtectedHeader({ alg: signer.algorithm, ...header })
      .setIssuer(issuer)
      .setSubject(subject)
      .setAudience(audience)
      .setIssuedAt()
      .setExpirationTime(Math.floor(Date.now() / 1000) + assertionLifeSec)
      .setJti(randomUUID())
      .sign(signer.cryptoKey);
  };
}
