// The credential sources of grpc-palisade/oauth against oidc-provider, a secured server and clients of createSecureClient (K2, K5).
import { Buffer } from "node:buffer";
import { inspect } from "node:util";
import { Client, type ServerUnaryCall, type sendUnaryData, status } from "@grpc/grpc-js";
import { afterEach, describe, expect, it } from "vitest";
import { currentContext } from "../../src/chain/current-context.ts";
import { bearerToken } from "../../src/client/bearer-token.ts";
import { compositeCredentials } from "../../src/client/composite-credentials.ts";
import type { CredentialSource } from "../../src/client/credential-source.ts";
import { createSecureClient, type SecureClientConstructor } from "../../src/client/secure-client.ts";
import { jwt } from "../../src/middleware/authentication/jwt/jwt.ts";
import { allowAuthenticated } from "../../src/middleware/authorization/allow-authenticated.ts";
import {
  callerToken,
  clientCredentials,
  jwtBearer,
  refreshToken,
  tokenExchange,
} from "../../src/oauth/index.ts";
import { invoke, kinds, type Note, type Result } from "../harness/kinds.ts";
import { type Secured, secured, theWorld } from "../harness/secured.ts";
import { audience, startTokenProvider, type TokenProvider } from "./token-provider.ts";

const open: AsyncDisposable[] = [];
afterEach(async () => {
  for (const each of open.splice(0).reverse()) await each[Symbol.asyncDispose]();
});

async function provider(options?: Parameters<typeof startTokenProvider>[0]): Promise<TokenProvider> {
  const started = await startTokenProvider(options);
  open.push(started);
  return started;
}

/** Answers with the subject of the caller. */
async function serverOf({ issuer }: TokenProvider, handlers: object = {}): Promise<Secured> {
  const started = await secured({
    authentication: jwt({ issuer, audience }),
    authorization: allowAuthenticated(),
    handlers: {
      unary: (_call: unknown, callback: sendUnaryData<Note>) =>
        callback(null, { text: currentContext()?.principal?.subject ?? "nobody" }),
      ...handlers,
    } as never,
  });
  open.push(started);
  return started;
}

async function clientOf(server: Secured, credentials: CredentialSource): Promise<Client> {
  const { ca, client: certificate } = await theWorld();
  const client = createSecureClient(Client as unknown as SecureClientConstructor<Client>, server.address, {
    tls: {
      ca: Buffer.from(ca.caPem),
      cert: Buffer.from(certificate.cert),
      key: Buffer.from(certificate.key),
    },
    credentials,
    logger: false,
  });
  open.push({ [Symbol.asyncDispose]: async () => client.close() });
  return client;
}

describe("with an authorization server", () => {
  it.each<[string, (of: TokenProvider) => CredentialSource, string]>([
    [
      "client credentials, basic",
      ({ issuer, secretClient: client }) => clientCredentials({ issuer, client, scope: "call" }),
      "basic-client",
    ],
    [
      "client credentials, post",
      ({ issuer, postClient: client }) =>
        clientCredentials({ issuer, client: { ...client, method: "post" } }),
      "post-client",
    ],
    [
      "client credentials, private_key_jwt",
      ({ issuer, keyClient: client }) => clientCredentials({ issuer, client }),
      "key-client",
    ],
    [
      "client credentials at an endpoint",
      ({ issuer, secretClient: client }) => clientCredentials({ tokenEndpoint: `${issuer}/token`, client }),
      "basic-client",
    ],
    [
      "an assertion that is signed here",
      ({ issuer, keyClient: client }) =>
        jwtBearer({
          issuer,
          client,
          assertion: { privateKey: client.privateKey, issuer: client.id, subject: "ada", audience: issuer },
        }),
      "ada",
    ],
  ])(
    "K2 calls of all four kinds carry a token of %s, which is fetched once",
    async (_name, sourceOf, subject) => {
      const idp = await provider();
      const server = await serverOf(idp);
      const client = await clientOf(server, sourceOf(idp));
      const all = await Promise.all(kinds.flatMap((kind) => [invoke(client, kind), invoke(client, kind)]));
      expect(all.map(({ code, details }) => `${code} ${details}`)).toEqual(all.map(() => "0 OK"));
      expect((await invoke(client, "unary")).messages).toEqual([{ text: subject }]);
      expect(idp.grants).toHaveLength(1);
    },
  );

  it("K2 a token is renewed before it expires, and no call notices", async () => {
    const idp = await provider({ lifeSec: 4 });
    const server = await serverOf(idp);
    const client = await clientOf(
      server,
      clientCredentials({ issuer: idp.issuer, client: idp.secretClient }),
    );
    const codes = new Set<status>();
    await expect
      .poll(async () => {
        codes.add((await invoke(client, "unary")).code);
        return idp.grants.length;
      })
      .toBeGreaterThan(2);
    expect([...codes]).toEqual([status.OK]);
  });

  it("K2 a refresh token is rotated, saved before it is needed, and never used twice", async () => {
    const idp = await provider({ lifeSec: 2 });
    const server = await serverOf(idp);
    const first = await idp.refreshTokenOf("ada");
    let stored = first;
    const saved: string[] = [];
    const source = refreshToken({
      issuer: idp.issuer,
      client: idp.secretClient,
      refreshToken: {
        load: async () => stored,
        save: async (next) => {
          stored = next;
          saved.push(next);
        },
      },
    });
    const client = await clientOf(server, source);
    const answers = new Set<string>();
    await expect
      .poll(async () => {
        const many = await Promise.all(Array.from({ length: 10 }, () => invoke(client, "unary")));
        for (const { code, messages } of many) answers.add(`${code} ${messages[0]?.text}`);
        return saved.length;
      })
      .toBeGreaterThan(2);
    expect([...answers]).toEqual(["0 ada"]);
    expect(idp.grants).toEqual(idp.grants.map(() => "refresh_token"));
    expect(new Set([first, ...saved]).size).toBe(saved.length + 1);

    // The old one is spent: its use ends the family, and calls end UNAVAILABLE without a word of it.
    const thief = await clientOf(
      server,
      refreshToken({ issuer: idp.issuer, client: idp.secretClient, refreshToken: first, logger: false }),
    );
    const { code, details } = await invoke(thief, "unary");
    expect(code).toBe(status.UNAVAILABLE);
    expect(details).toContain(
      'credential source "refresh-token": no token: the token endpoint answered HTTP 400 (invalid_grant)',
    );
  });

  it("K2 a token of the service is exchanged for one for the next", async () => {
    const idp = await provider();
    const server = await serverOf(idp);
    const { issuer, secretClient, keyClient } = idp;
    const own = clientCredentials({ issuer, client: keyClient });
    const type = "urn:ietf:params:oauth:token-type:access_token";
    const client = await clientOf(
      server,
      tokenExchange({
        issuer,
        client: secretClient,
        subjectToken: own,
        actorToken: own,
        requestedTokenType: type,
      }),
    );
    expect((await invoke(client, "unary")).messages).toEqual([{ text: "key-client" }]);
    for (const kind of kinds) expect((await invoke(client, kind)).code).toBe(status.OK);
    expect(idp.grants.sort()).toEqual([
      "client_credentials",
      "urn:ietf:params:oauth:grant-type:token-exchange",
    ]);
  });

  it("K2 K3 within handlers each caller's own token is exchanged, however many call at once", async () => {
    const idp = await provider();
    const { issuer, secretClient: client } = idp;
    const next = await serverOf(idp);
    const onwards = await clientOf(next, tokenExchange({ issuer, client, subjectToken: callerToken }));
    const relay = (_call: ServerUnaryCall<Note, Note>, callback: sendUnaryData<Note>): void => {
      invoke(onwards, "unary").then(({ code, details, messages }) =>
        callback(code === status.OK ? null : { code, details }, messages[0]),
      );
    };
    const server = await serverOf(idp, { unary: relay });
    const users = Array.from({ length: 12 }, (_, index) => `user-${index}`);
    const callers = await Promise.all(
      users.map(async (user) =>
        clientOf(server, refreshToken({ issuer, client, refreshToken: await idp.refreshTokenOf(user) })),
      ),
    );
    // All of the first round wait for one connection to the next service, which is opened for one of them.
    for (let round = 0; round < 3; round += 1) {
      const answers = await Promise.all(callers.map((caller) => invoke(caller, "unary")));
      expect(answers.map(({ details, messages }) => messages[0]?.text ?? details)).toEqual(users);
    }
    expect(idp.grants.filter((grant) => grant.endsWith("token-exchange"))).toHaveLength(users.length);
  });

  it("K2 a caller without a token has nothing to exchange: outside of a handler, or with a client of other code", async () => {
    const idp = await provider();
    const server = await serverOf(idp);
    const { issuer, secretClient: client } = idp;
    const exchange = tokenExchange({ issuer, client, subjectToken: callerToken });
    const outside = await invoke(await clientOf(server, exchange), "unary");
    expect(outside.details).toContain("callerToken: there is no caller");
    const { ca, client: certificate } = await theWorld();
    const foreign = new Client(
      server.address,
      compositeCredentials(
        { ca: Buffer.from(ca.caPem), cert: Buffer.from(certificate.cert), key: Buffer.from(certificate.key) },
        exchange,
      ),
    );
    open.push({ [Symbol.asyncDispose]: async () => foreign.close() });
    const relay = (_call: unknown, callback: sendUnaryData<Note>): void => {
      invoke(foreign, "unary").then(({ details }: Result) => callback(null, { text: details }));
    };
    const front = await serverOf(idp, { unary: relay });
    const caller = await clientOf(front, clientCredentials({ issuer, client }));
    expect((await invoke(caller, "unary")).messages[0]?.text).toContain("callerToken: there is no caller");
    expect(idp.grants).toEqual(["client_credentials"]);
  });

  it("K2 what the server refuses ends calls UNAVAILABLE, and shows no secret", async () => {
    const idp = await provider();
    const server = await serverOf(idp);
    const { issuer } = idp;
    const wrong = clientCredentials({
      issuer,
      client: { id: "basic-client", secret: "s3cr3t-wrong" },
      logger: false,
    });
    const client = await clientOf(server, wrong);
    for (const kind of kinds) {
      const { code, details } = await invoke(client, kind);
      expect([kind, code]).toEqual([kind, status.UNAVAILABLE]);
      expect(details).toContain(
        'credential source "client-credentials": no token: the token endpoint answered HTTP 401 (invalid_client)',
      );
    }
    expect(idp.grants).toEqual(["refused client_credentials"]);
    const bad = tokenExchange({
      issuer,
      client: idp.secretClient,
      subjectToken: bearerToken("s3cr3t"),
      logger: false,
    });
    expect((await invoke(await clientOf(server, bad), "unary")).details).toContain(
      "HTTP 400 (invalid_grant)",
    );
    expect(inspect([wrong, bad], { depth: 20, showHidden: true })).not.toContain("s3cr3t");
  });
});
