// The configurations of docs/tokens.md, docs/introspection.md and docs/client-credentials.md against a real Keycloak.
import { Buffer } from "node:buffer";
import { Client, type ServerUnaryCall, type sendUnaryData } from "@grpc/grpc-js";
import { decodeProtectedHeader } from "jose";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { requirePrincipal } from "../../src/chain/current-context.ts";
import type { CredentialSource } from "../../src/client/credential-source.ts";
import { createSecureClient, type SecureClientConstructor } from "../../src/client/secure-client.ts";
import type { Authenticator } from "../../src/middleware/authentication/authenticator.ts";
import { type JwtOptions, jwt } from "../../src/middleware/authentication/jwt/jwt.ts";
import { clientCredentials, introspection, refreshToken, tokenExchange } from "../../src/oauth/index.ts";
import { lacks } from "../clients/tools.ts";
import { invoke, kinds, type Note } from "../harness/kinds.ts";
import { type Secured, secured, theWorld } from "../harness/secured.ts";
import { audience, type Keycloak, startKeycloak } from "./keycloak.ts";

describe.skipIf(lacks("java", "mvn"))("Keycloak", () => {
  let keycloak: Keycloak;
  const open: AsyncDisposable[] = [];

  beforeAll(async () => {
    keycloak = await startKeycloak();
  });

  afterEach(async () => {
    for (const each of open.splice(0).reverse()) await each[Symbol.asyncDispose]();
  });

  afterAll(() => keycloak?.[Symbol.asyncDispose]());

  const recipe = (more: Partial<JwtOptions> = {}): Authenticator =>
    jwt({ issuer: keycloak.issuer, audience, claims: { roles: "realm_access.roles" }, ...more });

  /** Its unary method answers with the subject; the policy demands the role `caller`. */
  async function serverWith(authentication: Authenticator): Promise<Secured> {
    const server = await secured({
      authentication,
      handlers: {
        unary: (call: ServerUnaryCall<Note, Note>, callback: sendUnaryData<Note>) =>
          callback(null, { text: requirePrincipal(call).subject }),
      },
    });
    open.push(server);
    return server;
  }

  async function clientWith(server: Secured, credentials: CredentialSource): Promise<Client> {
    const { ca, client: own } = await theWorld();
    const client = createSecureClient(Client as unknown as SecureClientConstructor<Client>, server.address, {
      tls: { ca: Buffer.from(ca.caPem), cert: Buffer.from(own.cert), key: Buffer.from(own.key) },
      credentials,
    });
    open.push({ [Symbol.asyncDispose]: async () => client.close() });
    return client;
  }

  const answerTo = async (server: Secured, token: string): Promise<string> => {
    const { name, details } = await invoke(server.client(), "unary", {
      metadata: { authorization: `Bearer ${token}` },
    });
    return `${name} ${details}`;
  };

  it("A2 the recipe: keys by discovery, ES256, realm roles", async () => {
    const server = await serverWith(recipe({ warmUp: true }));
    const { access_token: token } = await keycloak.signIn();
    expect(decodeProtectedHeader(token)).toMatchObject({ alg: "ES256" });
    for (const kind of kinds) {
      const metadata = { authorization: `Bearer ${token}` };
      expect(await invoke(server.client(), kind, { metadata })).toMatchObject({ name: "OK" });
    }
  });

  it("A1 a token for nobody, an ID token and a refresh token are refused", async () => {
    const server = await serverWith(recipe());
    const tokens = await keycloak.signIn();
    const forNobody = await keycloak.signIn(keycloak.stranger);
    expect(await answerTo(server, tokens.access_token)).toBe("OK OK");
    for (const token of [forNobody.access_token, tokens.id_token, tokens.refresh_token])
      expect(await answerTo(server, token)).toBe("UNAUTHENTICATED invalid credentials");
  });

  it("A2 a realm that does not exist stops the start with warmUp", async () => {
    await expect(serverWith(recipe({ issuer: `${keycloak.issuer}-none`, warmUp: true }))).rejects.toThrow(
      /-none/,
    );
  });

  it("A2 a new key is accepted without a restart, and the old one still is", async () => {
    const server = await serverWith(recipe());
    const before = (await keycloak.signIn()).access_token;
    expect(await answerTo(server, before)).toBe("OK OK");
    await keycloak.rotate();
    const after = (await keycloak.signIn()).access_token;
    expect(decodeProtectedHeader(after).kid).not.toBe(decodeProtectedHeader(before).kid);
    expect(await answerTo(server, after)).toBe("OK OK");
    expect(await answerTo(server, before)).toBe("OK OK");
  });

  it("A4 introspection: active, and no more after it was revoked", async () => {
    const { issuer, service } = keycloak;
    const server = await serverWith(
      introspection({
        issuer,
        client: service,
        audience,
        tokens: "all",
        claims: { roles: "realm_access.roles" },
        cache: { maxAgeSec: 0 },
      }),
    );
    const { access_token: token } = await keycloak.signIn();
    expect(await answerTo(server, token)).toBe("OK OK");
    await keycloak.revoke(token);
    expect(await answerTo(server, token)).toBe("UNAUTHENTICATED invalid credentials");
  });

  const sources: readonly [string, () => Promise<CredentialSource>][] = [
    [
      "client credentials, basic",
      async () => clientCredentials({ issuer: keycloak.issuer, client: keycloak.billing }),
    ],
    [
      "client credentials, post",
      async () =>
        clientCredentials({ issuer: keycloak.issuer, client: { ...keycloak.billing, method: "post" } }),
    ],
    [
      "client credentials, private_key_jwt",
      async () => clientCredentials({ issuer: keycloak.issuer, client: keycloak.signing }),
    ],
    [
      "a refresh token",
      async () =>
        refreshToken({
          issuer: keycloak.issuer,
          client: keycloak.billing,
          refreshToken: (await keycloak.signIn()).refresh_token,
        }),
    ],
    [
      "token exchange",
      async () => {
        const { access_token: subjectToken } = await keycloak.signIn();
        return tokenExchange({
          issuer: keycloak.issuer,
          client: keycloak.billing,
          audience,
          subjectToken: () => subjectToken,
        });
      },
    ],
  ];

  const mistakes: readonly [string, () => CredentialSource, string][] = [
    [
      "a wrong secret",
      () =>
        clientCredentials({
          issuer: keycloak.issuer,
          client: { ...keycloak.billing, secret: "wr0ng" },
          logger: false,
        }),
      "the token endpoint answered HTTP 401 (unauthorized_client)",
    ],
    [
      "a client without a service account",
      () => clientCredentials({ issuer: keycloak.issuer, client: keycloak.desk, logger: false }),
      "the token endpoint answered HTTP 401 (unauthorized_client)",
    ],
    [
      "an unknown client",
      () =>
        clientCredentials({ issuer: keycloak.issuer, client: { id: "nobody", secret: "s" }, logger: false }),
      "the token endpoint answered HTTP 401 (invalid_client)",
    ],
    [
      "the URL of another realm",
      () => clientCredentials({ issuer: `${keycloak.issuer}-none`, client: keycloak.billing, logger: false }),
      "the issuer's metadata could not be read: HTTP 404",
    ],
    [
      "the URL of Keycloak instead of the realm's",
      () =>
        clientCredentials({
          issuer: new URL(keycloak.issuer).origin,
          client: keycloak.billing,
          logger: false,
        }),
      "the issuer's metadata could not be read: HTTP 404",
    ],
  ];

  it.each(mistakes)("K2 %s is told as docs/troubleshooting.md has it", async (_what, source, told) => {
    const client = await clientWith(await serverWith(recipe()), source());
    const { name, details } = await invoke(client, "unary");
    expect(`${name} ${details}`).toMatch(/^UNAVAILABLE .*: no token: /);
    expect(details.split("no token: ")[1]).toBe(told);
  });

  it.each(sources)("K2 %s", async (_what, source) => {
    const server = await serverWith(recipe());
    const client = await clientWith(server, await source());
    for (const kind of kinds) expect(await invoke(client, kind)).toMatchObject({ name: "OK" });
  });
});
