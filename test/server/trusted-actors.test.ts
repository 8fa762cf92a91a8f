// Who may say for which user a call is: x-user-id and x-tenant-id, from applications that are trusted and from others.
import { Buffer } from "node:buffer";
import { Client, credentials, type UntypedServiceImplementation } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { securityContext } from "../../src/chain/current-context.ts";
import { ConfigError, PolicyError } from "../../src/grpc/errors.ts";
import { allOf } from "../../src/middleware/authentication/all-of.ts";
import { anyOf } from "../../src/middleware/authentication/any-of.ts";
import { apiKey } from "../../src/middleware/authentication/api-key.ts";
import { jwt } from "../../src/middleware/authentication/jwt/jwt.ts";
import { issueApiKey, memoryApiKeyStore } from "../../src/middleware/authentication/memory-api-key-store.ts";
import { mtls } from "../../src/middleware/authentication/mtls.ts";
import { optional } from "../../src/middleware/authentication/optional.ts";
import { allowAuthenticated } from "../../src/middleware/authorization/allow-authenticated.ts";
import { rbac } from "../../src/middleware/authorization/rbac.ts";
import type { IssuedCertificate } from "../../src/testing/certificate-authority.ts";
import { createTokenIssuer } from "../../src/testing/token-issuer.ts";
import { goodHandlers, invoke, kinds, paths, type Result } from "../harness/kinds.ts";
import { type Secured, type SecuredOptions, secured, theWorld } from "../harness/secured.ts";

const world = await theWorld();
const gatewayId = "spiffe://test.example/gateway";
const key = issueApiKey({ owner: "gateway" });
const byCertificate = mtls({ roles: { [gatewayId]: ["gateway"] } });
const byKey = apiKey({ store: memoryApiKeyStore([key.record]) });
const { issuer, jwksUri } = world.issuer;
const byToken = jwt({ issuer, audience: "kinds", jwksUri });

let certificates: Readonly<Record<"gateway" | "other" | "named" | "imitating", IssuedCertificate>>;
const clients: Client[] = [];
beforeAll(async () => {
  const issue = (names: { uris?: string[]; dnsNames?: string[]; commonName?: string }) =>
    world.ca.issue({ usage: "client", commonName: "client", ...names });
  const [gateway, other, named, imitating] = await Promise.all([
    issue({ uris: [gatewayId] }),
    issue({ uris: ["spiffe://test.example/other"] }),
    issue({ dnsNames: ["gateway.internal"] }),
    issue({ commonName: "gateway.internal" }),
  ]);
  certificates = { gateway, other, named, imitating };
});
afterAll(() => {
  for (const client of clients) client.close();
});

interface Seen {
  readonly principal: string;
  readonly actor: string | undefined;
  readonly tenant: string | undefined;
  readonly rights: number;
  readonly headers: readonly string[];
}

async function server(options: SecuredOptions): Promise<Secured & { readonly seen: Seen[] }> {
  const seen: Seen[] = [];
  const good = goodHandlers() as Record<string, (...args: unknown[]) => void>;
  const handlers = Object.fromEntries(
    Object.entries(good).map(([name, handler]) => [
      name,
      (call: { metadata: { getMap(): object } }, ...rest: unknown[]) => {
        const { principal, actor } = securityContext(call);
        seen.push({
          principal: `${principal?.kind} ${principal?.scheme} ${principal?.subject}`,
          actor: actor === undefined ? undefined : `${actor.scheme} ${actor.subject}`,
          tenant: principal?.tenant,
          rights: (principal?.roles.size ?? 0) + (principal?.permissions.size ?? 0),
          headers: Object.keys(call.metadata.getMap()).filter((header) =>
            /^x-(?:user|tenant)-id$/.test(header),
          ),
        });
        handler(call, ...rest);
      },
    ]),
  ) as unknown as UntypedServiceImplementation;
  const running = await secured({
    tls: {
      cert: Buffer.from(world.server.cert),
      key: Buffer.from(world.server.key),
      clientCa: Buffer.from(world.ca.caPem),
      clientAuth: "request",
    },
    authorization: allowAuthenticated(),
    handlers,
    ...options,
  });
  return Object.assign(running, { seen });
}

function clientAs({ address }: Secured, certificate: IssuedCertificate | undefined): Client {
  const ca = Buffer.from(world.ca.caPem);
  const channel =
    certificate === undefined
      ? credentials.createSsl(ca)
      : credentials.createSsl(ca, Buffer.from(certificate.key), Buffer.from(certificate.cert));
  const client = new Client(address, channel, { "grpc.use_local_subchannel_pool": 1 });
  clients.push(client);
  return client;
}

function told({ name, details }: Result): string {
  return `${name} ${details}`;
}

describe("A9 a trusted actor", () => {
  it.each(kinds)("A9 speaks for the user that it names on a %s call", async (kind) => {
    await using wall = await server({ authentication: byCertificate, trustedActors: [gatewayId] });
    const metadata = { "x-user-id": "ada", "x-tenant-id": "acme" };
    expect(told(await invoke(clientAs(wall, certificates.gateway), kind, { metadata }))).toBe("OK OK");
    expect(wall.seen).toEqual([
      { principal: "user forwarded ada", actor: `mtls ${gatewayId}`, tenant: "acme", rights: 0, headers: [] },
    ]);
    const entry = await wall.auditEntry(() => true);
    expect(JSON.stringify(entry.caller)).toContain("ada");
    expect(JSON.stringify(entry.actor)).toContain(gatewayId);
  });

  type Certificate = keyof typeof certificates;
  it.each<[string, string[], Certificate | undefined, Record<string, string>, string]>([
    ["nobody is trusted", [], "gateway", {}, `service mtls ${gatewayId}`],
    ["another certificate", [gatewayId], "other", {}, "service mtls spiffe://test.example/other"],
    ["a pattern that matches", ["spiffe://test.example/*"], "other", {}, "user forwarded root"],
    [
      "a pattern of one segment",
      ["spiffe://test.example/a/*"],
      "other",
      {},
      "service mtls spiffe://test.example/other",
    ],
    ["a DNS name", ["gateway.internal"], "named", {}, "user forwarded root"],
    [
      "a common name like the DNS name",
      ["gateway.internal"],
      "imitating",
      {},
      "service mtls gateway.internal",
    ],
    ["a common name", ["CN=gateway.internal"], "imitating", {}, "user forwarded root"],
    [
      "a DNS name like the common name",
      ["CN=gateway.internal"],
      "named",
      {},
      "service mtls gateway.internal",
    ],
    ["an API key", ["api-key:gateway"], undefined, { "x-api-key": key.key }, "user forwarded root"],
    [
      "an API key whose owner is called like a trusted host",
      ["gateway"],
      undefined,
      { "x-api-key": key.key },
      "service api-key gateway",
    ],
    [
      "an API key where a token is trusted",
      ["jwt:gateway"],
      undefined,
      { "x-api-key": key.key },
      "service api-key gateway",
    ],
    [
      "an API key of part of the name",
      ["api-key:gate"],
      undefined,
      { "x-api-key": key.key },
      "service api-key gateway",
    ],
    [
      "an API key in another case",
      ["api-key:Gateway"],
      undefined,
      { "x-api-key": key.key },
      "service api-key gateway",
    ],
  ])("A9 %s", async (_what, trustedActors, certificate, sent, expected) => {
    await using wall = await server({ authentication: anyOf(byKey, byCertificate), trustedActors });
    const client = clientAs(wall, certificate === undefined ? undefined : certificates[certificate]);
    const metadata = { "x-user-id": "root", ...sent };
    expect(told(await invoke(client, "unary", { metadata }))).toBe("OK OK");
    expect(wall.seen.map(({ principal, headers }) => [principal, headers])).toEqual([[expected, []]]);
  });

  it.each<[string, Record<string, unknown>, string[], string]>([
    [
      "a service's own token",
      { sub: "gateway", client_id: "gateway" },
      ["jwt:gateway"],
      "user forwarded root",
    ],
    ["a user called like the service", { sub: "gateway" }, ["jwt:gateway"], "user jwt gateway"],
    [
      "a token with a certificate's name",
      { sub: gatewayId, client_id: gatewayId },
      [gatewayId],
      `service jwt ${gatewayId}`,
    ],
  ])("A9 %s", async (_what, claims, trustedActors, expected) => {
    await using wall = await server({ authentication: byToken, trustedActors });
    const metadata = { "x-user-id": "root", authorization: `Bearer ${await world.token(claims)}` };
    expect(told(await invoke(clientAs(wall, undefined), "unary", { metadata }))).toBe("OK OK");
    expect(wall.seen.map(({ principal }) => principal)).toEqual([expected]);
  });

  it("A9 a user who chooses the name of a client is no service, wherever the subject is read", async () => {
    const { issuer: iss, jwksUri: keys } = world.issuer;
    const authentication = jwt({
      issuer: iss,
      audience: "kinds",
      jwksUri: keys,
      claims: { subject: "preferred_username" },
    });
    await using wall = await server({ authentication, trustedActors: ["jwt:web"] });
    const token = await world.token({ sub: "9b2", preferred_username: "web", azp: "web" });
    const metadata = { authorization: `Bearer ${token}`, "x-user-id": "admin" };
    expect(told(await invoke(clientAs(wall, undefined), "unary", { metadata }))).toBe("OK OK");
    expect(wall.seen.map(({ principal }) => principal)).toEqual(["user jwt web"]);
  });

  it("A9 with several issuers the actor's is named, and only its service is believed", async () => {
    await using other = await createTokenIssuer({ audience: "kinds", algorithms: ["ES256"] });
    const several = anyOf(byToken, jwt({ issuer: other.issuer, audience: "kinds", jwksUri: other.jwksUri }));
    await expect(server({ authentication: several, trustedActors: ["jwt:gateway"] })).rejects.toThrow(
      "trustedActors.0: there are several issuers",
    );
    await using wall = await server({ authentication: several, trustedActors: [`jwt:${issuer}#gateway`] });
    const claims = { sub: "gateway", client_id: "gateway" };
    const client = clientAs(wall, undefined);
    for (const token of [await world.token(claims), await other.sign(claims)])
      await invoke(client, "unary", { metadata: { authorization: `Bearer ${token}`, "x-user-id": "root" } });
    expect(wall.seen.map(({ principal }) => principal)).toEqual([
      "user forwarded root",
      "service jwt gateway",
    ]);
  });

  it("A9 an application of one tenant speaks for users of that tenant alone", async () => {
    const own = issueApiKey({ owner: "gateway", tenant: "acme" });
    const authentication = apiKey({ store: memoryApiKeyStore([own.record]) });
    await using wall = await server({ authentication, trustedActors: ["api-key:gateway"] });
    const client = clientAs(wall, undefined);
    const answer = async (headers: Record<string, string>): Promise<string> =>
      told(
        await invoke(client, "unary", { metadata: { "x-api-key": own.key, "x-user-id": "bob", ...headers } }),
      );
    expect(await answer({ "x-tenant-id": "globex" })).toBe("UNAUTHENTICATED invalid credentials");
    expect(await answer({ "x-tenant-id": "acme" })).toBe("OK OK");
    expect(await answer({})).toBe("OK OK");
    expect(wall.seen.map(({ principal, tenant }) => `${principal} ${tenant}`)).toEqual([
      "user forwarded bob acme",
      "user forwarded bob acme",
    ]);
  });

  it("A9 a user's token beside such an application gets no other tenant", async () => {
    const own = issueApiKey({ owner: "gateway", tenant: "acme" });
    const both = allOf({ principal: byToken, actor: apiKey({ store: memoryApiKeyStore([own.record]) }) });
    await using wall = await server({ authentication: both, trustedActors: ["api-key:gateway"] });
    const token = await world.token({ sub: "ada", tenant: undefined });
    for (const tenant of ["globex", "acme"])
      await invoke(clientAs(wall, undefined), "unary", {
        metadata: { authorization: `Bearer ${token}`, "x-api-key": own.key, "x-tenant-id": tenant },
      });
    expect(wall.seen.map(({ tenant }) => tenant)).toEqual([undefined, "acme"]);
  });

  it("A9 a verified user stays, whatever a trusted actor says, and the log tells of it without what was said", async () => {
    const both = allOf({ principal: byToken, actor: byCertificate });
    await using wall = await server({ authentication: both, trustedActors: [gatewayId] });
    const client = clientAs(wall, certificates.gateway);
    const token = { authorization: `Bearer ${await world.token({ sub: "ada", tenant: "acme" })}` };
    const untenanted = { authorization: `Bearer ${await world.token({ sub: "ada", tenant: undefined })}` };
    for (const metadata of [
      { ...token, "x-user-id": "mallory" },
      { ...token, "x-tenant-id": "victim" },
      { ...token, "x-user-id": "ada", "x-tenant-id": "acme" },
      { ...untenanted, "x-user-id": "ada", "x-tenant-id": "acme" },
      untenanted,
    ])
      expect(told(await invoke(client, "unary", { metadata }))).toBe("OK OK");
    expect(wall.seen.map(({ principal, tenant }) => `${principal} ${tenant}`)).toEqual([
      "user jwt ada acme",
      "user jwt ada acme",
      "user jwt ada acme",
      "user jwt ada acme",
      "user jwt ada undefined",
    ]);
    const lines = wall.lines.filter(({ msg }) => msg?.includes("names another user or tenant") === true);
    // Once, because repeated ones of one caller are left out.
    expect(lines).toMatchObject([{ principal: "ada", headers: ["x-user-id"] }]);
    expect(JSON.stringify(wall.lines)).not.toMatch(/mallory|victim/);
  });

  it("A9 an actor that is not trusted changes nothing of the user", async () => {
    const both = allOf({ principal: byToken, actor: byCertificate });
    await using wall = await server({ authentication: both, trustedActors: [gatewayId] });
    const token = await world.token({ sub: "ada", tenant: undefined });
    const metadata = { authorization: `Bearer ${token}`, "x-user-id": "root", "x-tenant-id": "acme" };
    expect(told(await invoke(clientAs(wall, certificates.other), "unary", { metadata }))).toBe("OK OK");
    expect(wall.seen).toMatchObject([{ principal: "user jwt ada", tenant: undefined, headers: [] }]);
  });

  it("A9 an unauthenticated caller is nobody, whatever it says", async () => {
    await using wall = await server({
      authentication: optional(byKey),
      trustedActors: ["api-key:gateway", "CN=anonymous", "anonymous"],
      authorization: rbac({ rules: Object.fromEntries(kinds.map((kind) => [paths[kind], "public"])) }),
    });
    const metadata = { "x-user-id": "root", "x-tenant-id": "acme" };
    for (const kind of kinds)
      expect(told(await invoke(clientAs(wall, undefined), kind, { metadata }))).toBe("OK OK");
    expect(new Set(wall.seen.map(({ principal }) => principal))).toEqual(
      new Set(["anonymous anonymous anonymous"]),
    );
  });

  it.each<[string, Record<string, string>]>([
    ["two users, as HTTP/2 joins them", { "x-user-id": "ada, root" }],
    ["two users without a space", { "x-user-id": "ada,root" }],
    ["two tenants", { "x-user-id": "ada", "x-tenant-id": "acme, victim" }],
    ["an endless name", { "x-user-id": "a".repeat(257) }],
    ["an endless tenant", { "x-user-id": "ada", "x-tenant-id": "a".repeat(257) }],
  ])("A9 refuses %s, and never locks the application out for it", async (_what, bad) => {
    await using wall = await server({
      authentication: byCertificate,
      trustedActors: [gatewayId],
      rateLimit: { failedAuthentication: { points: 2, durationSec: 600, blockDurationSec: 600 } },
    });
    const client = clientAs(wall, certificates.gateway);
    for (let i = 0; i < 5; i++)
      expect(told(await invoke(client, "unary", { metadata: bad }))).toBe(
        "UNAUTHENTICATED invalid credentials",
      );
    expect(wall.seen).toEqual([]);
    expect(told(await invoke(client, "unary", { metadata: { "x-user-id": "ada" } }))).toBe("OK OK");
  });

  it.each(["o'neill", "ada lovelace", "ada@example.com", "CN=ada/OU=x", "__proto__", "a".repeat(256)])(
    "A9 takes %j as it is",
    async (user) => {
      await using wall = await server({ authentication: byCertificate, trustedActors: [gatewayId] });
      const metadata = { "x-user-id": user };
      expect(told(await invoke(clientAs(wall, certificates.gateway), "unary", { metadata }))).toBe("OK OK");
      expect(wall.seen).toMatchObject([{ principal: `user forwarded ${user}` }]);
    },
  );

  it("A9 Z1 the user has none of the application's rights; rules ask for what the actor has", async () => {
    const rules = {
      [paths.unary]: { roles: ["gateway"] },
      [paths.server_stream]: { actor: { roles: ["gateway"] } },
      [paths.client_stream]: { schemes: ["forwarded"], actor: "any" },
      [paths.bidi_stream]: { schemes: ["mtls"] },
    } as const;
    await using wall = await server({
      authentication: byCertificate,
      trustedActors: [gatewayId],
      authorization: rbac({ roles: { gateway: {} }, rules }),
    });
    const client = clientAs(wall, certificates.gateway);
    const answers = async (metadata: Record<string, string>): Promise<Record<string, string>> =>
      Object.fromEntries(
        await Promise.all(kinds.map(async (kind) => [kind, (await invoke(client, kind, { metadata })).name])),
      );
    expect(await answers({ "x-user-id": "ada" })).toEqual({
      unary: "PERMISSION_DENIED",
      server_stream: "OK",
      client_stream: "OK",
      bidi_stream: "PERMISSION_DENIED",
    });
    expect(await answers({})).toEqual({
      unary: "OK",
      server_stream: "PERMISSION_DENIED",
      client_stream: "PERMISSION_DENIED",
      bidi_stream: "OK",
    });
  });

  it("Z2 a rule about forwarded users needs trusted actors", async () => {
    const options = {
      authentication: byCertificate,
      authorization: rbac({ rules: { "/test.v1.Kinds/*": { schemes: ["forwarded"] } } }),
    };
    await expect(server(options)).rejects.toThrow(PolicyError);
    await using _wall = await server({ ...options, trustedActors: [gatewayId] });
  });

  it.each([[""], ["spiffe://*/x y"], ["CN="], ["api-key:"], ["jwt:"], ["*"], ["gateway internal"]])(
    "A9 refuses %j as the name of an actor",
    async (name) => {
      await expect(server({ authentication: byCertificate, trustedActors: [name] })).rejects.toThrow(
        ConfigError,
      );
      await expect(server({ authentication: byCertificate, trustedActors: [name] })).rejects.toThrow(
        "trustedActors.0",
      );
    },
  );

  it("L1 limits count the users, not the application that speaks for them", async () => {
    await using wall = await server({
      authentication: byCertificate,
      trustedActors: [gatewayId, "gateway.internal"],
      rateLimit: { perPrincipal: { points: 2, durationSec: 600 } },
    });
    const client = clientAs(wall, certificates.gateway);
    const names: string[] = [];
    for (const user of ["ada", "ada", "ada", "grace"])
      names.push((await invoke(client, "unary", { metadata: { "x-user-id": user } })).name);
    // Another application's ada is another user.
    const others = clientAs(wall, certificates.named);
    names.push((await invoke(others, "unary", { metadata: { "x-user-id": "ada" } })).name);
    expect(names).toEqual(["OK", "OK", "RESOURCE_EXHAUSTED", "OK", "OK"]);
  });
});
