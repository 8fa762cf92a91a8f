// An OPA server that answers: what it is asked, how often, and what becomes of its decisions (Z5).
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { ConfigError } from "../../src/grpc/errors.ts";
import { methodInfo } from "../../src/grpc/method.ts";
import { allOf, jwt, mtls } from "../../src/index.ts";
import type { Decision } from "../../src/middleware/authorization/authorizer.ts";
import { DecisionCache } from "../../src/opa/decision-cache.ts";
import { type OpaOptions, opa } from "../../src/opa/index.ts";
import { opaServer } from "../../src/opa/opa-server.ts";
import { invoke, kinds, type Note, paths } from "../harness/kinds.ts";
import { eventually, type Secured, type SecuredOptions, secured, theWorld } from "../harness/secured.ts";
import { waitMs } from "../harness/time.ts";
import { type Answer, type FakeOpa, type FakeOpaOptions, json, result, startOpa } from "./fake-opa.ts";

const folder = mkdtempSync(join(tmpdir(), "palisade-opa-"));
afterAll(() => rmSync(folder, { recursive: true }));

interface Asked extends AsyncDisposable {
  readonly opa: FakeOpa;
  readonly secured: Secured;
}

/** A server whose calls an OPA server decides about. */
async function asking(
  answer: Answer,
  options: Partial<OpaOptions> = {},
  more: SecuredOptions & { readonly fake?: FakeOpaOptions } = {},
): Promise<Asked> {
  const { fake, ...serverOptions } = more;
  const server = await startOpa(answer, fake);
  const own = await secured({
    authorization: opa({ url: server.url, path: "test/allow", timeoutMs: waitMs, ...options }),
    deadline: { checkTimeoutMs: waitMs },
    ...serverOptions,
  });
  return {
    opa: server,
    secured: own,
    async [Symbol.asyncDispose]() {
      await own.close();
      await server[Symbol.asyncDispose]();
    },
  };
}

async function call(
  { secured: own }: Asked,
  {
    as = {},
    metadata = {},
    kind = "unary",
    messages,
  }: {
    readonly as?: Readonly<Record<string, unknown>>;
    readonly metadata?: Readonly<Record<string, string>>;
    readonly kind?: (typeof kinds)[number];
    readonly messages?: readonly Note[];
  } = {},
): Promise<string> {
  const client = own.client();
  const sent = { ...(await own.authorized(as)), ...metadata };
  const { name, details } = await invoke(client, kind, {
    metadata: sent,
    ...(messages === undefined ? {} : { messages }),
  });
  client.close();
  return `${name} ${details}`;
}

function failing<T>() {
  let reject: (error: unknown) => void = () => {};
  const promise = new Promise<T>((_, fail) => {
    reject = fail;
  });
  return { promise, reject };
}

const denied = "PERMISSION_DENIED permission denied";
const unavailable = "UNAVAILABLE temporarily unavailable";

describe("a query", () => {
  it("Z5 for a token that cannot be read ends when its time is up", async () => {
    const server = opaServer({
      url: "http://127.0.0.1:1",
      path: "test/allow",
      plaintext: undefined,
      ca: undefined,
      maxConcurrent: 1,
      // Its file is on a file system that hangs.
      token: () => new Promise(() => {}),
    });
    const asked = server.query("{}", AbortSignal.timeout(50));
    await expect(asked).rejects.toThrow("OPA did not answer in time (timeoutMs)");
  });

  it.each(kinds)("Z5 lets a %s call in where the result is true", async (kind) => {
    await using asked = await asking(result(true));
    expect(await call(asked, { kind })).toBe("OK OK");
    expect(asked.secured.started).toEqual([kind]);
    expect(asked.opa.queries).toHaveLength(1);
  });

  it("Z5 has the input document, and no credential in it", async () => {
    const world = await theWorld();
    const { issuer } = world;
    const authentication = allOf({
      principal: jwt({ issuer: issuer.issuer, audience: "kinds", jwksUri: issuer.jwksUri }),
      actor: mtls(),
    });
    await using asked = await asking(
      result(true),
      { metadata: ["x-region", "x-absent"] },
      { authentication },
    );
    const client = asked.secured.client();
    const { authorization } = await asked.secured.authorized({ permissions: ["order:read"], level: 3 });
    const metadata = { authorization, "x-region": "eu", "x-other": "unseen", "x-request-id": "r-1" };
    expect((await invoke(client, "bidi_stream", { metadata })).name).toBe("OK");
    client.close();
    const query = await eventually(() => asked.opa.queries[0], "a query");
    const { certificate } = query.input["peer"] as { readonly certificate: object };
    expect(query.path).toBe("/v1/data/test/allow");
    expect(query.input).toEqual({
      method: { path: paths.bidi_stream, service: "test.v1.Kinds", name: "BidiStream", kind: "bidi_stream" },
      principal: {
        subject: "ada",
        kind: "user",
        scheme: "jwt",
        issuer: issuer.issuer,
        tenant: "acme",
        roles: ["caller"],
        permissions: ["order:read"],
        claims: expect.objectContaining({ sub: "ada", level: 3, roles: ["caller"] }),
      },
      actor: {
        subject: "spiffe://test.example/client",
        kind: "service",
        scheme: "mtls",
        roles: [],
        permissions: [],
        claims: expect.any(Object),
      },
      peer: { address: "127.0.0.1", certificate },
      metadata: { "x-region": ["eu"] },
      requestId: "r-1",
    });
    expect(certificate).toEqual({
      name: "spiffe://test.example/client",
      uris: ["spiffe://test.example/client"],
      dnsNames: [],
      commonName: "test-client",
      serialNumber: expect.stringMatching(/^[0-9A-F]+$/),
      issuer: expect.stringContaining("Test CA"),
      fingerprint256: expect.stringMatching(/^[0-9A-F:]+$/),
      notBefore: expect.any(Number),
      notAfter: expect.any(Number),
    });
    // Not the token, nor the part of it that proves it.
    const [, , signature = "none"] = authorization.split(".");
    expect(JSON.stringify(query)).not.toContain(signature);
    expect(query.headers.authorization).toBeUndefined();
  });

  it("Z5 goes by a Unix socket", async () => {
    const socket = join(folder, "opa.sock");
    await using asked = await asking(result(true), {}, { fake: { socket } });
    expect(asked.opa.url).toBe(`unix://${socket}`);
    expect(await call(asked)).toBe("OK OK");
  });

  it("Z5 goes by https to an OPA whose certificate verifies, and by no other", async () => {
    const { ca, server: tls } = await theWorld();
    await using asked = await asking(result(true), { ca: Buffer.from(ca.caPem) }, { fake: { tls } });
    expect(await call(asked)).toBe("OK OK");
    await using stranger = await asking(result(true), {}, { fake: { tls } });
    expect(await call(stranger)).toBe(unavailable);
    expect(stranger.opa.queries).toEqual([]);
  });

  it("Z5 keeps its connection, and is asked again where OPA closed it meanwhile", async () => {
    const seen = new Set<unknown>();
    await using asked = await asking(result(true));
    for (let i = 0; i < 3; i += 1) expect(await call(asked)).toBe("OK OK");
    expect(new Set(asked.opa.queries.map(({ port }) => port)).size).toBe(1);
    for (const { port } of asked.opa.queries) seen.add(port);
    asked.opa.answer = (response, query) =>
      seen.has(query.port) ? response.destroy() : result(true)(response, query);
    expect(await call(asked)).toBe("OK OK");
    expect(asked.opa.queries).toHaveLength(5);
  });

  it("Z5 shows OPA the token, also a new one in its file", async () => {
    await using fixed = await asking(result(true), { token: "t-1" });
    await call(fixed);
    expect(fixed.opa.queries[0]?.headers.authorization).toBe("Bearer t-1");
    const file = join(folder, "token");
    writeFileSync(file, "t-2\n");
    await using asked = await asking(result(true), { token: { file } });
    await call(asked);
    writeFileSync(file, "t-3-longer\n");
    await call(asked);
    expect(asked.opa.queries.map(({ headers }) => headers.authorization)).toEqual([
      "Bearer t-2",
      "Bearer t-3-longer",
    ]);
    rmSync(file);
    await using without = await asking(result(true), { token: { file } });
    expect(await call(without)).toBe(unavailable);
    expect(without.opa.queries).toEqual([]);
  });
});

describe("a decision", () => {
  it("Z5 Z9 is in log and audit, with OPA's id of it, its rule and its reason", async () => {
    const id = "0c4e6a2b-9d1f-4d6e-8a43-1f2d3c4b5a69";
    await using asked = await asking(
      json({ result: { allow: false, rule: "office-hours", reason: "needs role clerk" }, decision_id: id }),
    );
    expect(await call(asked)).toBe(denied);
    const line = await asked.secured.callLine(() => true);
    expect(line).toMatchObject({
      layer: "authorization",
      rule: "office-hours",
      reason: "needs role clerk",
      decision_id: id,
    });
    expect(await asked.secured.auditEntry(() => true)).toMatchObject({
      decision: "deny",
      rule: "office-hours",
      reason: "needs role clerk",
      decisionId: id,
    });
    asked.opa.answer = result(true, "second");
    expect(await call(asked)).toBe("OK OK");
    expect(await asked.secured.callLine(({ grpc_code: code }) => code === "OK")).toMatchObject({
      decision_id: "second",
    });
    expect(await asked.secured.auditEntry(({ status }) => status === "OK")).toMatchObject({
      decision: "allow",
      rule: "test/allow",
      decisionId: "second",
    });
  });

  it.each([7, "", "two words", "x".repeat(129), "a\nb", null])(
    "Z5 leaves out an id that is none: %j",
    async (id) => {
      await using asked = await asking(json({ result: true, decision_id: id }));
      expect(await call(asked)).toBe("OK OK");
      expect(await asked.secured.auditEntry(() => true)).not.toHaveProperty("decisionId");
    },
  );

  it("Z5 that is undefined denies, and the log says so once, though it is defined for others in between", async () => {
    await using asked = await asking(json({}));
    const said = (): number => asked.secured.lines.filter((line) => line["opa_path"] === "test/allow").length;
    for (let i = 0; i < 3; i += 1) expect(await call(asked)).toBe(denied);
    expect(said()).toBe(1);
    asked.opa.answer = result(true);
    await call(asked);
    asked.opa.answer = json({});
    await call(asked);
    expect(said()).toBe(1);
  });

  it("Z5 Z3 is at run time, says the access matrix, but for public methods", async () => {
    await using asked = await asking(result(false), { public: [paths.unary] });
    const { methods } = asked.secured.server.accessMatrix();
    const access = Object.fromEntries(methods.map(({ method, access: own }) => [method, own]));
    expect(access).toMatchObject({
      [paths.unary]: "public",
      [paths.client_stream]: "run-time",
      [paths.server_stream]: "run-time",
      [paths.bidi_stream]: "run-time",
    });
    const client = asked.secured.client();
    expect((await invoke(client, "unary")).name).toBe("OK");
    expect((await invoke(client, "bidi_stream")).details).toBe("missing credentials");
    expect(asked.opa.queries).toEqual([]);
    client.close();
  });
});

describe("with a cache", () => {
  const kept = { cache: { maxAgeMs: 60_000 } };

  it("Z5 a decision is asked for once for calls that are alike, and by no request id", async () => {
    await using asked = await asking(result(true, "first"), { ...kept, metadata: ["x-region"] });
    const authorized = await asked.secured.authorized();
    for (const id of ["r-1", "r-2"])
      expect(await call(asked, { metadata: { ...authorized, "x-request-id": id } })).toBe("OK OK");
    expect(asked.opa.queries).toHaveLength(1);
    expect(asked.opa.queries[0]?.input).not.toHaveProperty("requestId");
    await eventually(() => asked.secured.audit.length === 2, "both audit entries");
    expect(asked.secured.audit.map(({ decisionId }) => decisionId)).toEqual(["first", "first"]);
  });

  it.each<[string, Parameters<typeof call>[1]]>([
    ["another subject", { as: { sub: "eve" } }],
    ["another claim", { as: { level: 7 } }],
    ["another role", { as: { roles: ["other"] } }],
    ["another header that the policy sees", { metadata: { "x-region": "us" } }],
    ["another method", { kind: "bidi_stream" }],
  ])("Z5 %s is asked about by itself", async (_name, other) => {
    await using asked = await asking(result(true), { ...kept, metadata: ["x-region"] });
    // The token is the same: its times are claims.
    const authorized = await asked.secured.authorized();
    expect(await call(asked, { metadata: authorized })).toBe("OK OK");
    asked.opa.answer = result(false);
    expect(await call(asked, { metadata: authorized })).toBe("OK OK");
    const differs = other?.as === undefined ? { metadata: { ...authorized, ...other?.metadata } } : {};
    expect(await call(asked, { ...other, ...differs })).toBe(denied);
    expect(asked.opa.queries).toHaveLength(2);
  });

  it("Z5 calls that are alike share one request while it is under way, and its failure", async () => {
    const cache = new DecisionCache({ maxEntries: 10, maxAgeMs: 60_000 });
    const { promise, reject } = failing<Decision>();
    let asked = 0;
    const ask = (): Promise<Decision> => {
      asked += 1;
      return asked === 1 ? promise : Promise.resolve({ effect: "allow", rule: "second" });
    };
    const waiting = Array.from({ length: 1_000 }, () => Promise.resolve(cache.get("alike", ask)));
    expect(asked).toBe(1);
    expect(await cache.get("other", ask)).toMatchObject({ rule: "second" });
    reject(new Error("away"));
    const results = await Promise.allSettled(waiting);
    expect(new Set(results.map(({ status }) => status))).toEqual(new Set(["rejected"]));
    expect(await cache.get("alike", ask)).toMatchObject({ rule: "second" });
    expect(asked).toBe(3);
  });

  it("Z5 a failure is not kept", async () => {
    await using asked = await asking(json({}, 500), kept);
    const authorized = await asked.secured.authorized();
    expect(await call(asked, { metadata: authorized })).toBe(unavailable);
    asked.opa.answer = result(true);
    expect(await call(asked, { metadata: authorized })).toBe("OK OK");
  });

  it("Z5 no more decisions than maxEntries are kept, and the oldest leaves", async () => {
    await using asked = await asking(result(true), { cache: { maxAgeMs: 60_000, maxEntries: 2 } });
    const [a, b, c] = await Promise.all(["a", "b", "c"].map((sub) => asked.secured.authorized({ sub })));
    for (const metadata of [a, b, b, c, c, b, a].filter((one) => one !== undefined))
      expect(await call(asked, { metadata })).toBe("OK OK");
    const subjects = asked.opa.queries.map(
      ({ input }) => (input["principal"] as { subject: string }).subject,
    );
    expect(subjects).toEqual(["a", "b", "c", "a"]);
  });

  it("Z5 a decision ages, and is asked for again", async () => {
    await using asked = await asking(result(true), { cache: { maxAgeMs: 1 } });
    const authorized = await asked.secured.authorized();
    await expect
      .poll(async () => {
        await call(asked, { metadata: authorized });
        return asked.opa.queries.length;
      })
      .toBeGreaterThan(1);
  });
});

describe("with many calls at once", () => {
  it("Z5 no more than maxConcurrent requests are made, and the others wait", async () => {
    const waiting: (() => void)[] = [];
    let now = 0;
    let most = 0;
    await using asked = await asking(
      (response, query) => {
        now += 1;
        most = Math.max(most, now);
        waiting.push(() => {
          now -= 1;
          result(true)(response, query);
        });
      },
      { maxConcurrent: 2 },
    );
    const calls = Array.from({ length: 6 }, () => call(asked));
    for (let answered = 0; answered < 6; answered += 1) {
      const answer = await eventually(() => waiting.shift(), "a query");
      answer();
    }
    expect(await Promise.all(calls)).toEqual(Array(6).fill("OK OK"));
    expect(most).toBe(2);
  });

  it("Z5 a call that is cancelled gives its place to others", async () => {
    await using asked = await asking(
      (response, query) => {
        // The first is never answered.
        if (asked.opa.queries.length > 1) result(true)(response, query);
      },
      { maxConcurrent: 1, timeoutMs: 60_000 },
    );
    let cancel = (): void => {};
    const first = invoke(asked.secured.client(), "unary", {
      metadata: await asked.secured.authorized(),
      onCall: (made) => {
        cancel = () => made.cancel();
      },
    });
    await eventually(() => asked.opa.queries.length === 1, "a query");
    cancel();
    expect((await first).name).toBe("CANCELLED");
    expect(await call(asked)).toBe("OK OK");
  });

  it("Z5 those beyond maxQueued end UNAVAILABLE, and no handler runs for them", async () => {
    let release = (): void => {};
    await using asked = await asking(
      (response, query) => {
        release = () => result(true)(response, query);
      },
      { maxConcurrent: 1, maxQueued: 0 },
    );
    const first = call(asked);
    await eventually(() => asked.opa.queries.length === 1, "a query");
    expect(await call(asked)).toBe(unavailable);
    const line = await asked.secured.callLine(() => true);
    expect(JSON.stringify(line["err"])).toContain("too many decisions wait for OPA (maxQueued)");
    release();
    expect(await first).toBe("OK OK");
    expect(asked.secured.started).toHaveLength(1);
  });

  it("Z5 a caller with many decisions waits behind itself, and not others behind it", async () => {
    const waiting: { readonly subject: unknown; readonly release: () => void }[] = [];
    await using asked = await asking(
      (response, query) => {
        const { subject } = query.input["principal"] as { readonly subject: unknown };
        waiting.push({ subject, release: () => result(true)(response, query) });
      },
      { maxConcurrent: 1, maxQueued: 3 },
    );
    const asEve = (): Promise<string> => call(asked, { as: { sub: "eve" } });
    const first = asEve();
    await eventually(() => waiting.length === 1, "a query");
    // Three of them wait, the others are refused. Neither keeps another caller out.
    let refused = 0;
    for (let n = 0; n < 5; n += 1) asEve().then((answer) => (refused += answer === unavailable ? 1 : 0));
    await eventually(() => refused === 2, "refusals of those beyond maxQueued");
    const other = call(asked, { as: { sub: "ada" } });
    for (let turn = 0; turn < 4; turn += 1) {
      await eventually(() => waiting.length > turn, "the next query");
      if (turn === 0) await eventually(() => refused === 3, "a place to wait for ada");
      waiting[turn]?.release();
    }
    expect([await first, await other]).toEqual(["OK OK", "OK OK"]);
    expect(waiting.map(({ subject }) => subject)).toEqual(["eve", "eve", "ada", "eve"]);
  });

  it("Z5 those whose turn does not come in time end UNAVAILABLE", async () => {
    await using asked = await asking(() => {}, { maxConcurrent: 1, timeoutMs: 200 });
    expect(await Promise.all([call(asked), call(asked)])).toEqual([unavailable, unavailable]);
    expect(asked.secured.started).toEqual([]);
  });
});

describe("with messages", () => {
  const noSecrets: Answer = (response, query) => {
    const request = query.input["request"] as Note | undefined;
    result(request?.text !== "secret")(response, query);
  };

  it.each(kinds)("Z5 each message of a %s call is asked about after the call itself", async (kind) => {
    await using asked = await asking(noSecrets, { messages: true });
    expect(await call(asked, { kind, messages: [{ text: "one" }] })).toBe("OK OK");
    expect(asked.opa.queries.map(({ input }) => input["request"])).toEqual([undefined, { text: "one" }]);
    expect(await call(asked, { kind, messages: [{ text: "secret" }] })).toBe(denied);
    expect(asked.secured.started).toEqual([kind]);
  });

  it("Z5 a stream ends with the message that is denied", async () => {
    await using asked = await asking(noSecrets, { messages: true });
    const client = asked.secured.client();
    const { messages, details } = await invoke(client, "bidi_stream", {
      metadata: await asked.secured.authorized(),
      messages: [{ text: "one" }, { text: "two" }, { text: "secret" }, { text: "three" }],
    });
    expect(details).toBe("permission denied");
    expect(messages.map(({ text }) => text)).not.toContain("secret");
    expect(asked.opa.queries.map(({ input }) => input["request"])).toEqual([
      undefined,
      { text: "one" },
      { text: "two" },
      { text: "secret" },
    ]);
    client.close();
  });

  it("Z5 an OPA that is away for the message lets no handler run", async () => {
    for (const kind of kinds) {
      await using asked = await asking(
        (response, query) => ("request" in query.input ? response.destroy() : result(true)(response, query)),
        { messages: true },
      );
      expect(await call(asked, { kind })).toBe(unavailable);
      expect(asked.secured.started).toEqual([]);
    }
  });

  it("Z5 is not asked about them without the option", async () => {
    await using asked = await asking(noSecrets);
    expect(await call(asked, { messages: [{ text: "secret" }] })).toBe("OK OK");
  });
});

describe("an input that is too large", () => {
  const nested = (levels: number): Note =>
    (levels === 0 ? { text: "x" } : { text: "x", more: nested(levels - 1) }) as Note;

  it.each<[string, Note, RegExp]>([
    ["in bytes", { text: "é".repeat(600) }, /larger than maxInputBytes \(2048\)/],
    ["in depth", nested(40), /nested more than 32 levels deep/],
  ])("Z5 %s is denied, and OPA is not asked", async (_name, message, reason) => {
    await using asked = await asking(result(true), { messages: true, maxInputBytes: 2_048 });
    expect(await call(asked, { messages: [message] })).toBe(denied);
    expect(asked.opa.queries).toHaveLength(1);
    expect(asked.secured.started).toEqual([]);
    expect((await asked.secured.callLine(() => true))["reason"]).toMatch(reason);
  });
});

describe("options", () => {
  const good: OpaOptions = { url: "https://opa.example:8181", path: "orders/allow" };

  it.each<[string, Partial<Record<keyof OpaOptions, unknown>>, RegExp]>([
    [
      "http to another machine",
      { url: "http://opa.example:8181" },
      /expected https \(http only to a loopback/,
    ],
    [
      "http to a name that begins like this machine's",
      { url: "http://localhost.evil.example" },
      /expected https/,
    ],
    ["http to an address of this network", { url: "http://10.0.0.1:8181" }, /expected https/],
    ["another protocol", { url: "ftp://127.0.0.1" }, /opa\.url: expected/],
    ["no URL", { url: "opa.example:8181" }, /opa\.url: expected/],
    ["a socket without a path", { url: "unix:opa.sock" }, /opa\.url: expected/],
    ["a URL with credentials", { url: "https://a:b@opa.example" }, /without credentials/],
    ["a URL with a query", { url: "https://opa.example?pretty" }, /without query/],
    [
      "a token over plaintext",
      { url: "http://opa.example", plaintext: "mesh", token: "t" },
      /opa\.token: is sent over/,
    ],
    ["a token with a line break", { token: "t\n" }, /opa\.token: ends with a line break/],
    [
      "a path with dots",
      { path: "data.orders.allow" },
      /orders\/authz\/allow for data\.orders\.authz\.allow/,
    ],
    ["a path that leads elsewhere", { path: "orders/../system" }, /expected a path such as/],
    ["a path from the root", { path: "/orders/allow" }, /expected a path such as/],
    ["a path with a query", { path: "orders/allow?x" }, /expected a path such as/],
    ["the header of tokens", { metadata: ["authorization"] }, /opa\.metadata\.0: may carry a credential/],
    ["the header of API keys", { metadata: ["x-api-key"] }, /may carry a credential/],
    ["a header of sessions", { metadata: ["x-session-token"] }, /may carry a credential/],
    ["cookies", { metadata: ["cookie"] }, /may carry a credential/],
    ["a header in capitals", { metadata: ["X-Region"] }, /in lower case/],
    ["a cache for long", { cache: { maxAgeMs: 3_600_000 } }, /opa\.cache\.maxAgeMs/],
    ["an option that there is not", { timeout: 5 } as never, /opa\.timeout: unknown option/],
  ])("Z5 refuses %s", (_name, option, problem) => {
    const make = () => opa({ ...good, ...option } as OpaOptions);
    expect(make).toThrow(ConfigError);
    expect(make).toThrow(problem);
  });

  it.each<[string, Partial<OpaOptions>]>([
    ["https", {}],
    ["http to this machine", { url: "http://localhost:8181", token: "t" }],
    ["http to this machine by IPv6", { url: "http://[::1]:8181" }],
    ["a socket", { url: "unix:///run/opa.sock", token: "t" }],
    ["a mesh", { url: "http://opa.opa:8181", plaintext: "mesh" }],
  ])("Z5 takes %s", (_name, option) => {
    expect(opa({ ...good, ...option }).name).toBe("opa");
  });

  it("Z5 Z2 keeps the server from starting where public names what is no method", () => {
    const methods = [methodInfo("/a.v1.Orders/GetOrder", "unary", true)];
    const compile = () =>
      opa({ ...good, public: ["/a.v1.Orders/GetOrdre", "/a.v1.Orders/*", "nonsense"] }).compile(methods);
    expect(compile).toThrow(/3 problem/);
    expect(compile).toThrow(/did you mean "\/a\.v1\.Orders\/GetOrder"/);
    expect(compile).toThrow(/public names single methods/);
  });

  it("Z5 leaves methods undecided that are not registered", () => {
    const policy = opa(good).compile([methodInfo("/a.B/C", "unary", true)]);
    expect(policy.forMethod("/a.B/D")).toBeUndefined();
  });
});
