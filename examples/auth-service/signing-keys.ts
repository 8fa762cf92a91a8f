// The keys that sign access tokens: ES256, one in use, and the one before for the tokens that it signed.
import { createServer, type Server } from "node:https";
import { exportJWK, generateKeyPair, type JWK, SignJWT } from "jose";

interface SigningKey {
  readonly kid: string;
  readonly privateKey: Awaited<ReturnType<typeof generateKeyPair>>["privateKey"];
  readonly jwk: JWK;
}

export interface SigningKeys {
  /** Signs with the newest key. */
  sign(claims: Readonly<Record<string, unknown>>): Promise<string>;
  /** A new key signs from now on; the one before stays published, older ones do not. */
  rotate(): Promise<void>;
  /** What the issuer publishes (RFC 7517 section 5). */
  published(): { readonly keys: readonly JWK[] };
}

export async function signingKeys(): Promise<SigningKeys> {
  let [current, previous]: [SigningKey, SigningKey | undefined] = [await newKey(1), undefined];
  let generation = 1;
  return {
    sign: (claims) =>
      new SignJWT({ ...claims })
        .setProtectedHeader({ alg: "ES256", typ: "at+jwt", kid: current.kid })
        .sign(current.privateKey),
    async rotate() {
      generation += 1;
      [current, previous] = [await newKey(generation), current];
    },
    published: () => ({
      keys: [current, ...(previous === undefined ? [] : [previous])].map(({ jwk }) => jwk),
    }),
  };
}

async function newKey(generation: number): Promise<SigningKey> {
  const kid = `auth-${Date.now().toString(36)}-${generation}`;
  const { privateKey, publicKey } = await generateKeyPair("ES256");
  return { kid, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg: "ES256", use: "sig" } };
}

/** Serves the issuer's metadata (RFC 8414 section 3) and its keys over https on a free port of this machine. */
export async function publish(
  keys: SigningKeys,
  tls: { readonly cert: Buffer; readonly key: Buffer },
): Promise<{ readonly issuer: string; readonly close: () => Promise<void> }> {
  let issuer = "";
  const documents: Readonly<Record<string, () => unknown>> = {
    "/.well-known/openid-configuration": () => ({ issuer, jwks_uri: `${issuer}/jwks` }),
    "/jwks": () => keys.published(),
  };
  const server: Server = createServer(tls, (request, response) => {
    const document = request.method === "GET" ? documents[request.url ?? ""] : undefined;
    if (document === undefined) response.writeHead(404).end();
    else response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(document()));
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(0, "127.0.0.1", resolve);
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the key server has no port");
  issuer = `https://localhost:${address.port}`;
  return {
    issuer,
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
