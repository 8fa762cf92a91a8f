// An identity provider for these tests: it signs whatever it is asked to sign, lies and all, and publishes its keys over
// real HTTP in the way a test needs (late, broken, not at all).
import { Buffer } from "node:buffer";
import { constants, generateKeyPairSync, type KeyObject, randomUUID, sign } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { JWK } from "jose";

export type Alg = "RS256" | "PS256" | "ES256" | "ES384" | "EdDSA";

export interface SigningKey {
  readonly alg: Alg;
  readonly kid: string;
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
  readonly jwk: JWK;
}

export function signingKey(alg: Alg, kid: string = randomUUID()): SigningKey {
  const { publicKey, privateKey } = generate(alg);
  return {
    alg,
    kid,
    publicKey,
    privateKey,
    jwk: { ...publicKey.export({ format: "jwk" }), kid, alg, use: "sig" } as JWK,
  };
}

function generate(alg: Alg): { publicKey: KeyObject; privateKey: KeyObject } {
  if (alg === "ES256") return generateKeyPairSync("ec", { namedCurve: "P-256" });
  if (alg === "ES384") return generateKeyPairSync("ec", { namedCurve: "P-384" });
  if (alg === "EdDSA") return generateKeyPairSync("ed25519");
  return generateKeyPairSync("rsa", { modulusLength: 2048 });
}

export function encode(value: string | Buffer | object): string {
  if (typeof value === "string" || Buffer.isBuffer(value)) return Buffer.from(value).toString("base64url");
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

export function signatureOf(key: SigningKey, input: string): Buffer {
  const data = Buffer.from(input);
  if (key.alg === "RS256") return sign("sha256", data, key.privateKey);
  if (key.alg === "PS256") {
    return sign("sha256", data, {
      key: key.privateKey,
      padding: constants.RSA_PKCS1_PSS_PADDING,
      saltLength: 32,
    });
  }
  if (key.alg === "EdDSA") return sign(null, data, key.privateKey);
  return sign(key.alg === "ES256" ? "sha256" : "sha384", data, {
    key: key.privateKey,
    dsaEncoding: "ieee-p1363",
  });
}

/** Signs the header and payload as they are; a string is taken as JSON text already. */
export function signed(key: SigningKey, header: object | string, payload: object | string): string {
  const input = `${encode(header)}.${encode(payload)}`;
  return `${input}.${encode(signatureOf(key, input))}`;
}

export const issuer = "https://id.example";
export const audience = "orders";

export function nowSec(): number {
  return Math.floor(Date.now() / 1000);
}

/** Claims that are good for five minutes. */
export function claims(extra: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return { iss: issuer, aud: audience, sub: "ada", exp: nowSec() + 300, ...extra };
}

/** A good token, or one that differs from it as said. */
export function token(
  key: SigningKey,
  extra: Readonly<Record<string, unknown>> = {},
  header: Readonly<Record<string, unknown>> = {},
): string {
  return signed(key, { alg: key.alg, kid: key.kid, typ: "JWT", ...header }, claims(extra));
}

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

export interface JwksServer {
  readonly url: string;
  /** How many requests have arrived. */
  readonly requests: () => number;
  readonly answerWith: (answer: Answer) => void;
  readonly publish: (...keys: readonly JWK[]) => void;
  readonly close: () => Promise<void>;
}

export async function jwksServer(...keys: readonly JWK[]): Promise<JwksServer> {
  let requests = 0;
  let answer: Answer = publishing(keys);
  const server: Server = createServer((request, response) => {
    requests++;
    answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/jwks`,
    requests: () => requests,
    answerWith: (next) => {
      answer = next;
    },
    publish: (...next) => {
      answer = publishing(next);
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function publishing(keys: readonly JWK[]): Answer {
  return (_request, response) => {
    response.setHeader("content-type", "application/json").end(JSON.stringify({ keys }));
  };
}
