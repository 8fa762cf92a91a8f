// An identity provider on a local port, for tests and demos: real keys, real signatures, a real JWKS endpoint, and the
// failures that real ones have.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { z } from "zod";
import { parseOptions } from "../config/options.ts";
import {
  type CryptoKey,
  type JSONWebKeySet,
  type JWK,
  type JWTHeaderParameters,
  jose,
} from "../middleware/authentication/jose.ts";

/** The algorithms that Palisade accepts (RFC 7518 section 3.1, RFC 8037 section 3.1). */
export type TokenAlgorithm = "RS256" | "PS256" | "ES256" | "ES384" | "EdDSA";

export interface TokenIssuerOptions {
  /** What `iss` says. Default: the address of this issuer. */
  readonly issuer?: string | undefined;
  /** What `aud` says where `sign` is not told otherwise. Default: `test-audience`. */
  readonly audience?: string | undefined;
  /** One key for each is published; the first one signs by default. Default: ES256, RS256, PS256, ES384, EdDSA. */
  readonly algorithms?: readonly TokenAlgorithm[] | undefined;
}

export interface SignOptions {
  /** How it is signed. Default: the issuer's first algorithm. */
  readonly alg?: TokenAlgorithm | undefined;
  /** The key's id in the header; `null` leaves it out. Default: the key's own. */
  readonly kid?: string | null | undefined;
  /** The header's `typ`; `null` leaves it out. Default: `JWT`. */
  readonly typ?: string | null | undefined;
  /** When it ends, in seconds from now; negative for a token that has expired. Default: 300. */
  readonly expiresInSec?: number | undefined;
  /** More header parameters. Default: none. */
  readonly header?: Readonly<Record<string, unknown>> | undefined;
}

/**
 * How its endpoints answer: as it should; with 503; with something that is no JSON; by closing the connection; or not
 * at all, until it is told to behave otherwise.
 */
export type TokenIssuerBehaviour = "up" | "unavailable" | "garbage" | "disconnect" | "hang";

export interface TokenIssuer extends AsyncDisposable {
  readonly issuer: string;
  readonly audience: string;
  readonly jwksUri: string;
  /** How many requests came to the JWKS endpoint, answered or not. */
  readonly jwksRequests: number;
  /**
   * A signed JWT. `iss`, `aud`, `sub` (`user-1`), `iat` and `exp` are filled in; a claim given here takes their place,
   * and one that is `undefined` leaves it out.
   */
  sign(claims?: Readonly<Record<string, unknown>>, options?: SignOptions): Promise<string>;
  /** The public keys, as the endpoint publishes them. */
  jwks(): JSONWebKeySet;
  /** The public key in use as PEM (SPKI): what an attacker has who tries it as an HMAC secret. */
  publicKeyPem(alg: TokenAlgorithm): Promise<string>;
  /** Makes new keys, and drops the old ones from the JWKS. */
  rotate(): Promise<void>;
  /** From now on the endpoint answers like this. Requests that hang are answered, or hung up on, accordingly. */
  behave(behaviour: TokenIssuerBehaviour): void;
  close(): Promise<void>;
}

const algorithms = ["ES256", "RS256", "PS256", "ES384", "EdDSA"] as const;

export const issuerSchema: z.ZodType<{
  readonly issuer?: string | undefined;
  readonly audience: string;
  readonly algorithms: readonly TokenAlgorithm[];
}> = z.strictObject({
  issuer: z.string().min(1).optional(),
  audience: z.string().min(1).default("test-audience"),
  algorithms: z
    .array(z.enum(algorithms))
    .min(1)
    .default([...algorithms]),
});

export const signSchema: z.ZodType<{
  readonly alg?: TokenAlgorithm | undefined;
  readonly kid?: string | null | undefined;
  readonly typ: string | null;
  readonly expiresInSec: number;
  readonly header: Readonly<Record<string, unknown>>;
}> = z.strictObject({
  alg: z.enum(algorithms).optional(),
  kid: z.string().nullish(),
  typ: z.string().nullable().default("JWT"),
  expiresInSec: z.number().default(300),
  header: z.record(z.string(), z.unknown()).default({}),
});

/** Spread into a token, a text would become a claim for each of its letters, and a promise none. */
export const claimsSchema: z.ZodType<Readonly<Record<string, unknown>>> = z.record(z.string(), z.unknown(), {
  error: 'expected the claims of a token, such as { sub: "ada", roles: ["viewer"] }',
});

const behaviourSchema: z.ZodType<TokenIssuerBehaviour> = z.enum([
  "up",
  "unavailable",
  "garbage",
  "disconnect",
  "hang",
]);

interface SigningKey {
  readonly alg: TokenAlgorithm;
  readonly kid: string;
  readonly privateKey: CryptoKey;
  readonly publicKey: CryptoKey;
  readonly jwk: JWK;
}

/**
 * Starts an identity provider on 127.0.0.1, on a free port, whose keys are found by discovery (OpenID Connect Discovery 1.0).
 * Close it, or declare it with `await using`.
 *
 * @example
 * const issuer = await createTokenIssuer();
 * const authentication = jwt({ issuer: issuer.issuer, audience: issuer.audience });
 * const token = await issuer.sign({ sub: "alice", roles: ["admin"] });
 * await issuer.close();
 */
export async function createTokenIssuer(options: TokenIssuerOptions = {}): Promise<TokenIssuer> {
  const settings = parseOptions(issuerSchema, options, "createTokenIssuer");
  const issuer = new LocalTokenIssuer(settings.algorithms, settings.audience);
  await issuer.rotate();
  await issuer.start(settings.issuer);
  return issuer;
}

/** A request, and what it is answered with when the issuer is up. */
interface Asked {
  readonly response: ServerResponse;
  readonly document: () => unknown;
}

class LocalTokenIssuer implements TokenIssuer {
  readonly audience: string;
  readonly #algorithms: readonly TokenAlgorithm[];
  readonly #server: Server;
  #issuer = "";
  #address = "";
  #keys: readonly SigningKey[] = [];
  #generation = 0;
  #jwksRequests = 0;
  #behaviour: TokenIssuerBehaviour = "up";
  #hanging: Asked[] = [];
  /** By path. */
  readonly #documents: ReadonlyMap<string, () => unknown> = new Map<string, () => unknown>([
    ["/jwks", () => this.jwks()],
    ["/.well-known/openid-configuration", () => ({ issuer: this.#issuer, jwks_uri: this.jwksUri })],
  ]);

  constructor(algorithmsInUse: readonly TokenAlgorithm[], audience: string) {
    this.#algorithms = algorithmsInUse;
    this.audience = audience;
    this.#server = createServer((request, response) => this.#onRequest(request, response));
  }

  get issuer(): string {
    return this.#issuer;
  }

  get jwksUri(): string {
    return `${this.#address}/jwks`;
  }

  get jwksRequests(): number {
    return this.#jwksRequests;
  }

  async start(issuer: string | undefined): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(0, "127.0.0.1", resolve);
    });
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("the token issuer has no port");
    this.#address = `http://127.0.0.1:${address.port}`;
    this.#issuer = issuer ?? this.#address;
  }

  async sign(claims: Readonly<Record<string, unknown>> = {}, options: SignOptions = {}): Promise<string> {
    const { alg, kid, typ, expiresInSec, header } = parseOptions(signSchema, options, "sign");
    parseOptions(claimsSchema, claims, "sign.claims");
    const key = this.#key(alg ?? this.#algorithms[0] ?? "ES256");
    const nowSec = Math.floor(Date.now() / 1_000);
    const payload = {
      iss: this.#issuer,
      aud: this.audience,
      sub: "user-1",
      iat: nowSec,
      exp: nowSec + expiresInSec,
      ...claims,
    };
    const protectedHeader: JWTHeaderParameters = {
      ...(typ === null ? {} : { typ }),
      ...(kid === null ? {} : { kid: kid ?? key.kid }),
      ...header,
      alg: key.alg,
    };
    // Through JSON, as on the wire: a claim that is undefined is not there.
    return new jose.SignJWT(JSON.parse(JSON.stringify(payload)))
      .setProtectedHeader(protectedHeader)
      .sign(key.privateKey);
  }

  jwks(): JSONWebKeySet {
    return { keys: this.#keys.map(({ jwk }) => jwk) };
  }

  publicKeyPem(alg: TokenAlgorithm): Promise<string> {
    return jose.exportSPKI(this.#key(alg).publicKey);
  }

  async rotate(): Promise<void> {
    this.#generation += 1;
    const generation = this.#generation;
    this.#keys = await Promise.all(this.#algorithms.map((alg) => newSigningKey(alg, `${alg}-${generation}`)));
  }

  behave(behaviour: TokenIssuerBehaviour): void {
    this.#behaviour = parseOptions(behaviourSchema, behaviour, "behave");
    const waiting = this.#hanging;
    this.#hanging = [];
    for (const asked of waiting) this.#answer(asked);
  }

  async close(): Promise<void> {
    if (!this.#server.listening) return;
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #key(alg: TokenAlgorithm): SigningKey {
    const key = this.#keys.find((candidate) => candidate.alg === alg);
    if (key === undefined)
      throw new Error(`this token issuer has no key for ${alg}; name it in its algorithms`);
    return key;
  }

  #onRequest(request: IncomingMessage, response: ServerResponse): void {
    const document = request.method === "GET" ? this.#documents.get(request.url ?? "") : undefined;
    if (document === undefined) {
      response.writeHead(404).end();
      return;
    }
    if (request.url === "/jwks") this.#jwksRequests += 1;
    this.#answer({ response, document });
  }

  #answer(asked: Asked): void {
    const { response, document } = asked;
    switch (this.#behaviour) {
      case "up":
        response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(document()));
        return;
      case "unavailable":
        response.writeHead(503).end();
        return;
      case "garbage":
        response
          .writeHead(200, { "content-type": "application/json" })
          .end("<html>not what you asked for</html>");
        return;
      case "disconnect":
        response.destroy();
        return;
      case "hang":
        this.#hanging.push(asked);
        return;
    }
  }
}

async function newSigningKey(alg: TokenAlgorithm, kid: string): Promise<SigningKey> {
  const { privateKey, publicKey } = await jose.generateKeyPair(alg, { extractable: true });
  const jwk = { ...(await jose.exportJWK(publicKey)), kid, alg, use: "sig" };
  return { alg, kid, privateKey, publicKey, jwk };
}
