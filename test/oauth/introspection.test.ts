import { Buffer } from "node:buffer";
import { X509Certificate } from "node:crypto";
import { type ServerUnaryCall, type sendUnaryData, status } from "@grpc/grpc-js";
import { afterEach, describe, expect, it } from "vitest";
import { currentContext } from "../../src/chain/current-context.ts";
import { ConfigError } from "../../src/grpc/errors.ts";
import { anyOf } from "../../src/middleware/authentication/any-of.ts";
import type { Authenticator } from "../../src/middleware/authentication/authenticator.ts";
import { jwt } from "../../src/middleware/authentication/jwt/jwt.ts";
import {
  type MemoryRevocationList,
  revocationList,
} from "../../src/middleware/authentication/revocation/memory-revocation-list.ts";
import { type IntrospectionOptions, introspection } from "../../src/oauth/index.ts";
import { type AnyClientCall, invoke, kinds, type Note, type Result } from "../harness/kinds.ts";
import { type Secured, type SecuredOptions, secured, theWorld } from "../harness/secured.ts";
import { waitMs } from "../harness/time.ts";
import {
  type Answer,
  active,
  type FakeEndpoint,
  json,
  nowSec,
  startEndpoint,
} from "./introspection-endpoint.ts";
import { type OpaqueProvider, startOpaqueProvider } from "./opaque-provider.ts";

const open: AsyncDisposable[] = [];
afterEach(async () => {
  for (const each of open.splice(0).reverse()) await each[Symbol.asyncDispose]();
});

async function provider(): Promise<OpaqueProvider> {
  const started = await startOpaqueProvider();
  open.push(started);
  return started;
}

const told = {
  unary: (_call: ServerUnaryCall<Note, Note>, callback: sendUnaryData<Note>) => {
    const principal = currentContext()?.principal;
    callback(null, {
      text: JSON.stringify({
        subject: principal?.subject,
        kind: principal?.kind,
        scheme: principal?.scheme,
        issuer: principal?.issuer,
        tenant: principal?.tenant,
        roles: [...(principal?.roles ?? [])],
        permissions: [...(principal?.permissions ?? [])],
      }),
    });
  },
};

async function serverOf(authentication: Authenticator, options: SecuredOptions = {}): Promise<Secured> {
  const started = await secured({ authentication, rateLimit: { failedAuthentication: false }, ...options });
  open.push(started);
  return started;
}

function optionsOf({ issuer, basicClient }: OpaqueProvider): IntrospectionOptions {
  return { issuer, client: basicClient, audience: "kinds", claims: { permissions: "scope" } };
}

const bearer = (token: string): { authorization: string } => ({ authorization: `Bearer ${token}` });
const answers = (results: readonly Result[]): readonly string[] =>
  results.map(({ code, details }) => `${code} ${details}`);

describe("with an authorization server", () => {
  it.each<[string, (of: OpaqueProvider) => Partial<IntrospectionOptions>]>([
    ["a secret in the header", ({ basicClient: client }) => ({ client })],
    ["a secret in the body", ({ postClient: client }) => ({ client })],
    ["a signed assertion", ({ keyClient: client }) => ({ client })],
    [
      "a secret, at an endpoint that is given",
      ({ issuer, basicClient: client }) => ({
        client,
        issuer,
        endpoint: `${issuer}/token/introspection`,
      }),
    ],
  ])(
    "A4 calls of all four kinds pass with an opaque token that is asked about once, by %s",
    async (_name, more) => {
      const idp = await provider();
      const server = await serverOf(introspection({ ...optionsOf(idp), ...more(idp) }));
      const metadata = bearer(await idp.userToken("ada"));
      const client = server.client();
      const results = await Promise.all(kinds.map((kind) => invoke(client, kind, { metadata })));
      expect(answers(results)).toEqual(kinds.map(() => "0 OK"));
      expect(idp.asked()).toBe(1);
    },
  );

  it("A4 the principal is who the server says: a user, or a client that acts for itself", async () => {
    const idp = await provider();
    const server = await serverOf(introspection(optionsOf(idp)), { handlers: told as never });
    const client = server.client();
    const seen = async (token: string): Promise<unknown> =>
      JSON.parse((await invoke(client, "unary", { metadata: bearer(token) })).messages[0]?.text ?? "null");
    expect(await seen(await idp.userToken("ada"))).toEqual({
      subject: "ada",
      kind: "user",
      scheme: "introspection",
      issuer: idp.issuer,
      tenant: "acme",
      roles: ["caller"],
      permissions: ["orders:read", "orders:write"],
    });
    expect(await seen(await idp.clientToken())).toMatchObject({
      subject: "basic-client",
      kind: "service",
      permissions: ["orders:read"],
    });
  });

  it("A4 a token that is revoked at the server is accepted while its answer is kept, and refused after that", async () => {
    const idp = await provider();
    const keeps = await serverOf(introspection({ ...optionsOf(idp), cache: { maxAgeSec: 3_600 } }));
    const keepsBriefly = await serverOf(introspection({ ...optionsOf(idp), cache: { maxAgeSec: 1 } }));
    const asksAlways = await serverOf(introspection({ ...optionsOf(idp), cache: { maxAgeSec: 0 } }));
    const token = await idp.userToken("ada");
    const of = async (server: Secured): Promise<string> =>
      (await invoke(server.client(), "unary", { metadata: bearer(token) })).details;
    expect(await Promise.all([keeps, keepsBriefly, asksAlways].map(of))).toEqual(["OK", "OK", "OK"]);
    await idp.revoke(token);
    expect(await of(keeps)).toBe("OK");
    expect(await of(asksAlways)).toBe("invalid credentials");
    await expect.poll(() => of(keepsBriefly)).toBe("invalid credentials");
    expect(await of(keepsBriefly)).toBe("invalid credentials");
  });

  it("A4 without a cache the server is asked with each call", async () => {
    const idp = await provider();
    const server = await serverOf(introspection({ ...optionsOf(idp), cache: { maxAgeSec: 0 } }));
    const metadata = bearer(await idp.userToken("ada"));
    const client = server.client();
    for (const kind of kinds) expect((await invoke(client, kind, { metadata })).details).toBe("OK");
    expect(idp.asked()).toBe(kinds.length);
  });

  it.each([
    ["with an audience", "kinds"],
    ["without one", undefined],
  ])("A4 a refresh token is no access token, %s", async (_name, audience) => {
    const idp = await provider();
    const { audience: _, ...options } = optionsOf(idp);
    const server = await serverOf(
      introspection({ ...options, ...(audience === undefined ? {} : { audience }) }),
    );
    const client = server.client();
    for (const kind of kinds) {
      const refused = await invoke(client, kind, { metadata: bearer(await idp.refreshTokenOf("ada")) });
      expect(answers([refused])).toEqual([`${status.UNAUTHENTICATED} invalid credentials`]);
    }
    const passed = await invoke(client, "unary", { metadata: bearer(await idp.userToken("ada")) });
    expect(answers([passed])).toEqual(["0 OK"]);
  });

  it("A4 a token for another service is refused", async () => {
    const idp = await provider();
    const server = await serverOf(introspection(optionsOf(idp)));
    const client = server.client();
    const metadata = bearer(await idp.userToken("ada", { audience: "billing" }));
    const results = await Promise.all(kinds.map((kind) => invoke(client, kind, { metadata })));
    expect(answers(results)).toEqual(kinds.map(() => `${status.UNAUTHENTICATED} invalid credentials`));
    expect(server.started).toEqual([]);
  });

  it("A4 a client that the server refuses is our mistake: UNAVAILABLE, and the log says what to check", async () => {
    const idp = await provider();
    const secret = "wr0ng-secret";
    const server = await serverOf(
      introspection({ ...optionsOf(idp), client: { id: idp.basicClient.id, secret } }),
      { rateLimit: {} },
    );
    const client = server.client();
    const token = await idp.userToken("ada");
    for (let calls = 0; calls < 30; calls += 1) {
      const result = await invoke(client, "unary", { metadata: bearer(token) });
      expect(answers([result])).toEqual([`${status.UNAVAILABLE} temporarily unavailable`]);
    }
    const line = server.lines.find(({ msg }) => msg?.startsWith("tokens cannot be introspected"));
    expect(line).toMatchObject({ level: 50, introspection: idp.issuer });
    expect(JSON.stringify(line)).toContain("check client.id, client.secret");
    expect(JSON.stringify(server.lines)).not.toContain(secret);
    expect(JSON.stringify(server.lines)).not.toContain(token);
  });

  it("A4 warmUp asks once, and a wrong secret, URL or issuer keeps the server from listening", async () => {
    const idp = await provider();
    const wrong = (more: object): Promise<unknown> =>
      secured({ authentication: introspection({ ...optionsOf(idp), ...more, warmUp: true } as never) });
    await serverOf(introspection({ ...optionsOf(idp), warmUp: true }));
    expect(idp.asked()).toBe(1);
    await expect(wrong({ client: { id: "basic-client", secret: "wr0ng" } })).rejects.toThrow(
      /introspection\.warmUp: the introspection endpoint refused this service's own client \(HTTP 401\)/,
    );
    await expect(wrong({ endpoint: `${idp.issuer}/nowhere` })).rejects.toThrow(/warmUp: .* HTTP 404/);
    await expect(wrong({ issuer: `${idp.issuer}/` })).rejects.toThrow(/warmUp: .*another issuer/);
  });
});

describe("with an endpoint", () => {
  const issuer = "https://id.example";
  const options = (endpoint: FakeEndpoint): IntrospectionOptions => ({
    issuer,
    endpoint: endpoint.url,
    client: { id: "orders", secret: "s3cr3t" },
    audience: "kinds",
    requests: { timeoutMs: waitMs },
  });
  const patient = { deadline: { checkTimeoutMs: waitMs } } as const;

  async function endpointThat(answer: Answer): Promise<FakeEndpoint> {
    const started = await startEndpoint(answer);
    open.push(started);
    return started;
  }

  /** Answers when it is told to. */
  async function heldEndpoint(): Promise<FakeEndpoint & { release(): void }> {
    const held: (() => void)[] = [];
    const answer: Answer = (response, request, form) =>
      held.push(() => json(active())(response, request, form));
    const endpoint = await endpointThat(answer);
    return Object.assign(endpoint, {
      release() {
        endpoint.answer = json(active());
        for (const respond of held.splice(0)) respond();
      },
    });
  }

  /** Counts the calls that wait for an answer, or had one. */
  function counted(authenticator: Authenticator): Authenticator & { readonly calls: () => number } {
    let calls = 0;
    return {
      name: authenticator.name,
      source: authenticator.source,
      headers: ["authorization"],
      presents: (call) => authenticator.presents(call),
      authenticate: (call) => {
        calls += 1;
        return authenticator.authenticate(call);
      },
      calls: () => calls,
    };
  }

  it("A4 a thousand calls at once with one token are one request", async () => {
    const endpoint = await heldEndpoint();
    const authentication = counted(introspection(options(endpoint)));
    const server = await serverOf(authentication, {
      ...patient,
      rateLimit: {
        perPeer: false,
        perPrincipal: false,
        failedAuthentication: false,
        inFlightPerPrincipal: false,
      },
      limits: { maxConcurrentStreams: 2_000 },
    });
    const client = server.client();
    const calls = Array.from({ length: 1_000 }, (_, at) =>
      invoke(client, kinds[at % kinds.length] ?? "unary", { metadata: bearer("opaque") }),
    );
    await expect.poll(authentication.calls).toBe(1_000);
    endpoint.release();
    expect(new Set(answers(await Promise.all(calls)))).toEqual(new Set(["0 OK"]));
    expect(endpoint.posted).toHaveLength(1);
  });

  it("A4 a call that is cancelled leaves the request to the others that wait for it", async () => {
    const endpoint = await heldEndpoint();
    const authentication = counted(introspection(options(endpoint)));
    const server = await serverOf(authentication, patient);
    const client = server.client();
    const first: AnyClientCall[] = [];
    const cancelled = invoke(client, "unary", {
      metadata: bearer("opaque"),
      onCall: (call) => first.push(call),
    });
    await expect.poll(() => endpoint.posted.length).toBe(1);
    const waiting = kinds.map((kind) => invoke(client, kind, { metadata: bearer("opaque") }));
    await expect.poll(authentication.calls).toBe(1 + kinds.length);
    for (const call of first) call.cancel();
    expect((await cancelled).code).toBe(status.CANCELLED);
    endpoint.release();
    expect(answers(await Promise.all(waiting))).toEqual(kinds.map(() => "0 OK"));
    expect(endpoint.posted).toHaveLength(1);
  });

  it("A4 requests at once and tokens that wait for one are limited: beyond that calls end UNAVAILABLE at once", async () => {
    const endpoint = await heldEndpoint();
    const authentication = counted(
      introspection({
        ...options(endpoint),
        requests: { timeoutMs: waitMs, maxConcurrent: 2, maxQueued: 2 },
      }),
    );
    const server = await serverOf(authentication, patient);
    const client = server.client();
    const begin = (name: string): Promise<Result> => invoke(client, "unary", { metadata: bearer(name) });
    const good = ["a", "b", "c", "d"].map(begin);
    await expect.poll(authentication.calls).toBe(4);
    await expect.poll(() => endpoint.posted.length).toBe(2);
    expect(answers([await begin("e")])).toEqual([`${status.UNAVAILABLE} temporarily unavailable`]);
    await server.callLine((line) => JSON.stringify(line).includes("too many tokens wait"));
    // Who brings a token that is being asked about waits with the others.
    const shared = begin("a");
    await expect.poll(authentication.calls).toBe(6);
    expect(endpoint.posted).toHaveLength(2);
    endpoint.release();
    expect(answers(await Promise.all([...good, shared]))).toEqual(Array(5).fill("0 OK"));
    expect(endpoint.posted).toHaveLength(4);
  });

  it("A4 a token that waits for its turn too long ends UNAVAILABLE, and leaves the queue", async () => {
    const endpoint = await endpointThat(() => {});
    const authentication = introspection({
      ...options(endpoint),
      requests: { timeoutMs: 300, maxConcurrent: 1, maxQueued: 1 },
    });
    const server = await serverOf(authentication, patient);
    const client = server.client();
    const results = await Promise.all(
      ["a", "b"].map((name) => invoke(client, "unary", { metadata: bearer(name) })),
    );
    expect(answers(results)).toEqual(Array(2).fill(`${status.UNAVAILABLE} temporarily unavailable`));
    endpoint.answer = json(active());
    await expect
      .poll(async () => (await invoke(client, "unary", { metadata: bearer("c") })).details)
      .toBe("OK");
  });

  it("A4 a server that is away is nobody's failed login, and tokens that are known go on", async () => {
    const endpoint = await endpointThat(json(active()));
    const server = await serverOf(introspection(options(endpoint)), { ...patient, rateLimit: {} });
    const client = server.client();
    const call = (token: string): Promise<Result> => invoke(client, "unary", { metadata: bearer(token) });
    expect(answers([await call("known")])).toEqual(["0 OK"]);
    await endpoint[Symbol.asyncDispose]();
    for (let calls = 0; calls < 30; calls += 1)
      expect(answers([await call(`unknown-${calls}`)])).toEqual([
        `${status.UNAVAILABLE} temporarily unavailable`,
      ]);
    expect(answers([await call("known")])).toEqual(["0 OK"]);
  });

  it("A4 tokens that are not active count as failed logins, so that guesses do not reach the server for long", async () => {
    const endpoint = await endpointThat(json({ active: false }));
    const server = await serverOf(introspection(options(endpoint)), { ...patient, rateLimit: {} });
    const client = server.client();
    const seen = new Set<string>();
    for (let calls = 0; calls < 40; calls += 1)
      seen.add((await invoke(client, "unary", { metadata: bearer(`guess-${calls}`) })).details);
    expect(seen).toEqual(new Set(["invalid credentials", "rate limit exceeded"]));
    expect(endpoint.posted.length).toBeLessThanOrEqual(20);
  });

  it("A4 beside jwt only opaque tokens are sent there", async () => {
    const endpoint = await endpointThat(json(active()));
    const { issuer: signing, token } = await theWorld();
    const server = await serverOf(
      anyOf(
        jwt({ issuer: signing.issuer, audience: "kinds", jwksUri: signing.jwksUri }),
        introspection(options(endpoint)),
      ),
      patient,
    );
    const client = server.client();
    const signed = await token();
    const [header = "", payload = "", signature = ""] = signed.split(".");
    const call = async (text: string): Promise<readonly string[]> =>
      answers(await Promise.all(kinds.map((kind) => invoke(client, kind, { metadata: bearer(text) }))));
    expect(await call(signed)).toEqual(kinds.map(() => "0 OK"));
    for (const bad of [
      await token({ iss: "https://other.example" }),
      await token({ exp: 1 }),
      `${header}=.${payload}.${signature}`,
      `${header}.${payload}.${signature}=`,
      `${header}.${payload}.`,
      `${header}.${payload}`,
    ]) {
      expect((await call(bad)).every((each) => each.startsWith(`${status.UNAUTHENTICATED} `))).toBe(true);
    }
    expect(endpoint.posted).toEqual([]);
    expect(await call("opaque")).toEqual(kinds.map(() => "0 OK"));
    expect(endpoint.posted.map(({ form }) => form.get("token"))).toEqual(["opaque"]);
  });

  it("A4 for a signed token the log names the option that would take it", async () => {
    const server = await serverOf(introspection(options(await endpointThat(json(active())))), patient);
    await invoke(server.client(), "unary", { metadata: bearer(await (await theWorld()).token()) });
    const line = await server.callLine((each) => each["grpc_code"] === "UNAUTHENTICATED");
    expect(JSON.stringify(line)).toContain('set its option tokens to \\"all\\"');
  });

  it('A4 with tokens: "all" signed tokens are sent there too', async () => {
    const endpoint = await endpointThat(json(active()));
    const server = await serverOf(introspection({ ...options(endpoint), tokens: "all" }), patient);
    const { token } = await theWorld();
    const result = await invoke(server.client(), "unary", { metadata: bearer(await token()) });
    expect(answers([result])).toEqual(["0 OK"]);
    expect(endpoint.posted).toHaveLength(1);
  });

  it.each<[string, (list: MemoryRevocationList) => void]>([
    ["token", (list) => list.revokeToken("id-1", Date.now() + 86_400_000)],
    ["subject", (list) => list.revokeSubject("ada")],
  ])(
    "A4 A12 a %s that is revoked here refuses kept answers and ends open calls, without a request",
    async (_name, revoke) => {
      const endpoint = await endpointThat(json(active({ iat: nowSec() - 60 })));
      const revocations = revocationList();
      const server = await serverOf(introspection({ ...options(endpoint), revocations }), patient);
      const client = server.client();
      const streams = (["client_stream", "bidi_stream"] as const).map((kind) =>
        invoke(client, kind, { metadata: bearer("opaque"), keepOpen: true }),
      );
      await expect.poll(() => server.started.length).toBe(2);
      revoke(revocations);
      const refused = `${status.UNAUTHENTICATED} invalid credentials`;
      expect(answers(await Promise.all(streams))).toEqual([refused, refused]);
      const next = await Promise.all(
        kinds.map((kind) => invoke(client, kind, { metadata: bearer("opaque") })),
      );
      expect(answers(next)).toEqual(kinds.map(() => refused));
      expect(endpoint.posted).toHaveLength(1);
    },
  );

  it("A4 A12 when something is revoked, open calls are held against the list alone, however old their answers are", async () => {
    const endpoint = await endpointThat(json(active({ iat: nowSec() - 60 })));
    const revocations = revocationList();
    const server = await serverOf(
      introspection({ ...options(endpoint), revocations, cache: { maxAgeSec: 0 } }),
      patient,
    );
    const stream = invoke(server.client(), "bidi_stream", {
      metadata: bearer("opaque"),
      keepOpen: true,
    });
    await expect.poll(() => server.started.length).toBe(1);
    revocations.revokeSubject("eve");
    revocations.revokeSubject("ada");
    expect(answers([await stream])).toEqual([`${status.UNAUTHENTICATED} invalid credentials`]);
    expect(endpoint.posted).toHaveLength(1);
  });

  it("A4 A12 open calls end when their token expires, and a kept answer is not used any longer", async () => {
    const exp = nowSec() + 3;
    const endpoint = await endpointThat(json(active({ exp })));
    const authentication = introspection({
      ...options(endpoint),
      clockToleranceSec: 0,
      cache: { maxAgeSec: 3_600 },
    });
    const server = await serverOf(authentication, patient);
    const client = server.client();
    const metadata = bearer("opaque");
    const expired = `${status.UNAUTHENTICATED} expired credentials`;
    const streams = (["client_stream", "bidi_stream"] as const).map((kind) =>
      invoke(client, kind, { metadata, keepOpen: true }),
    );
    expect(answers(await Promise.all(streams))).toEqual([expired, expired]);
    expect(Date.now()).toBeGreaterThan(exp * 1000 - 1_000);
    const next = await Promise.all(kinds.map((kind) => invoke(client, kind, { metadata })));
    expect(answers(next)).toEqual(kinds.map(() => expired));
  });

  it("A4 an answer that came before a revocation does not get past it", async () => {
    const endpoint = await heldEndpoint();
    const revocations = revocationList();
    const server = await serverOf(introspection({ ...options(endpoint), revocations }), patient);
    const waiting = invoke(server.client(), "unary", { metadata: bearer("opaque") });
    await expect.poll(() => endpoint.posted.length).toBe(1);
    revocations.revokeToken("id-1", Date.now() + 86_400_000);
    endpoint.release();
    expect((await waiting).details).toBe("invalid credentials");
    expect(server.started).toEqual([]);
  });

  it.each<[string, () => unknown]>([
    [
      "throws",
      () => {
        throw new Error("away");
      },
    ],
    ["rejects", () => Promise.reject(new Error("away"))],
    ["answers nothing", () => undefined],
    ["answers null later", async () => null],
  ])("A4 a revocation list that %s is UNAVAILABLE", async (_name, isRevoked) => {
    const endpoint = await endpointThat(json(active()));
    const revocations = { isRevoked } as never;
    const server = await serverOf(introspection({ ...options(endpoint), revocations }), patient);
    const result = await invoke(server.client(), "unary", { metadata: bearer("opaque") });
    expect(answers([result])).toEqual([`${status.UNAVAILABLE} temporarily unavailable`]);
  });

  it("A4 a token that is bound to a client certificate is good with it, and may be required to be bound", async () => {
    const { client: certificate } = await theWorld();
    const thumbprint = Buffer.from(
      new X509Certificate(certificate.cert).fingerprint256.replaceAll(":", ""),
      "hex",
    ).toString("base64url");
    const endpoint = await endpointThat((response, request, form) =>
      json(active(form.get("token") === "bound" ? { cnf: { "x5t#S256": thumbprint } } : {}))(
        response,
        request,
        form,
      ),
    );
    const authentication = introspection({ ...options(endpoint), certificateBound: "require" });
    const server = await serverOf(authentication, patient);
    const client = server.client();
    const call = (token: string): Promise<readonly string[]> =>
      Promise.all(kinds.map((kind) => invoke(client, kind, { metadata: bearer(token) }))).then(answers);
    expect(await call("bound")).toEqual(kinds.map(() => "0 OK"));
    expect(await call("free")).toEqual(kinds.map(() => `${status.UNAUTHENTICATED} invalid credentials`));
  });
});

describe("with an issuer whose metadata", () => {
  it.each<[string, (here: string) => Answer]>([
    ["names no introspection endpoint", (issuer) => json({ issuer })],
    [
      "names one by http on another machine",
      (issuer) => json({ issuer, introspection_endpoint: "http://10.0.0.1/i" }),
    ],
    ["names one that is no URL", (issuer) => json({ issuer, introspection_endpoint: "/introspect" })],
    [
      "is another's",
      (issuer) => json({ issuer: `${issuer}/`, introspection_endpoint: `${issuer}/introspect` }),
    ],
    ["is a web page", () => (response) => response.writeHead(200).end("<html>")],
    ["redirects", () => (response) => response.writeHead(302, { location: "https://evil.example" }).end()],
    ["is away", () => (response) => response.destroy()],
    ["fails", () => json({}, 500)],
  ])("A4 %s, calls end UNAVAILABLE until it is good, and no secret was sent", async (_name, answerOf) => {
    const idp = await startEndpoint(json({}));
    open.push(idp);
    const issuer = new URL(idp.url).origin;
    let metadata = answerOf(issuer);
    let introspected = 0;
    idp.answer = (response, request, form) => {
      if (request.method === "GET") {
        metadata(response, request, form);
        return;
      }
      introspected += 1;
      json(active({ iss: issuer }))(response, request, form);
    };
    const server = await serverOf(
      introspection({
        issuer,
        client: { id: "orders", secret: "s3cr3t" },
        audience: "kinds",
        requests: { timeoutMs: waitMs },
      }),
      { deadline: { checkTimeoutMs: waitMs } },
    );
    const client = server.client();
    const calls = (): Promise<readonly string[]> =>
      Promise.all(kinds.map((kind) => invoke(client, kind, { metadata: bearer(`opaque-${kind}`) }))).then(
        answers,
      );
    expect(await calls()).toEqual(kinds.map(() => `${status.UNAVAILABLE} temporarily unavailable`));
    expect(introspected).toBe(0);
    expect(idp.posted.map(({ authorization }) => authorization)).not.toContain(expect.anything());
    metadata = json({ issuer, introspection_endpoint: `${issuer}/introspect` });
    const before = idp.posted.length;
    expect(await calls()).toEqual(kinds.map(() => "0 OK"));
    expect(introspected).toBe(kinds.length);
    // The metadata is read once for all.
    expect(idp.posted.length - before).toBe(kinds.length + 1);
  });
});

describe("options", () => {
  const client = { id: "orders", secret: "s3cr3t" };
  it.each<[string, object, RegExp]>([
    ["neither issuer nor endpoint", { client }, /^introspection: expected issuer or endpoint$/],
    [
      "an issuer that is no URL",
      { issuer: "id.example", client },
      /introspection\.issuer: expected an absolute https URL/,
    ],
    ["an issuer by http", { issuer: "http://id.example", client }, /introspection\.issuer: expected https/],
    [
      "an endpoint by http",
      { endpoint: "http://10.0.0.1/introspect", client },
      /introspection\.endpoint: expected https/,
    ],
    [
      "an endpoint with credentials",
      { endpoint: "https://a:s3cr3t@id.example/", client },
      /without credentials/,
    ],
    [
      "an audience that is not set",
      { issuer: "https://id.example", audience: undefined, client },
      /introspection\.audience: is undefined/,
    ],
    [
      "an issuer that is not set",
      { issuer: undefined, endpoint: "https://id.example/i", client },
      /introspection\.issuer: is undefined/,
    ],
    ["no client", { issuer: "https://id.example" }, /introspection\.client/],
    [
      "a client with an empty secret",
      { issuer: "https://id.example", client: { id: "a", secret: "" } },
      /introspection\.client/,
    ],
    [
      "a private key that is none",
      { issuer: "https://id.example", client: { id: "a", privateKey: "s3cr3t" } },
      /introspection\.client\.privateKey/,
    ],
    [
      "a misspelt option",
      { issuer: "https://id.example", client, audiance: "a" },
      /introspection\.audiance: unknown option; did you mean "audience"/,
    ],
    [
      "a cache without bounds",
      { issuer: "https://id.example", client, cache: { maxEntries: 0 } },
      /introspection\.cache\.maxEntries/,
    ],
    [
      "a revocation list that is none",
      { issuer: "https://id.example", client, revocations: {} },
      /introspection\.revocations/,
    ],
    [
      "a claim path that is none",
      { issuer: "https://id.example", client, claims: { roles: "a\\b" } },
      /introspection\.claims\.roles/,
    ],
  ])("A4 %s is a ConfigError that shows no secret", (_name, given, expected) => {
    let thrown: unknown;
    try {
      introspection(given as never);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(ConfigError);
    expect((thrown as Error).message).toMatch(expected);
    expect((thrown as Error).message).not.toContain("s3cr3t");
  });
});
