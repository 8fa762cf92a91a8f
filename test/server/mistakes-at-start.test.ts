// Mistakes of the first hour, and what comes of each: one message, which says what is wrong and what to do.
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { createServer } from "node:net";
import { Client } from "@grpc/grpc-js";
import { describe, expect, it, vi } from "vitest";
import { createSecureClient } from "../../src/client/secure-client.ts";
import { ConfigError, PolicyError } from "../../src/grpc/errors.ts";
import { jwt } from "../../src/middleware/authentication/jwt/jwt.ts";
import type { Requirement } from "../../src/middleware/authorization/method-rule.ts";
import { rbac } from "../../src/middleware/authorization/rbac.ts";
import { createSecureServer, type SecureServer } from "../../src/server/secure-server.ts";
import type { SecureServerOptions } from "../../src/server/server-options.ts";
import { createCertificateAuthority } from "../../src/testing/certificate-authority.ts";
import { goodHandlers, invoke, kindsDefinition } from "../harness/kinds.ts";
import { callerPolicy, keptLog, secured, theWorld } from "../harness/secured.ts";

const { ca, server: pair } = await theWorld();
const cert = Buffer.from(pair.cert);
const key = Buffer.from(pair.key);

/** Every problem that making the server, adding the service or listening told of. */
async function problemsOf(
  options: Partial<SecureServerOptions> | Readonly<Record<string, unknown>>,
  act: (server: SecureServer) => unknown = (server) => server.listen("127.0.0.1:0"),
): Promise<readonly string[]> {
  let server: SecureServer | undefined;
  try {
    server = createSecureServer({
      tls: { cert, key },
      authentication: {
        name: "test",
        source: "metadata",
        presents: () => false,
        authenticate: () => Promise.reject(),
      },
      authorization: callerPolicy,
      logger: false,
      ...options,
    } as SecureServerOptions);
    server.addService(kindsDefinition, goodHandlers());
    await act(server);
    return [];
  } catch (error) {
    if (error instanceof ConfigError || error instanceof PolicyError) return error.problems;
    throw error;
  } finally {
    await server?.shutdown({ graceMs: 0 });
  }
}

describe("a mistake at start", () => {
  it.each<[string, Readonly<Record<string, unknown>>, readonly string[]]>([
    [
      "reflection: true",
      { reflection: true },
      ['reflection: expected { roles: ["…"] }, the roles whose callers may use it, or false'],
    ],
    [
      "reflection with a misspelt key",
      { reflection: { role: ["admin"] } },
      ['reflection.role: unknown option; did you mean "roles"?'],
    ],
    [
      "certificate and key swapped",
      { tls: { cert: key, key: cert } },
      [
        "tls.cert and tls.key are swapped: the given Buffer contains the private key, and the given Buffer the certificate",
      ],
    ],
    [
      "durationMs where durationSec is meant",
      { rateLimit: { perPeer: { points: 5, durationMs: 1000 } } },
      ['rateLimit.perPeer.durationMs: unknown option; did you mean "durationSec"?'],
    ],
    [
      "graceSec-like units elsewhere",
      { deadline: { maxUnarySec: 5 } },
      ['deadline.maxUnarySec: unknown option; did you mean "maxUnaryMs"?'],
    ],
    [
      "a rule for a method that resembles none",
      {
        authorization: rbac({
          rules: { "/test.v1.Kinds/*": "authenticated", "/test.v1.Kinds/Zap": "public" },
        }),
      },
      ["/test.v1.Kinds/Zap: no such method; remove it, or register its service"],
    ],
    [
      "a rule for a service that resembles none",
      {
        authorization: rbac({
          rules: { "/test.v1.Kinds/*": "authenticated", "/test.v1.Billing/*": "authenticated" },
        }),
      },
      ["/test.v1.Billing/*: no method of such a service; remove it, or register its service"],
    ],
  ])("U6 %s", async (_mistake, options, problems) => {
    expect(await problemsOf(options)).toEqual(problems);
  });

  it("U6 server.bindAsync(...)", async () => {
    const told = await problemsOf({}, (server) =>
      (server as unknown as { bindAsync(...args: unknown[]): void }).bindAsync(
        "127.0.0.1:0",
        undefined,
        () => {},
      ),
    );
    expect(told).toEqual([
      "bindAsync: use await server.listen(address), which takes its TLS from the option tls",
    ]);
  });

  it("U6 addService after listen", async () => {
    const told = await problemsOf({}, async (server) => {
      await server.listen("127.0.0.1:0");
      server.addService(kindsDefinition, goodHandlers());
    });
    expect(told).toEqual([
      "addService: called after listen(); add services before listen(), so that the policy is checked against them",
    ]);
  });

  it("U6 a port in use is one message, and nothing on standard error", async () => {
    const other = createServer();
    other.listen(0, "127.0.0.1");
    await once(other, "listening");
    const { port } = other.address() as { port: number };
    const written = vi.spyOn(process.stderr, "write");
    const logged = vi.spyOn(console, "error");
    try {
      const told = await problemsOf({}, (server) => server.listen(`127.0.0.1:${port}`));
      expect(told).toEqual([
        `listen: cannot bind 127.0.0.1:${port} (EADDRINUSE): another process uses the port; stop it, or choose another port`,
      ]);
      expect(written).not.toHaveBeenCalled();
      expect(logged).not.toHaveBeenCalled();
    } finally {
      vi.restoreAllMocks();
      other.close();
    }
  });
});

describe("U6 a refusal that surprises", () => {
  it.each<[string, Parameters<typeof rbac>[0]["roles"], Readonly<Record<string, unknown>>]>([
    ["a role with every permission", { admin: { permissions: ["*"] }, editor: {} }, { roles: ["admin"] }],
    ["a token with every permission", { admin: {}, editor: {} }, { roles: ["admin"], permissions: ["*"] }],
  ])("U6 %s does not stand for a role, and the reason says so", async (_what, roles, claims) => {
    await using wall = await secured({
      authorization: rbac({ roles, rules: { "/test.v1.Kinds/*": { roles: ["editor"] } } }),
    });
    const told = await invoke(wall.client(), "unary", { metadata: await wall.authorized(claims) });
    expect(told.name).toBe("PERMISSION_DENIED");
    expect(String((await wall.auditEntry(() => true)).reason)).toMatch(
      /^needs role editor; the rule demands a role, which permissions \("\*" included\) do not replace/,
    );
  });

  it.each<[string, Requirement, string]>([
    ["roles", { roles: ["admin"] }, "needs role admin; the token has no claim realm_access.roles or groups"],
    [
      "permissions",
      { permissions: ["note:write"] },
      "needs permission note:write; the token has no claim scp",
    ],
  ])("U6 a token without the claim for %s: the reason names the claim", async (_what, rule, reason) => {
    const { issuer } = await theWorld();
    await using wall = await secured({
      authentication: jwt({
        issuer: issuer.issuer,
        audience: "kinds",
        jwksUri: issuer.jwksUri,
        claims: { roles: ["realm_access.roles", "groups"], permissions: "scp" },
      }),
      authorization: rbac({ roles: { admin: {} }, rules: { "/test.v1.Kinds/*": rule } }),
    });
    const told = await invoke(wall.client(), "unary", { metadata: await wall.authorized() });
    expect(told.name).toBe("PERMISSION_DENIED");
    expect((await wall.auditEntry(() => true)).reason).toBe(reason);
  });

  it("U6 a client whose certificate the server does not trust is told what to look at", async () => {
    await using wall = await secured();
    const stranger = await createCertificateAuthority({ name: "Another CA" });
    const { cert: otherCert, key: otherKey } = await stranger.issue({ commonName: "x", usage: "client" });
    const client = createSecureClient(Client as never, wall.address, {
      tls: { ca: Buffer.from(ca.caPem), cert: Buffer.from(otherCert), key: Buffer.from(otherKey) },
    }) as Client;
    try {
      const told = await invoke(client, "unary");
      expect(told.name).toBe("UNAVAILABLE");
      expect(told.details).toContain("refuse this client's certificate");
      expect(told.details).toContain("tls.cert and tls.key");
    } finally {
      client.close();
    }
  });
});

it("U4 a server that listens logs one line: where, how, what, and for whom", async () => {
  const { logger, lines } = keptLog();
  await using wall = await secured({ logger });
  const listening = lines.filter(({ msg }) => msg === "listening");
  expect(listening).toHaveLength(1);
  expect(listening[0]).toMatchObject({
    addresses: [`127.0.0.1:${wall.port}`],
    transport: "TLSv1.3, client certificates required",
    services: expect.arrayContaining(["test.v1.Kinds", "grpc.health.v1.Health"]),
    callers: "jwt",
  });
});
