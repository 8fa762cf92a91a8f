// Who calls, where more than one thing says so: certificates, an application with its user, tokens bound to a
// certificate, API keys in a file that changes; and calls that would outlive their credential.
import { Buffer } from "node:buffer";
import { createHash, X509Certificate } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client, credentials as grpcCredentials, type UntypedServiceImplementation } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { securityContext } from "../../src/chain/current-context.ts";
import type { MethodKind } from "../../src/grpc/method.ts";
import { allOf } from "../../src/middleware/authentication/all-of.ts";
import { anonymous } from "../../src/middleware/authentication/anonymous.ts";
import { anyOf } from "../../src/middleware/authentication/any-of.ts";
import { apiKey } from "../../src/middleware/authentication/api-key.ts";
import type { Authenticator } from "../../src/middleware/authentication/authenticator.ts";
import { fileApiKeyStore } from "../../src/middleware/authentication/file-api-key-store.ts";
import { type JwtOptions, jwt } from "../../src/middleware/authentication/jwt/jwt.ts";
import { issueApiKey, memoryApiKeyStore } from "../../src/middleware/authentication/memory-api-key-store.ts";
import { mtls } from "../../src/middleware/authentication/mtls.ts";
import { allowAuthenticated } from "../../src/middleware/authorization/allow-authenticated.ts";
import { rbac } from "../../src/middleware/authorization/rbac.ts";
import { secureInterceptors } from "../../src/server/interceptors.ts";
import type { IssuedCertificate } from "../../src/testing/certificate-authority.ts";
import {
  goodHandlers,
  invoke,
  kinds,
  kindsDefinition,
  type Note,
  paths,
  type Result,
} from "../harness/kinds.ts";
import {
  eventually,
  keptLog,
  type Secured,
  type SecuredOptions,
  secured,
  theWorld,
  type World,
} from "../harness/secured.ts";
import { inTime, withTimeEnough } from "../harness/time.ts";

let world: World;
const clients: Client[] = [];
beforeAll(async () => {
  world = await theWorld();
});
afterAll(() => {
  for (const client of clients) client.close();
});

function told({ name, details }: Result): string {
  return `${name} ${details}`;
}

/** A client with this certificate, or with none. */
function clientAs(wall: Secured, certificate: IssuedCertificate | undefined): Client {
  const ca = Buffer.from(world.ca.caPem);
  const credentials =
    certificate === undefined
      ? grpcCredentials.createSsl(ca)
      : grpcCredentials.createSsl(ca, Buffer.from(certificate.key), Buffer.from(certificate.cert));
  const client = new Client(wall.address, credentials, { "grpc.use_local_subchannel_pool": 1 });
  clients.push(client);
  return client;
}

/** Clients need no certificate; each handler's context is kept. */
async function wallWith(
  authentication: Authenticator,
  options: SecuredOptions = {},
): Promise<Secured & { readonly seen: string[] }> {
  const seen: string[] = [];
  const good = goodHandlers() as Record<string, (...args: unknown[]) => void>;
  const handlers = Object.fromEntries(
    Object.entries(good).map(([name, handler]) => [
      name,
      (call: object, ...rest: unknown[]) => {
        const { principal, actor } = securityContext(call);
        seen.push(`${principal?.scheme} ${principal?.subject} by ${actor?.scheme} ${actor?.subject}`);
        handler(call, ...rest);
      },
    ]),
  ) as unknown as UntypedServiceImplementation;
  const wall = await secured({
    tls: {
      cert: Buffer.from(world.server.cert),
      key: Buffer.from(world.server.key),
      clientCa: Buffer.from(world.ca.caPem),
      clientAuth: "request",
    },
    authentication,
    authorization: allowAuthenticated(),
    handlers,
    ...options,
  });
  return Object.assign(wall, { seen });
}

function tokens(options: Partial<JwtOptions> = {}): Authenticator {
  const { issuer, jwksUri } = world.issuer;
  return jwt({ issuer, audience: "kinds", jwksUri, ...options });
}

const bearer = async (claims?: Readonly<Record<string, unknown>>): Promise<{ authorization: string }> => ({
  authorization: `Bearer ${await world.token(claims)}`,
});

/** RFC 8705 section 3.1, computed independently of the product. */
function thumbprint({ cert }: IssuedCertificate): string {
  return createHash("sha256").update(new X509Certificate(cert).raw).digest("base64url");
}

describe("A5 certificates as principals", () => {
  const opsOnly = rbac({
    roles: { ops: {}, billing: {} },
    rules: { "/test.v1.Kinds/*": { roles: ["ops"], schemes: ["mtls"] } },
  });
  const names: readonly [what: string, request: Parameters<World["ca"]["issue"]>[0], expected: string][] = [
    ["a URI that a pattern covers", { uris: ["spiffe://prod.example/ops/ada"] }, "OK"],
    ["a URI with the role of another", { uris: ["spiffe://prod.example/billing"] }, "PERMISSION_DENIED"],
    ["a URI that nothing covers", { uris: ["spiffe://prod.example/else"] }, "PERMISSION_DENIED"],
    ["a segment too many", { uris: ["spiffe://prod.example/ops/ada/x"] }, "PERMISSION_DENIED"],
    ["a segment too few", { uris: ["spiffe://prod.example/ops"] }, "PERMISSION_DENIED"],
    ["an empty segment", { uris: ["spiffe://prod.example/ops/"] }, "PERMISSION_DENIED"],
    ["dots for a segment", { uris: ["spiffe://prod.example/ops/.."] }, "PERMISSION_DENIED"],
    ["a slash that is encoded", { uris: ["spiffe://prod.example/ops/a%2Fb"] }, "PERMISSION_DENIED"],
    ["another trust domain", { uris: ["spiffe://evil.example/ops/ada"] }, "PERMISSION_DENIED"],
    ["another case", { uris: ["spiffe://prod.example/OPS/ada"] }, "PERMISSION_DENIED"],
    ["two URIs", { uris: ["spiffe://prod.example/ops/ada", "spiffe://x.example/y"] }, "UNAUTHENTICATED"],
    ["the URI as common name", { commonName: "spiffe://prod.example/ops/ada" }, "UNAUTHENTICATED"],
    ["a DNS name", { dnsNames: ["ada.ops.example"] }, "OK"],
    ["a DNS name two labels deep", { dnsNames: ["x.ada.ops.example"] }, "PERMISSION_DENIED"],
    ["the DNS name as common name", { commonName: "ada.ops.example" }, "PERMISSION_DENIED"],
    [
      "the DNS name beside a URI",
      { uris: ["spiffe://x.example/y"], dnsNames: ["ada.ops.example"] },
      "PERMISSION_DENIED",
    ],
    ["the common name", { commonName: "Ops Ada" }, "OK"],
    [
      "the common name beside a URI",
      { uris: ["spiffe://x.example/y"], commonName: "Ops Ada" },
      "PERMISSION_DENIED",
    ],
    [
      "the common name beside a DNS name",
      { dnsNames: ["x.example"], commonName: "Ops Ada" },
      "PERMISSION_DENIED",
    ],
  ];

  it.each(names)("A5 a certificate with %s", async (_what, request, expected) => {
    await using wall = await wallWith(
      mtls({
        roles: {
          "spiffe://prod.example/ops/*": ["ops"],
          "spiffe://prod.example/billing": ["billing"],
          "*.ops.example": ["ops"],
          "CN=Ops Ada": ["ops"],
        },
      }),
      { authorization: opsOnly },
    );
    const certificate = await world.ca.issue({ usage: "client", ...request });
    for (const kind of kinds) {
      const { name } = await invoke(clientAs(wall, certificate), kind);
      expect(name, kind).toBe(expected);
    }
    expect(wall.seen).toHaveLength(expected === "OK" ? 4 : 0);
  });

  it.each(kinds)(
    "A5 on a %s call the subject is the certificate's name; none is missing credentials",
    async (kind) => {
      await using wall = await wallWith(mtls());
      expect(told(await invoke(clientAs(wall, world.client), kind))).toBe("OK OK");
      expect(wall.seen).toEqual(["mtls spiffe://test.example/client by undefined undefined"]);
      expect(told(await invoke(clientAs(wall, undefined), kind))).toBe("UNAUTHENTICATED missing credentials");
    },
  );

  it("A5 where unmatched certificates are refused, they are invalid", async () => {
    await using wall = await wallWith(
      mtls({ roles: { "spiffe://prod.example/x": [] }, unmatched: "refuse" }),
    );
    expect(told(await invoke(clientAs(wall, world.client), "unary"))).toBe(
      "UNAUTHENTICATED invalid credentials",
    );
  });
});

describe("A6 all of: the application and its user", () => {
  const app = issueApiKey({ owner: "shop", roles: ["app"] });
  const other = issueApiKey({ owner: "other" });
  const bad = issueApiKey({ owner: "nobody" });
  const keys = (): Authenticator => apiKey({ store: memoryApiKeyStore([app.record, other.record]) });
  const expiredToken = { exp: Math.floor(Date.now() / 1000) - 60 };
  const invalid = "UNAUTHENTICATED invalid credentials";
  const missing = "UNAUTHENTICATED missing credentials";
  const key = { "x-api-key": app.key };
  const badKey = { "x-api-key": bad.key };
  const none = async (): Promise<Record<string, string>> => ({});

  const combinations: readonly [
    what: string,
    metadata: () => Promise<Record<string, string>>,
    expected: string,
    orAppAlone: string,
  ][] = [
    ["nothing", none, missing, missing],
    ["a good token alone", () => bearer(), missing, missing],
    ["a good key alone", async () => key, missing, "OK OK"],
    ["a bad token alone", async () => ({ authorization: "Bearer nonsense" }), invalid, invalid],
    ["a bad key alone", async () => badKey, invalid, invalid],
    ["both good", async () => ({ ...(await bearer()), ...key }), "OK OK", "OK OK"],
    ["a good token and a bad key", async () => ({ ...(await bearer()), ...badKey }), invalid, invalid],
    [
      "a bad token and a good key",
      async () => ({ authorization: "Bearer nonsense", ...key }),
      invalid,
      invalid,
    ],
    ["a forged token and a good key", async () => forged(), invalid, invalid],
    [
      "an expired token and a good key",
      async () => ({ ...(await bearer(expiredToken)), ...key }),
      "UNAUTHENTICATED expired credentials",
      "UNAUTHENTICATED expired credentials",
    ],
    [
      "a good key and another scheme",
      async () => ({ authorization: "Basic YWRhOmFkYQ==", ...key }),
      invalid,
      invalid,
    ],
  ];

  async function forged(): Promise<Record<string, string>> {
    const { authorization } = await bearer();
    return { authorization: `${authorization.slice(0, -6)}AAAAAA`, ...key };
  }

  it.each(combinations)("A6 %s", async (_what, metadata, expected, orAppAlone) => {
    await using strict = await wallWith(allOf({ principal: tokens(), actor: keys() }));
    const apps = keys();
    await using lenient = await wallWith(anyOf(allOf({ principal: tokens(), actor: apps }), apps));
    for (const kind of kinds) {
      // Twice: the second time the token is remembered, and the answer comes without a promise.
      for (let i = 0; i < 2; i++) {
        const sent = { metadata: await metadata() };
        expect(told(await invoke(clientAs(strict, undefined), kind, sent)), kind).toBe(expected);
        expect(told(await invoke(clientAs(lenient, undefined), kind, sent)), kind).toBe(orAppAlone);
      }
    }
    if (expected === "OK OK") expect(new Set(strict.seen)).toEqual(new Set(["jwt ada by api-key shop"]));
    else expect(strict.seen).toEqual([]);
  });

  it("A6 in `anyOf` an application alone is the principal, with its user the actor", async () => {
    const apps = keys();
    await using wall = await wallWith(anyOf(allOf({ principal: tokens(), actor: apps }), apps));
    await invoke(clientAs(wall, undefined), "unary", { metadata: key });
    await invoke(clientAs(wall, undefined), "unary", { metadata: { ...(await bearer()), ...key } });
    expect(wall.seen).toEqual(["api-key shop by undefined undefined", "jwt ada by api-key shop"]);
  });

  it("A6 a certificate names the application; without the token the call is missing it", async () => {
    await using wall = await wallWith(allOf({ principal: tokens(), actor: mtls() }));
    for (const kind of kinds) {
      const metadata = await bearer();
      expect(told(await invoke(clientAs(wall, world.client), kind, { metadata }))).toBe("OK OK");
      expect(wall.seen.at(-1)).toBe("jwt ada by mtls spiffe://test.example/client");
      expect(told(await invoke(clientAs(wall, world.client), kind))).toBe(missing);
      expect(told(await invoke(clientAs(wall, undefined), kind, { metadata }))).toBe(missing);
    }
    expect(wall.seen).toHaveLength(4);
  });

  it("A6 the log line and the audit entry name both", async () => {
    await using wall = await wallWith(allOf({ principal: tokens(), actor: keys() }));
    await invoke(clientAs(wall, undefined), "unary", { metadata: { ...(await bearer()), ...key } });
    expect(await wall.callLine(() => true)).toMatchObject({ principal: "ada", actor: "shop" });
    expect(await wall.auditEntry(() => true)).toMatchObject({
      caller: { subject: "ada", scheme: "jwt" },
      actor: { subject: "shop", scheme: "api-key" },
    });
  });

  it.each(kinds)("Z1 a rule may demand an actor, on a %s call", async (kind) => {
    const apps = keys();
    await using wall = await wallWith(anyOf(allOf({ principal: tokens(), actor: apps }), tokens(), apps), {
      authorization: rbac({
        roles: { caller: {}, app: {} },
        rules: { "/test.v1.Kinds/*": { roles: ["caller"], actor: { roles: ["app"], schemes: ["api-key"] } } },
      }),
    });
    const call = async (metadata: Record<string, string>): Promise<string> =>
      told(await invoke(clientAs(wall, undefined), kind, { metadata }));
    const denied = "PERMISSION_DENIED permission denied";
    expect(await call({ ...(await bearer()), ...key })).toBe("OK OK");
    expect(await call({ ...(await bearer()), "x-api-key": other.key })).toBe(denied);
    expect(await call(await bearer())).toBe(denied);
    expect(await call(key)).toBe(denied);
    expect(await call({ ...(await bearer({ roles: [] })), ...key })).toBe(denied);
    expect(wall.seen).toHaveLength(1);
  });
});

describe("A7 tokens bound to a certificate", () => {
  let stranger: IssuedCertificate;
  beforeAll(async () => {
    stranger = await world.ca.issue({ uris: ["spiffe://test.example/thief"], usage: "client" });
  });
  const invalid = "UNAUTHENTICATED invalid credentials";
  const bound = (): Promise<{ authorization: string }> =>
    bearer({ cnf: { "x5t#S256": thumbprint(world.client) } });

  it.each(kinds)(
    "A7 a bound token is good with its certificate, and useless to who stole it, on a %s call",
    async (kind) => {
      await using wall = await wallWith(tokens());
      const metadata = await bound();
      const call = async (certificate: IssuedCertificate | undefined): Promise<string> =>
        told(await invoke(clientAs(wall, certificate), kind, { metadata }));
      // The thief first and last: what a cache remembers is the signature, never that the call may pass.
      expect(await call(stranger)).toBe(invalid);
      expect(await call(world.client)).toBe("OK OK");
      expect(await call(stranger)).toBe(invalid);
      expect(await call(undefined)).toBe(invalid);
      expect(await call(world.client)).toBe("OK OK");
      expect(wall.seen).toHaveLength(2);
    },
  );

  const confirmations: readonly [what: string, cnf: (good: string) => unknown][] = [
    ["is empty", () => ({})],
    ["is null", () => null],
    ["is text", (good) => good],
    ["is a list", (good) => [{ "x5t#S256": good }]],
    ["names another proof (jkt, RFC 9449)", () => ({ jkt: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" })],
    ["names another proof besides", (good) => ({ "x5t#S256": good, jkt: "x" })],
    ["names an unknown proof", () => ({ "urn:example:proof": "x" })],
    ["has padding", (good) => ({ "x5t#S256": `${good}=` })],
    ["has white space", (good) => ({ "x5t#S256": ` ${good}` })],
    ["is in hexadecimal", (good) => ({ "x5t#S256": Buffer.from(good, "base64url").toString("hex") })],
    ["is cut off", (good) => ({ "x5t#S256": good.slice(0, 22) })],
    ["is a number", () => ({ "x5t#S256": 1 })],
    ["is the SHA-1 (x5t)", (good) => ({ x5t: good })],
  ];
  it.each(confirmations)(
    "A7 a token whose cnf %s is refused with the right certificate too",
    async (_what, cnf) => {
      await using wall = await wallWith(tokens());
      await using lax = await wallWith(tokens({ certificateBound: "ignore" }));
      const metadata = await bearer({ cnf: cnf(thumbprint(world.client)) });
      for (const kind of kinds) {
        expect(told(await invoke(clientAs(wall, world.client), kind, { metadata }))).toBe(invalid);
        expect(told(await invoke(clientAs(lax, undefined), kind, { metadata }))).toBe("OK OK");
      }
    },
  );

  it.each(kinds)(
    "A7 where binding is required, a token that is not bound is refused on a %s call",
    async (kind) => {
      await using wall = await wallWith(tokens({ certificateBound: "require" }));
      const call = async (metadata: Record<string, string>): Promise<string> =>
        told(await invoke(clientAs(wall, world.client), kind, { metadata }));
      expect(await call(await bearer())).toBe(invalid);
      expect(await call(await bound())).toBe("OK OK");
    },
  );
});

describe("A8 revoked tokens", () => {
  it.each(kinds)("A8 a token that was revoked is refused on a %s call, cached or not", async (kind) => {
    for (const later of [false, true]) {
      const revoked = new Set<unknown>();
      const isRevoked = ({ jti }: Readonly<Record<string, unknown>>): boolean | Promise<boolean> =>
        later ? Promise.resolve(revoked.has(jti)) : revoked.has(jti);
      await using wall = await wallWith(tokens({ isRevoked }));
      const metadata = await bearer({ jti: "one" });
      const call = async (): Promise<string> =>
        told(await invoke(clientAs(wall, undefined), kind, { metadata }));
      expect(await call()).toBe("OK OK");
      revoked.add("one");
      expect(await call()).toBe("UNAUTHENTICATED invalid credentials");
    }
  });

  it.each<[string, () => unknown]>([
    [
      "throws",
      () => {
        throw new Error("the store is away");
      },
    ],
    ["rejects", () => Promise.reject(new Error("the store is away"))],
    ["answers nothing", () => undefined],
    ["answers nothing later", () => Promise.resolve(undefined)],
    ["answers with a number", () => 0],
  ])("A8 a check that %s lets nobody in", async (_what, isRevoked) => {
    await using wall = await wallWith(tokens({ isRevoked: isRevoked as () => boolean }));
    for (const kind of kinds) {
      const sent = { metadata: await bearer() };
      expect(told(await invoke(clientAs(wall, undefined), kind, sent))).toBe(
        "UNAVAILABLE temporarily unavailable",
      );
    }
    expect(wall.seen).toEqual([]);
  });
});

describe("A12 a call does not outlive its credential", () => {
  /** Each answers as much as it can, and none of them ends. */
  function endless(
    aborted: Set<MethodKind>,
    started: Set<MethodKind> = new Set(),
  ): UntypedServiceImplementation {
    const note = (kind: MethodKind, call: object): void => {
      started.add(kind);
      securityContext(call).signal.addEventListener("abort", () => aborted.add(kind));
    };
    const produce = (call: {
      write(note: Note): boolean;
      once(event: string, on: () => void): void;
    }): void => {
      while (call.write({ text: "more" }));
      call.once("drain", () => setImmediate(produce, call));
    };
    return {
      unary: (call: object) => note("unary", call),
      clientStream: (call: NodeJS.EventEmitter) => {
        note("client_stream", call);
        call.on("data", () => {});
      },
      serverStream: (call: Parameters<typeof produce>[0]) => {
        note("server_stream", call);
        produce(call);
      },
      bidiStream: (call: NodeJS.EventEmitter & { write(note: Note): void }) => {
        note("bidi_stream", call);
        call.on("data", (got: Note) => call.write(got));
      },
    } as unknown as UntypedServiceImplementation;
  }

  /** A call that both sides keep busy until it ends. */
  function busy(
    client: Client,
    kind: MethodKind,
    metadata: Record<string, string>,
  ): Promise<Result & { at: number }> {
    return invoke(client, kind, {
      metadata,
      keepOpen: true,
      onCall(call) {
        if (!("write" in call)) return;
        const timer = setInterval(() => call.write({ text: "again" }), 20);
        call.once("status", () => clearInterval(timer));
      },
    }).then((result) => ({ ...result, at: Date.now() }));
  }

  interface Lasting {
    readonly authenticator: Authenticator;
    readonly as: IssuedCertificate | undefined;
    readonly metadata: Record<string, string>;
    readonly expiresAt: number;
  }

  const ended = "UNAUTHENTICATED expired credentials";

  /** In time for all handlers to be at work before the credential ends. */
  function expectEndsWith(credential: (lastingMs: number) => Promise<Lasting>): Promise<void> {
    return withTimeEnough(1_000, async (lastingMs) => {
      const { authenticator, as, metadata, expiresAt } = await credential(lastingMs);
      const aborted = new Set<MethodKind>();
      const started = new Set<MethodKind>();
      await using wall = await wallWith(authenticator, { handlers: endless(aborted, started) });
      // Timers fire in the order of their times, however late: this one after those of the server, in the same process.
      const abortedSoonAfter = new Promise<number>((resolve) =>
        setTimeout(() => setImmediate(() => resolve(aborted.size)), expiresAt + 1_500 - Date.now()),
      );
      const results = await Promise.all(kinds.map((kind) => busy(clientAs(wall, as), kind, metadata)));
      if (started.size < kinds.length || results[2]?.messages.length === 0) return false;
      for (const [index, result] of results.entries()) {
        expect(told(result), kinds[index]).toBe(ended);
        // A millisecond for the two clocks that are read here.
        expect(result.at).toBeGreaterThanOrEqual(expiresAt - 1);
      }
      expect(await abortedSoonAfter).toBe(kinds.length);
      expect(results[2]?.messages.length).toBeGreaterThan(0);
      for (const kind of kinds) {
        const line = await wall.callLine((each) => each["method"] === paths[kind]);
        expect(line).toMatchObject({
          grpc_code: "UNAUTHENTICATED",
          ended_by: "layer",
          layer: "authentication",
        });
        const entry = await wall.auditEntry((each) => each.method === paths[kind]);
        expect(entry).toMatchObject({ status: "UNAUTHENTICATED", reason: "expired credentials" });
        expect(entry.caller).not.toBeNull();
      }
      // What the caller sends goes on arriving until then, where there is time for it.
      return (results[3]?.messages.length ?? 0) > 1;
    });
  }

  const wholeSecondIn = (ms: number): number => Math.ceil((Date.now() + ms) / 1000) * 1000;

  it("A12 all four kinds end when the token does, whoever is sending", async () => {
    await expectEndsWith(async (lastingMs) => {
      const expiresAt = wholeSecondIn(lastingMs);
      const metadata = await bearer({ exp: expiresAt / 1000 });
      return { authenticator: tokens({ clockToleranceSec: 0 }), as: undefined, metadata, expiresAt };
    });
  });

  it("A12 and when the API key does", async () => {
    await expectEndsWith(async (lastingMs) => {
      const expiresAt = Date.now() + lastingMs;
      const { key, record } = issueApiKey({ owner: "shop", expiresAt });
      const authenticator = apiKey({ store: memoryApiKeyStore([record]) });
      return { authenticator, as: undefined, metadata: { "x-api-key": key }, expiresAt };
    });
  });

  it("A12 and when the certificate does", async () => {
    await expectEndsWith(async (lastingMs) => {
      const expiresAt = wholeSecondIn(lastingMs + 1_000);
      const as = await world.ca.issue({
        uris: ["spiffe://test.example/short"],
        usage: "client",
        notAfter: new Date(expiresAt),
      });
      return { authenticator: mtls(), as, metadata: {}, expiresAt };
    });
  });

  it.each(["principal", "actor"] as const)(
    "A12 of two credentials the %s's, which ends first, decides",
    async (first) => {
      await expectEndsWith(async (lastingMs) => {
        const expiresAt = wholeSecondIn(lastingMs);
        const late = expiresAt + 600_000;
        const { key, record } = issueApiKey({
          owner: "shop",
          expiresAt: first === "actor" ? expiresAt : late,
        });
        const actor = apiKey({ store: memoryApiKeyStore([record]) });
        const authenticator = allOf({ principal: tokens({ clockToleranceSec: 0 }), actor });
        const exp = (first === "actor" ? late : expiresAt) / 1000;
        const metadata = { ...(await bearer({ exp })), "x-api-key": key };
        return { authenticator, as: undefined, metadata, expiresAt };
      });
    },
  );

  it("A12 L6 the deadline that comes first decides what the caller is told", async () => {
    const deadline = { maxUnaryMs: 200, maxStreamMs: 200 };
    await using wall = await wallWith(tokens(), { handlers: endless(new Set()), deadline });
    for (const kind of kinds) {
      const result = await busy(clientAs(wall, undefined), kind, await bearer());
      expect(told(result)).toBe("DEADLINE_EXCEEDED deadline exceeded");
    }
  });
});

describe("A3 API keys in a file", () => {
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "palisade-api-keys-"));
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));

  /** In one go: who watches the file is not to see it empty. */
  const write = async (path: string, records: readonly unknown[]): Promise<void> =>
    writeFileSync(path, JSON.stringify(records));

  it("A3 keys come and go with the file, under load, however it is replaced; garbage changes nothing", async () => {
    const folder = await mkdtemp(join(directory, "load-"));
    const path = join(folder, "keys.json");
    const steady = issueApiKey({ owner: "shop" });
    await write(path, [steady.record]);
    const { logger, lines } = keptLog();
    await using wall = await wallWith(apiKey({ store: fileApiKeyStore({ path, logger }) }), {
      rateLimit: { perPeer: false, perPrincipal: false, failedAuthentication: false },
    });

    const failures: string[] = [];
    let calls = 0;
    let stop = false;
    const load = kinds.map(async (kind) => {
      const client = clientAs(wall, undefined);
      while (!stop) {
        const result = await invoke(client, kind, { metadata: { "x-api-key": steady.key } });
        calls++;
        if (result.name !== "OK") failures.push(told(result));
      }
    });

    const client = clientAs(wall, undefined);
    const asked = async (key: string): Promise<string> =>
      told(await invoke(client, "unary", { metadata: { "x-api-key": key } }));
    const until = async (key: string, expected: string): Promise<void> => {
      let last = "";
      for (const end = inTime(); last !== expected && Date.now() < end; ) last = await asked(key);
      expect(last).toBe(expected);
    };

    const ways: readonly ((records: readonly unknown[], round: number) => Promise<void>)[] = [
      (records) => write(path, records),
      async (records) => {
        await write(`${path}.new`, records);
        await rename(`${path}.new`, path);
      },
      async (records, round) => {
        // As Kubernetes does: a link to a directory is swapped, and the file is a link through it.
        const version = join(folder, `..version-${round}`);
        await mkdir(version);
        await write(join(version, "keys.json"), records);
        await symlink(version, join(folder, `..data-${round}`));
        await rename(join(folder, `..data-${round}`), join(folder, "..data"));
        await symlink(join("..data", "keys.json"), join(folder, `link-${round}`));
        await rename(join(folder, `link-${round}`), path);
      },
      async (records) => {
        const version = join(folder, "..version-last");
        await mkdir(version);
        await write(join(version, "keys.json"), records);
        await symlink(version, join(folder, "..data-last"));
        await rename(join(folder, "..data-last"), join(folder, "..data"));
      },
    ];
    let previous = "";
    for (const [round, replace] of ways.entries()) {
      const next = issueApiKey({ owner: "shop" });
      expect(await asked(next.key)).toBe("UNAUTHENTICATED invalid credentials");
      await replace([steady.record, next.record], round);
      await until(next.key, "OK OK");
      if (previous !== "") expect(await asked(previous)).toBe("UNAUTHENTICATED invalid credentials");
      previous = next.key;
    }

    const problems = (): number => lines.filter((line) => line.msg?.includes("cannot be used")).length;
    rmSync(path);
    writeFileSync(path, '[{"id":"half');
    await eventually(() => problems() === 1, "the report of garbage");
    expect(await asked(previous)).toBe("OK OK");
    await rm(path);
    await eventually(() => problems() === 2, "the report of the missing file");
    expect(await asked(previous)).toBe("OK OK");
    const revoked = { ...issueApiKey({ owner: "shop" }).record, digest: digest(previous), revoked: true };
    await write(path, [steady.record, revoked]);
    await until(previous, "UNAUTHENTICATED invalid credentials");

    stop = true;
    await Promise.all(load);
    expect(failures).toEqual([]);
    expect(calls).toBeGreaterThan(40);
    expect(problems()).toBe(2);
    expect(JSON.stringify([lines, wall.lines])).not.toContain(previous);
  });

  function digest(key: string): string {
    return createHash("sha256").update(key).digest("hex");
  }

  it("A3 L1 two live keys of one owner, as during a rotation, share the owner's limits", async () => {
    const path = join(directory, "rotation.json");
    const [old, next] = [issueApiKey({ owner: "shop" }), issueApiKey({ owner: "shop" })];
    const stranger = issueApiKey({ owner: "stranger" });
    await write(path, [old.record, next.record, stranger.record]);
    await using wall = await wallWith(apiKey({ store: fileApiKeyStore({ path, logger: false }) }), {
      rateLimit: { perPrincipal: { points: 3, durationSec: 600 } },
    });
    const client = clientAs(wall, undefined);
    const answers: string[] = [];
    for (const { key } of [old, next, old, next, old, stranger]) {
      answers.push((await invoke(client, "unary", { metadata: { "x-api-key": key } })).name);
    }
    expect(answers).toEqual(["OK", "OK", "OK", "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED", "OK"]);
  });

  it("A3 C6 on a server of others, closing the interceptors closes the store", async () => {
    let closed = 0;
    const store = {
      find: () => undefined,
      close: () => {
        closed++;
      },
    };
    const interceptors = secureInterceptors({
      authentication: anyOf(tokens(), apiKey({ store })),
      authorization: allowAuthenticated(),
      callsOutliveCredentials: true,
      logger: false,
      services: [kindsDefinition],
    });
    await interceptors.close();
    expect(closed).toBe(1);
  });

  it("A3 C9 shutdown lets go of the file, and another server can use the store", async () => {
    const path = join(directory, "closing.json");
    const [first, second] = [issueApiKey({ owner: "shop" }), issueApiKey({ owner: "shop" })];
    await write(path, [first.record]);
    const store = fileApiKeyStore({ path, logger: false });
    const wall = await wallWith(apiKey({ store }));
    await wall.close();
    await write(path, [second.record]);
    await using again = await wallWith(apiKey({ store }));
    const call = async (key: string): Promise<string> =>
      told(await invoke(clientAs(again, undefined), "unary", { metadata: { "x-api-key": key } }));
    // What changed in the meantime holds for the first call already.
    expect(await call(first.key)).toBe("UNAUTHENTICATED invalid credentials");
    expect(await call(second.key)).toBe("OK OK");
  });
});

describe("A9 what a handler does to its principal", () => {
  const issued = issueApiKey({ owner: "billing" });
  const key = async (): Promise<Readonly<Record<string, string>>> => ({ "x-api-key": issued.key });
  const nobody = async (): Promise<Readonly<Record<string, string>>> => ({});
  const shared = {
    subject: "own",
    kind: "user",
    scheme: "own",
    roles: new Set<string>(),
    permissions: new Set<string>(),
    claims: {},
  } as const;
  const ownAuthenticator: Authenticator = {
    name: "own",
    source: "metadata",
    headers: ["x-api-key"],
    presents: () => true,
    authenticate: () => ({ principal: shared, actor: shared }),
  };
  const store = memoryApiKeyStore([issued.record]);

  it.each<[string, () => Authenticator, () => Promise<Readonly<Record<string, string>>>]>([
    ["jwt", () => tokens(), () => bearer({ roles: [] })],
    ["apiKey", () => apiKey({ store }), key],
    ["mtls", () => mtls({}), nobody],
    ["anonymous", () => anonymous(), nobody],
    ["an own authenticator", () => ownAuthenticator, key],
    ["allOf", () => allOf({ principal: apiKey({ store }), actor: mtls({}) }), key],
  ])("A9 gives no role to the next call: %s", async (_what, authenticator, credentials) => {
    const refused: unknown[] = [];
    const attempt = (change: () => unknown): void => {
      try {
        change();
      } catch (error) {
        refused.push(String(error));
      }
    };
    const wall = await wallWith(authenticator(), {
      authorization: rbac({
        roles: { admin: {} },
        rules: { "/test.v1.Kinds/*": { roles: ["admin"] }, [paths.unary]: "public" },
      }),
      handlers: {
        ...goodHandlers(),
        unary(call: object, callback: (error: null, note: Note) => void) {
          const { principal, actor } = securityContext(call);
          for (const who of [principal, actor].filter((each) => each !== undefined)) {
            const roles = who.roles as Set<string>;
            attempt(() => roles.add("admin"));
            attempt(() => (who.permissions as Set<string>).add("*"));
            attempt(() => roles.delete("admin"));
            attempt(() => roles.clear());
            attempt(() => Object.assign(who, { roles: new Set(["admin"]) }));
            expect(roles).toBeInstanceOf(Set);
          }
          callback(null, { text: "done" });
        },
      } as unknown as UntypedServiceImplementation,
    });
    const client = clientAs(wall, world.client);
    const metadata = await credentials();
    const before = await invoke(client, "server_stream", { metadata });
    expect(before.name).not.toBe("OK");
    for (let i = 0; i < 2; i++) expect(told(await invoke(client, "unary", { metadata }))).toBe("OK OK");
    expect(told(await invoke(client, "server_stream", { metadata }))).toBe(told(before));
    expect(refused.length).toBeGreaterThanOrEqual(10);
    expect(refused).toContain(
      "TypeError: roles and permissions are shared by all calls of a principal and cannot be changed",
    );
    await wall.close();
  });

  it("A9 an own authenticator's sets are its own: what it changes counts from the next call on", async () => {
    const roles = new Set<string>();
    const wall = await wallWith(
      { ...ownAuthenticator, authenticate: () => ({ principal: { ...shared, roles } }) },
      {
        authorization: rbac({
          roles: { admin: {} },
          rules: { "/test.v1.Kinds/*": { roles: ["admin"] } },
        }),
      },
    );
    const client = clientAs(wall, undefined);
    const ask = async (): Promise<string> =>
      (await invoke(client, "unary", { metadata: { "x-api-key": "x" } })).name;
    expect(await ask()).toBe("PERMISSION_DENIED");
    roles.add("admin");
    expect(await ask()).toBe("OK");
    roles.clear();
    expect(await ask()).toBe("PERMISSION_DENIED");
    await wall.close();
  });

  it.each<[unknown]>([["admin"], [["admin"]], [{}], [7], [null]])(
    "A9 roles that are no set, %j, are the authenticator's failure",
    async (roles) => {
      const wall = await wallWith({
        ...ownAuthenticator,
        authenticate: () => ({ principal: { ...shared, roles: roles as ReadonlySet<string> } }),
      });
      const seen = await invoke(clientAs(wall, undefined), "unary", { metadata: { "x-api-key": "x" } });
      expect(told(seen)).toBe("UNAVAILABLE temporarily unavailable");
      const line = await wall.callLine(() => true);
      expect(JSON.stringify(line["err"])).toContain("principal whose roles are not a Set");
      await wall.close();
    },
  );
});
