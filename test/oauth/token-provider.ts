// oidc-provider on a local port, with clients of each kind, rotating refresh tokens, and the two grants that it lacks: token
// exchange (RFC 8693) and JWT bearer (RFC 7523), as far as a test needs them.
import { createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { createServer, type RequestListener } from "node:http";
import { jose } from "../../src/middleware/authentication/jose.ts";

/** What is used of oidc-provider, which has no types. */
interface Provider {
  callback(): RequestListener;
  registerGrantType(name: string, handler: GrantHandler, parameters: readonly string[]): void;
  on(event: string, listener: (...args: unknown[]) => void): void;
  readonly Grant: new (
    of: object,
  ) => {
    addResourceScope(resource: string, scope: string): void;
    addOIDCScope(scope: string): void;
    save(): Promise<string>;
  };
  readonly RefreshToken: new (of: object) => { save(): Promise<string> };
  readonly Client: { find(id: string): Promise<object> };
}
interface GrantContext {
  body: unknown;
  readonly oidc: {
    readonly params: Readonly<Record<string, string>>;
    readonly client: { readonly clientId: string };
  };
}
type GrantHandler = (context: GrantContext) => Promise<void>;

export interface TokenProvider extends AsyncDisposable {
  readonly issuer: string;
  /** The requests that came to the token endpoint, by grant type. */
  readonly grants: string[];
  readonly secretClient: { readonly id: string; readonly secret: string };
  readonly postClient: { readonly id: string; readonly secret: string };
  readonly keyClient: { readonly id: string; readonly privateKey: KeyObject };
  /** As a login would have given it to `secretClient`. */
  refreshTokenOf(subject: string): Promise<string>;
}

export const audience = "kinds";
const resource = "urn:kinds";

export interface ProviderOptions {
  readonly lifeSec?: number;
}

export async function startTokenProvider({ lifeSec = 3_600 }: ProviderOptions = {}): Promise<TokenProvider> {
  const { default: OidcProvider } = (await import("oidc-provider" as string)) as {
    default: new (issuer: string, configuration: object) => Provider;
  };
  const grants: string[] = [];
  let handle: RequestListener = (_request, response) => response.writeHead(503).end();
  const server = createServer((request, response) => handle(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("expected a TCP address");
  const issuer = `http://127.0.0.1:${address.port}`;

  const signing = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
  const clientKey = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
  const own = { ...signing.export({ format: "jwk" }), alg: "ES256", use: "sig", kid: "s1" };
  const grantTypes = [
    "client_credentials",
    "refresh_token",
    "authorization_code",
    "urn:ietf:params:oauth:grant-type:token-exchange",
    "urn:ietf:params:oauth:grant-type:jwt-bearer",
  ];
  const client = (id: string, more: object): object => ({
    client_id: id,
    grant_types: grantTypes,
    redirect_uris: ["https://client.example/callback"],
    response_types: ["code"],
    id_token_signed_response_alg: "ES256",
    scope: "openid offline_access call",
    ...more,
  });
  const provider = new OidcProvider(issuer, {
    clients: [
      client("basic-client", { client_secret: "s3cr3t:b%c/+ 1" }),
      client("post-client", {
        client_secret: "s3cr3t-post",
        token_endpoint_auth_method: "client_secret_post",
      }),
      client("key-client", {
        token_endpoint_auth_method: "private_key_jwt",
        token_endpoint_auth_signing_alg: "ES256",
        jwks: { keys: [createPublicKey(clientKey).export({ format: "jwk" })] },
      }),
    ],
    jwks: { keys: [own] },
    scopes: ["openid", "offline_access", "call"],
    rotateRefreshToken: true,
    findAccount: (_context: unknown, sub: string) => ({ accountId: sub, claims: () => ({ sub }) }),
    ttl: {
      AccessToken: lifeSec,
      ClientCredentials: lifeSec,
      RefreshToken: 86_400,
      Grant: 86_400,
      IdToken: 600,
    },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => resource,
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope: "call",
          audience,
          accessTokenFormat: "jwt",
          accessTokenTTL: lifeSec,
          jwt: { sign: { alg: "ES256" } },
        }),
      },
    },
  });

  const issue = (subject: string, by: string): Promise<string> =>
    new jose.SignJWT({ client_id: by })
      .setProtectedHeader({ alg: "ES256", typ: "at+jwt", kid: "s1" })
      .setIssuer(issuer)
      .setSubject(subject)
      .setAudience(audience)
      .setIssuedAt()
      .setExpirationTime(`${lifeSec}s`)
      .sign(signing);
  const answer = (token: string, more: object = {}): object => ({
    access_token: token,
    token_type: "Bearer",
    expires_in: lifeSec,
    ...more,
  });
  const refusal = (error: string): Error =>
    Object.assign(new Error(error), { error, status: 400, statusCode: 400, expose: true });

  provider.registerGrantType(
    "urn:ietf:params:oauth:grant-type:token-exchange",
    async (context) => {
      const { params, client: by } = context.oidc;
      const verified = await jose
        .jwtVerify(params["subject_token"] ?? "", createPublicKey(signing), { issuer, audience })
        .catch(() => undefined);
      if (verified === undefined) throw refusal("invalid_grant");
      const issuedType = "urn:ietf:params:oauth:token-type:access_token";
      context.body = answer(await issue(String(verified.payload.sub), by.clientId), {
        issued_token_type: issuedType,
      });
    },
    [
      "subject_token",
      "subject_token_type",
      "actor_token",
      "actor_token_type",
      "requested_token_type",
      "audience",
      "scope",
    ],
  );
  provider.registerGrantType(
    "urn:ietf:params:oauth:grant-type:jwt-bearer",
    async (context) => {
      const { params, client: by } = context.oidc;
      const verified = await jose
        .jwtVerify(params["assertion"] ?? "", createPublicKey(clientKey), {
          issuer: by.clientId,
          audience: issuer,
        })
        .catch(() => undefined);
      if (verified === undefined) throw refusal("invalid_grant");
      context.body = answer(await issue(String(verified.payload.sub), by.clientId));
    },
    ["assertion", "scope"],
  );
  provider.on("grant.success", (context) => {
    grants.push((context as GrantContext).oidc.params["grant_type"] ?? "");
  });
  provider.on("grant.error", (context) => {
    grants.push(`refused ${(context as GrantContext).oidc.params["grant_type"]}`);
  });
  handle = provider.callback();

  return {
    issuer,
    grants,
    secretClient: { id: "basic-client", secret: "s3cr3t:b%c/+ 1" },
    postClient: { id: "post-client", secret: "s3cr3t-post" },
    keyClient: { id: "key-client", privateKey: clientKey },
    async refreshTokenOf(subject) {
      const grant = new provider.Grant({ accountId: subject, clientId: "basic-client" });
      grant.addOIDCScope("openid offline_access");
      grant.addResourceScope(resource, "call");
      const grantId = await grant.save();
      return new provider.RefreshToken({
        accountId: subject,
        client: await provider.Client.find("basic-client"),
        grantId,
        gty: "authorization_code",
        scope: "openid offline_access call",
        resource,
      }).save();
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
