// oidc-provider on a local port, which issues opaque tokens, introspects them (RFC 7662) and revokes them (RFC 7009).
import { Buffer } from "node:buffer";
import { createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { createServer, type RequestListener } from "node:http";

/** What is used of oidc-provider, which has no types. */
interface Provider {
  callback(): RequestListener;
  readonly Client: { find(id: string): Promise<object> };
  readonly Grant: new (
    of: object,
  ) => { addResourceScope(resource: string, scope: string): void; save(): Promise<string> };
  readonly AccessToken: new (of: object) => { save(): Promise<string> };
  readonly RefreshToken: new (of: object) => { save(): Promise<string> };
}

export interface OpaqueProvider extends AsyncDisposable {
  readonly issuer: string;
  /** How often the introspection endpoint was asked. */
  asked(): number;
  readonly basicClient: { readonly id: string; readonly secret: string };
  readonly postClient: { readonly id: string; readonly secret: string; readonly method: "post" };
  readonly keyClient: { readonly id: string; readonly privateKey: KeyObject };
  /** A token of a person, for an audience. */
  userToken(subject: string, options?: { readonly audience?: string }): Promise<string>;
  refreshTokenOf(subject: string): Promise<string>;
  /** By client credentials. */
  clientToken(): Promise<string>;
  revoke(token: string): Promise<void>;
}

const scope = "orders:read orders:write";

export async function startOpaqueProvider(): Promise<OpaqueProvider> {
  const { default: OidcProvider } = (await import("oidc-provider" as string)) as {
    default: new (issuer: string, configuration: object) => Provider;
  };
  let handle: RequestListener = (_request, response) => response.writeHead(503).end();
  let asked = 0;
  const server = createServer((request, response) => {
    if (request.url === "/token/introspection") asked += 1;
    handle(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("expected a TCP address");
  const issuer = `http://127.0.0.1:${address.port}`;

  const clientKey = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
  const signing = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
  const basicClient = { id: "basic-client", secret: "s3cr3t:b%c/+ 1" };
  const postClient = { id: "post-client", secret: "s3cr3t-post", method: "post" } as const;
  const client = (id: string, more: object): object => ({
    client_id: id,
    grant_types: ["client_credentials", "refresh_token", "authorization_code"],
    redirect_uris: ["https://client.example/callback"],
    response_types: ["code"],
    id_token_signed_response_alg: "ES256",
    ...more,
  });
  const provider = new OidcProvider(issuer, {
    clients: [
      client(basicClient.id, { client_secret: basicClient.secret }),
      client(postClient.id, {
        client_secret: postClient.secret,
        token_endpoint_auth_method: "client_secret_post",
      }),
      client("key-client", {
        token_endpoint_auth_method: "private_key_jwt",
        token_endpoint_auth_signing_alg: "ES256",
        jwks: { keys: [createPublicKey(clientKey).export({ format: "jwk" })] },
      }),
    ],
    jwks: { keys: [{ ...signing.export({ format: "jwk" }), alg: "ES256", use: "sig", kid: "s1" }] },
    findAccount: (_context: unknown, sub: string) => ({ accountId: sub, claims: () => ({ sub }) }),
    extraTokenClaims: () => ({ roles: ["caller"], tenant: "acme" }),
    ttl: { AccessToken: 3_600, ClientCredentials: 3_600, RefreshToken: 86_400, Grant: 86_400 },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      revocation: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => "urn:kinds",
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({ scope, audience: "kinds", accessTokenFormat: "opaque" }),
      },
    },
  });
  handle = provider.callback();

  const post = async (path: string, form: Readonly<Record<string, string>>): Promise<Response> => {
    const credentials = [basicClient.id, basicClient.secret].map(encodeURIComponent).join(":");
    const response = await fetch(`${issuer}${path}`, {
      method: "POST",
      headers: { authorization: `Basic ${Buffer.from(credentials).toString("base64")}` },
      body: new URLSearchParams(form),
    });
    if (!response.ok) throw new Error(`${path} answered ${response.status}: ${await response.text()}`);
    return response;
  };
  const grantOf = async (subject: string): Promise<object> => {
    const grant = new provider.Grant({ accountId: subject, clientId: basicClient.id });
    grant.addResourceScope("urn:kinds", scope);
    return {
      accountId: subject,
      client: await provider.Client.find(basicClient.id),
      grantId: await grant.save(),
      gty: "authorization_code",
      scope,
    };
  };

  return {
    issuer,
    asked: () => asked,
    basicClient,
    postClient,
    keyClient: { id: "key-client", privateKey: clientKey },
    async userToken(subject, { audience = "kinds" } = {}) {
      return new provider.AccessToken({
        ...(await grantOf(subject)),
        aud: audience,
        extra: { roles: ["caller"], tenant: "acme" },
      }).save();
    },
    async refreshTokenOf(subject) {
      return new provider.RefreshToken({ ...(await grantOf(subject)), resource: "urn:kinds" }).save();
    },
    async clientToken() {
      const response = await post("/token", { grant_type: "client_credentials", scope: "orders:read" });
      return ((await response.json()) as { readonly access_token: string }).access_token;
    },
    async revoke(token) {
      await post("/token/revocation", { token });
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
