// Attacks on the throttle of failed logins (L8): how many guesses reach the store of keys, whatever an attacker does.
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { constants } from "node:http2";
import { Client, credentials } from "@grpc/grpc-js";
import { beforeAll, describe, expect, it, vi } from "vitest";
import type { CallContext } from "../../src/chain/context.ts";
import type { Identity } from "../../src/chain/principal.ts";
import { CredentialError } from "../../src/grpc/errors.ts";
import { allOf } from "../../src/middleware/authentication/all-of.ts";
import { anonymous } from "../../src/middleware/authentication/anonymous.ts";
import { anyOf } from "../../src/middleware/authentication/any-of.ts";
import { apiKey } from "../../src/middleware/authentication/api-key.ts";
import type { Authenticator } from "../../src/middleware/authentication/authenticator.ts";
import { jwt } from "../../src/middleware/authentication/jwt/jwt.ts";
import { issueApiKey, memoryApiKeyStore } from "../../src/middleware/authentication/memory-api-key-store.ts";
import { mtls } from "../../src/middleware/authentication/mtls.ts";
import { optional } from "../../src/middleware/authentication/optional.ts";
import { allowAuthenticated } from "../../src/middleware/authorization/allow-authenticated.ts";
import { rbac } from "../../src/middleware/authorization/rbac.ts";
import { invoke, paths } from "../harness/kinds.ts";
import { CountingStore } from "../harness/login-store.ts";
import { grpcFrame, type RawAnswer, type RawCallOptions, RawConnection } from "../harness/raw-http2.ts";
import { type Secured, type SecuredOptions, secured, theWorld, type World } from "../harness/secured.ts";

let world: World;
beforeAll(async () => {
  world = await theWorld();
});

/** Points of the default. */
const points = 20;

/** The first connection has all points; of each further one a single guess is tried, until on so many one failed. */
const whenReconnecting = points + points - 1;

const behindProxy = { trustedProxies: ["127.0.0.1"], addressFrom: "x-forwarded-for" } as const;

/** Callers without certificates, so that all are one address; nothing else limits them. */
async function wallOf(store: CountingStore, options: SecuredOptions = {}): Promise<Secured> {
  return await secured({
    tls: { cert: Buffer.from(world.server.cert), key: Buffer.from(world.server.key) },
    authentication: apiKey({ store }),
    rateLimit: { perPeer: false, perPrincipal: false, inFlightPerPrincipal: false },
    ...options,
  });
}

function withClientCertificates(): NonNullable<SecuredOptions["tls"]> {
  return {
    cert: Buffer.from(world.server.cert),
    key: Buffer.from(world.server.key),
    clientCa: Buffer.from(world.ca.caPem),
    clientAuth: "request",
  };
}

let guesses = 0;

function guess(headers: Readonly<Record<string, string>> = {}): RawCallOptions {
  guesses += 1;
  return { headers: { "x-api-key": `plsd_guess-${guesses}`, ...headers } };
}

function send(connection: RawConnection, options: RawCallOptions): Promise<RawAnswer> {
  return connection.call(paths.unary, options).answer;
}

async function told(connection: RawConnection, headers: Readonly<Record<string, string>>): Promise<string> {
  const { name, details } = await send(connection, { headers });
  return name === "OK" ? "OK" : `${name} ${details}`;
}

/** The server has seen everything that was sent before: a probe that was sent after it is answered. */
async function seen(connection: RawConnection): Promise<void> {
  await connection.call("/grpc.health.v1.Health/Check", { body: grpcFrame("") }).answer;
}

async function openMany(wall: Secured, count: number): Promise<readonly RawConnection[]> {
  const open: RawConnection[] = [];
  for (let n = 0; n < count; n += 1) open.push(await RawConnection.open(wall));
  return open;
}

async function closeAll(connections: readonly RawConnection[]): Promise<void> {
  for (const connection of connections) await connection[Symbol.asyncDispose]();
}

interface Attack {
  readonly name: string;
  /** Look-ups of guesses that reach the store, at most. */
  readonly bound: number;
  readonly options?: SecuredOptions;
  /** Answers for how long the store was held. */
  run(wall: Secured, store: CountingStore): Promise<unknown>;
}

/** An authenticator that takes longer is treated as stuck, and the places of what it verifies are free again. */
const stuckMs = 10_000;

const attacks: readonly Attack[] = [
  {
    name: "2,000 guesses pipelined on one connection",
    bound: points,
    options: { limits: { maxConcurrentStreams: 4000 } },
    async run(wall) {
      await using connection = await RawConnection.open(wall);
      await Promise.all(Array.from({ length: 2000 }, () => send(connection, guess())));
    },
  },
  {
    name: "200 connections with one guess each, all at once",
    bound: points,
    async run(wall) {
      const open = await openMany(wall, 200);
      await Promise.all(open.map((connection) => send(connection, guess())));
      await closeAll(open);
    },
  },
  {
    name: "200 connections with one guess each, one after another",
    bound: points,
    async run(wall) {
      for (let n = 0; n < 200; n += 1) {
        await using connection = await RawConnection.open(wall);
        await send(connection, guess());
      }
    },
  },
  {
    name: "300 guesses, each cancelled before the verdict",
    bound: points,
    async run(wall, store) {
      await using connection = await RawConnection.open(wall);
      store.hold();
      const since = performance.now();
      for (let n = 0; n < 300; n += 1) {
        const { stream, answer } = connection.call(paths.unary, guess());
        await seen(connection);
        stream.close(constants.NGHTTP2_CANCEL);
        await answer;
      }
      store.release();
      const heldMs = performance.now() - since;
      await seen(connection);
      for (let n = 0; n < 100; n += 1) await send(connection, guess());
      return heldMs;
    },
  },
  {
    name: "300 guesses, each cancelled before the verdict, on 30 connections that are then cut",
    bound: whenReconnecting,
    async run(wall, store) {
      store.hold();
      const since = performance.now();
      for (let n = 0; n < 30; n += 1) {
        const connection = await RawConnection.open(wall);
        for (let i = 0; i < 10; i += 1) connection.call(paths.unary, guess());
        await seen(connection);
        connection.cut();
        await once(connection.session, "close");
      }
      store.release();
      const heldMs = performance.now() - since;
      await using connection = await RawConnection.open(wall);
      await send(connection, guess());
      return heldMs;
    },
  },
  {
    name: "reconnecting while blocked",
    bound: whenReconnecting,
    async run(wall) {
      await using first = await RawConnection.open(wall);
      for (let n = 0; n < 30; n += 1) await send(first, guess());
      for (let n = 0; n < 100; n += 1) {
        await using next = await RawConnection.open(wall);
        await Promise.all([send(next, guess()), send(next, guess())]);
      }
    },
  },
  {
    name: "guesses that alternate with a good key on one connection",
    bound: points,
    async run(wall, store) {
      const key = store.issue("insider");
      await using connection = await RawConnection.open(wall);
      for (let n = 0; n < 100; n += 1) {
        expect(await told(connection, { "x-api-key": key })).toBe("OK");
        await send(connection, guess());
      }
    },
  },
  {
    name: "guesses beside good keys whose verification keeps the places",
    bound: points,
    async run(wall, store) {
      const good = Array.from({ length: points - 1 }, (_, n) => store.issue(`insider-${n}`));
      store.hold();
      await using connection = await RawConnection.open(wall);
      const calls = good.map((key) => send(connection, { headers: { "x-api-key": key } }));
      await seen(connection);
      const guessed = Array.from({ length: 80 }, () => send(connection, guess()));
      await seen(connection);
      expect(store.guesses).toBe(1);
      store.release();
      await Promise.all([...calls, ...guessed]);
    },
  },
  {
    name: "guesses from ten addresses behind a configured proxy, on one connection",
    bound: 10 * points,
    options: { peer: behindProxy },
    async run(wall) {
      await using proxy = await RawConnection.open(wall);
      const calls = Array.from({ length: 1000 }, (_, n) =>
        send(proxy, guess({ "x-forwarded-for": `192.0.2.${n % 10}` })),
      );
      await Promise.all(calls);
    },
  },
  {
    name: "guesses from one address behind a configured proxy, on 40 connections",
    bound: points,
    options: { peer: behindProxy },
    async run(wall) {
      const proxies = await openMany(wall, 40);
      const calls = proxies.flatMap((proxy) =>
        Array.from({ length: 10 }, () => send(proxy, guess({ "x-forwarded-for": "192.0.2.66" }))),
      );
      await Promise.all(calls);
      await closeAll(proxies);
    },
  },
  {
    name: "guesses of one client certificate, on 30 connections",
    bound: whenReconnecting,
    get options() {
      return { tls: withClientCertificates() };
    },
    async run(wall) {
      const open = await openMany(wall, 30);
      const calls = open.flatMap((connection) => Array.from({ length: 20 }, () => send(connection, guess())));
      await Promise.all(calls);
      await closeAll(open);
    },
  },
  {
    name: "guesses while the wall clock jumps by days",
    bound: points,
    async run(wall) {
      await using connection = await RawConnection.open(wall);
      const jump = vi.spyOn(Date, "now");
      try {
        for (let n = 0; n < 100; n += 1) {
          jump.mockReturnValue(Date.UTC(2026, 0, n % 2 === 0 ? 1 : 28));
          await send(connection, guess());
        }
      } finally {
        jump.mockRestore();
      }
    },
  },
  {
    name: "guesses with the same bad key in all of 60 pipelined calls, again and again",
    // All that come before a verdict are one guess, and each is looked up.
    bound: 60 * points,
    async run(wall) {
      await using connection = await RawConnection.open(wall);
      const same = guess();
      for (let n = 0; n < 30; n += 1)
        await Promise.all(Array.from({ length: 60 }, () => send(connection, same)));
    },
  },
];

describe("L8 how many guesses reach the store", () => {
  it.each(attacks)("L8 $name: at most $bound look-ups", async ({ bound, options, run }) => {
    const store = new CountingStore();
    await using wall = await wallOf(store, options);
    const heldMs = Number((await run(wall, store)) ?? 0);
    // On a machine that is busy, guesses that wait for a held store take longer than it may hang.
    expect(store.guesses).toBeLessThanOrEqual(bound * (1 + Math.floor(heldMs / stuckMs)));
    expect(store.guesses).toBeGreaterThanOrEqual(Math.min(bound, points));
  });
});

/** Refuses every token that is not `good`, after asking somebody. */
function custom(answers: { asked: number }, headers?: readonly string[]): Authenticator {
  return {
    name: "custom",
    source: "metadata",
    ...(headers === undefined ? {} : { headers }),
    presents: (call: CallContext) => call.metadata.get("x-ticket").length > 0,
    async authenticate(call: CallContext): Promise<Identity> {
      answers.asked += 1;
      await new Promise<void>((resolve) => setTimeout(resolve, 2));
      if (call.metadata.get("x-ticket")[0] !== "good") throw new CredentialError("invalid", "not a ticket");
      return {
        principal: {
          subject: "ticket-holder",
          kind: "user",
          scheme: "ticket",
          roles: new Set(["caller"]),
          permissions: new Set(),
          claims: {},
        },
      };
    },
  };
}

interface Scheme {
  readonly name: string;
  authenticator(store: CountingStore, answers: { asked: number }): Authenticator;
  headers(n: number): Promise<Record<string, string>>;
}

const schemes: readonly Scheme[] = [
  {
    name: "apiKey over a store that answers at once",
    authenticator: () => apiKey({ store: memoryApiKeyStore([]) }),
    headers: async (n) => ({ "x-api-key": `guess-${n}` }),
  },
  {
    name: "jwt",
    authenticator: () =>
      jwt({ issuer: world.issuer.issuer, audience: "kinds", jwksUri: world.issuer.jwksUri }),
    headers: async (n) => {
      const token = await world.token({ sub: `guess-${n}` });
      return { authorization: `Bearer ${token.slice(0, token.lastIndexOf("."))}.${"A".repeat(86)}` };
    },
  },
  {
    name: "anyOf",
    authenticator: (store) =>
      anyOf(
        apiKey({ store }),
        jwt({ issuer: world.issuer.issuer, audience: "kinds", jwksUri: world.issuer.jwksUri }),
      ),
    headers: async (n) => ({
      "x-api-key": `guess-${n}`,
      authorization: `Bearer ${await world.token({ sub: `user-${n}` })}`,
    }),
  },
  {
    name: "allOf",
    authenticator: (store) =>
      allOf({
        principal: jwt({ issuer: world.issuer.issuer, audience: "kinds", jwksUri: world.issuer.jwksUri }),
        actor: apiKey({ store }),
      }),
    headers: async (n) => ({
      "x-api-key": `guess-${n}`,
      authorization: `Bearer ${await world.token({ sub: `user-${n}` })}`,
    }),
  },
  {
    name: "optional",
    authenticator: (store) => optional(apiKey({ store })),
    headers: async (n) => ({ "x-api-key": `guess-${n}` }),
  },
  {
    name: "an own authenticator that declares its header",
    authenticator: (_store, answers) => custom(answers, ["x-ticket"]),
    headers: async (n) => ({ "x-ticket": `guess-${n}` }),
  },
  {
    name: "an own authenticator that does not declare its header",
    authenticator: (_store, answers) => custom(answers),
    // A constant credential beside the guess does not make all guesses one.
    headers: async (n) => ({ "x-ticket": `guess-${n}`, "x-api-key": "always-the-same" }),
  },
];

describe("L8 every authenticator's failures count alike", () => {
  it.each(schemes)(
    "L8 of 60 guesses at once by $name, 20 are judged and the others are refused",
    async ({ authenticator, headers }) => {
      const answers = { asked: 0 };
      const store = new CountingStore();
      await using wall = await wallOf(store, { authentication: authenticator(store, answers) });
      const sent = await Promise.all(Array.from({ length: 60 }, (_, n) => headers(n)));
      await using connection = await RawConnection.open(wall);
      const ends = await Promise.all(sent.map((each) => told(connection, each)));
      expect(ends.filter((end) => end === "UNAUTHENTICATED invalid credentials")).toHaveLength(points);
      expect(ends.filter((end) => end === "RESOURCE_EXHAUSTED rate limit exceeded")).toHaveLength(40);
      expect(store.guesses).toBeLessThanOrEqual(points);
      expect(answers.asked).toBeLessThanOrEqual(points);
    },
  );

  it("L8 a store that is away counts nothing, and nobody is refused for it", async () => {
    const store = new CountingStore();
    await using wall = await wallOf(store);
    const key = store.issue("shop");
    store.fail();
    await using connection = await RawConnection.open(wall);
    const ends = await Promise.all(
      Array.from({ length: 100 }, async () => (await send(connection, guess())).details),
    );
    expect(new Set(ends)).toEqual(new Set(["temporarily unavailable"]));
    store.recover();
    expect(await told(connection, { "x-api-key": key })).toBe("OK");
  });
});

describe("L8 nobody innocent is locked out", () => {
  it("L8 a hundred users behind one address who start at once are all let in, however slow the store", async () => {
    const store = new CountingStore();
    await using wall = await wallOf(store);
    const keys = Array.from({ length: 100 }, (_, n) => store.issue(`user-${n}`));
    store.hold();
    const connections = await openMany(wall, 10);
    const calls = keys.map((key, n) => told(connections[n % 10] as RawConnection, { "x-api-key": key }));
    for (const connection of connections) await seen(connection);
    // No more at once than could all be bad.
    expect(store.hits).toBe(points);
    store.release();
    expect(new Set(await Promise.all(calls))).toEqual(new Set(["OK"]));
    // Proven, they need no place any more.
    store.hold();
    const before = store.hits;
    const again = keys.map((key, n) => told(connections[n % 10] as RawConnection, { "x-api-key": key }));
    for (const connection of connections) await seen(connection);
    expect(store.hits - before).toBe(100);
    store.release();
    expect(new Set(await Promise.all(again))).toEqual(new Set(["OK"]));
    await closeAll(connections);
  });

  it("L8 those who wait are let in where an authenticator reads a field that handlers do not see", async () => {
    const own: Authenticator = {
      name: "own",
      source: "metadata",
      headers: ["x-user-id"],
      presents: (call) => call.metadata.get("x-user-id").length > 0,
      async authenticate(call) {
        await new Promise((resolve) => setImmediate(resolve));
        const subject = String(call.metadata.get("x-user-id")[0]);
        const names: ReadonlySet<string> = new Set(["caller"]);
        return {
          principal: {
            subject,
            kind: "user",
            scheme: "own",
            roles: names,
            permissions: new Set(),
            claims: {},
          },
        };
      },
    };
    const failedAuthentication = { points: 2, durationSec: 60 };
    await using wall = await wallOf(new CountingStore(), {
      authentication: own,
      rateLimit: { perPeer: false, perPrincipal: false, failedAuthentication },
    });
    await using connection = await RawConnection.open(wall);
    const users = Array.from({ length: 10 }, (_, n) => told(connection, { "x-user-id": `user-${n}` }));
    expect(new Set(await Promise.all(users))).toEqual(new Set(["OK"]));
  });

  it("L8 a credential that is brought by many calls at once is one guess", async () => {
    const store = new CountingStore();
    await using wall = await wallOf(store);
    const key = store.issue("busy");
    store.hold();
    await using connection = await RawConnection.open(wall);
    const calls = Array.from({ length: 90 }, () => told(connection, { "x-api-key": key }));
    await seen(connection);
    expect(store.hits).toBe(90);
    store.release();
    expect(new Set(await Promise.all(calls))).toEqual(new Set(["OK"]));
    const bad = guess();
    const ends = await Promise.all(
      Array.from({ length: 60 }, async () => (await send(connection, bad)).details),
    );
    expect(new Set(ends)).toEqual(new Set(["invalid credentials"]));
    expect(await told(connection, { "x-api-key": store.issue("new") })).toBe("OK");
  });

  it("L8 while a peer is blocked, proven credentials pass, and unproven ones on clean connections one at a time", async () => {
    const store = new CountingStore();
    await using wall = await wallOf(store);
    const proven = store.issue("proven");
    const steady = store.issue("steady");
    const fresh = Array.from({ length: 5 }, (_, n) => store.issue(`fresh-${n}`));
    await using neighbour = await RawConnection.open(wall);
    expect(await told(neighbour, { "x-api-key": steady })).toBe("OK");
    await using attacker = await RawConnection.open(wall);
    await send(attacker, guess());
    expect(await told(attacker, { "x-api-key": proven })).toBe("OK");
    for (let n = 0; n < 30; n += 1) await send(attacker, guess());
    expect(await told(attacker, { "x-api-key": proven })).toBe("OK");
    expect(await told(attacker, { "x-api-key": fresh[0] ?? "" })).toBe(
      "RESOURCE_EXHAUSTED rate limit exceeded",
    );
    store.hold();
    const before = store.hits;
    const clean = await openMany(wall, 5);
    const calls = clean.map((connection, n) => told(connection, { "x-api-key": fresh[n] ?? "" }));
    for (const connection of clean) await seen(connection);
    expect(store.hits - before).toBe(1);
    store.release();
    expect(new Set(await Promise.all(calls))).toEqual(new Set(["OK"]));
    await closeAll(clean);
  });

  it("L8 who was let in on a connection before the attack goes on there, however many connections the attacker taints", async () => {
    const { key, record } = issued("steady");
    const { key: other, record: otherRecord } = issued("fresh");
    await using wall = await wallOf(new CountingStore(), {
      authentication: apiKey({ store: memoryApiKeyStore([record, otherRecord]) }),
    });
    await using neighbour = await RawConnection.open(wall);
    expect(await told(neighbour, { "x-api-key": key })).toBe("OK");
    for (let n = 0; n < points; n += 1) {
      await using attacker = await RawConnection.open(wall);
      await send(attacker, guess());
    }
    expect(await told(neighbour, { "x-api-key": other })).toBe("RESOURCE_EXHAUSTED rate limit exceeded");
    expect(await told(neighbour, { "x-api-key": key })).toBe("OK");
  });

  it("L8 another certificate is not held to account for the guesses of one", async () => {
    const store = new CountingStore();
    await using wall = await wallOf(store, { tls: withClientCertificates() });
    await using attacker = await RawConnection.open(wall);
    for (let n = 0; n < 30; n += 1) await send(attacker, guess());
    const own = await world.ca.issue({ commonName: "other", usage: "client" });
    const client = new Client(
      wall.address,
      credentials.createSsl(Buffer.from(world.ca.caPem), Buffer.from(own.key), Buffer.from(own.cert)),
      { "grpc.use_local_subchannel_pool": 1 },
    );
    for (let n = 0; n < 2; n += 1)
      expect((await invoke(client, "unary", { metadata: { "x-api-key": `guess-${n}` } })).details).toBe(
        "invalid credentials",
      );
    expect((await invoke(client, "unary", { metadata: { "x-api-key": store.issue("other") } })).name).toBe(
      "OK",
    );
    client.close();
  });

  it("L8 waiting calls that are cancelled leave the queue, and keep nobody out", async () => {
    const store = new CountingStore();
    await using wall = await wallOf(store);
    store.hold();
    await using attacker = await RawConnection.open(wall);
    const calls = Array.from({ length: 90 }, () => attacker.call(paths.unary, guess()));
    await seen(attacker);
    expect(store.guesses).toBe(points);
    await using neighbour = await RawConnection.open(wall);
    const waiting = told(neighbour, { "x-api-key": store.issue("patient") });
    await seen(neighbour);
    for (const { stream } of calls) stream.close(constants.NGHTTP2_CANCEL);
    await Promise.all(calls.map(({ answer }) => answer));
    store.release();
    // The peer is blocked by now; his credential is unproven, and his connection clean.
    expect(await waiting).toBe("OK");
    expect(store.guesses).toBe(points);
  });

  it("L8 with enforce.rateLimit false nobody is refused and nobody waits, and the log says who would have been", async () => {
    const store = new CountingStore();
    await using wall = await wallOf(store, { enforce: { rateLimit: false } });
    store.hold();
    await using connection = await RawConnection.open(wall);
    const calls = Array.from({ length: 90 }, async () => (await send(connection, guess())).details);
    await seen(connection);
    expect(store.guesses).toBe(90);
    store.release();
    expect(new Set(await Promise.all(calls))).toEqual(new Set(["invalid credentials"]));
    expect(await told(connection, { "x-api-key": store.issue("insider") })).toBe("OK");
    const line = await wall.callLine((each) => each["dry_run_refusal"] !== undefined);
    expect(line["dry_run_refusal"]).toBe("failed-authentication: rate limit exceeded");
  });
});

function issued(owner: string) {
  return issueApiKey({ owner, roles: ["caller"] });
}

interface Welcoming {
  readonly name: string;
  readonly options: (store: CountingStore) => SecuredOptions;
  /** What a call without a credential is told while its peer is blocked. */
  readonly told: string;
}

const publicPolicy = rbac({
  roles: { caller: {} },
  rules: { "/test.v1.Kinds/*": { roles: ["caller"] }, "/test.v1.Kinds/Unary": "public" },
});

const welcoming: readonly Welcoming[] = [
  {
    name: "on a public method",
    options: () => ({ authorization: publicPolicy }),
    told: "OK",
  },
  {
    name: "on a method that is not public",
    options: () => ({}),
    told: "UNAUTHENTICATED missing credentials",
  },
  {
    name: "with optional",
    options: (store) => ({ authentication: optional(apiKey({ store })), authorization: publicPolicy }),
    told: "OK",
  },
  {
    name: "with anonymous",
    options: () => ({ authentication: anonymous(), authorization: publicPolicy }),
    told: "OK",
  },
  {
    name: "with allOf, on a public method",
    options: (store) => ({
      authentication: allOf({
        principal: apiKey({ store }),
        actor: jwt({ issuer: world.issuer.issuer, audience: "kinds", jwksUri: world.issuer.jwksUri }),
      }),
      authorization: publicPolicy,
    }),
    told: "OK",
  },
  {
    name: "with a certificate",
    options: (store) => ({
      tls: withClientCertificates(),
      authentication: anyOf(mtls(), apiKey({ store })),
      authorization: allowAuthenticated(),
    }),
    told: "OK",
  },
];

describe("L8 a call that presents nothing guesses nothing", () => {
  it.each(welcoming)(
    "L8 $name it is not refused from a peer that is blocked, on the same connection either",
    async ({ options, told: expected }) => {
      const store = new CountingStore();
      await using wall = await wallOf(store, options(store));
      const attackers = await openMany(wall, points + 1);
      for (const attacker of attackers) for (let n = 0; n < 2; n += 1) await send(attacker, guess());
      const [attacker] = attackers;
      if (attacker === undefined) throw new Error("nobody attacked");
      expect((await send(attacker, guess())).details).toBe("rate limit exceeded");
      expect(await told(attacker, {})).toBe(expected);
      await using neighbour = await RawConnection.open(wall);
      expect(await told(neighbour, {})).toBe(expected);
      await closeAll(attackers);
    },
  );

  it("L8 certificates that nobody knows are not counted: nothing was guessed", async () => {
    const store = new CountingStore();
    await using wall = await wallOf(store, {
      tls: withClientCertificates(),
      authentication: anyOf(mtls({ roles: { "CN=x": [] }, unmatched: "refuse" }), apiKey({ store })),
    });
    await using connection = await RawConnection.open(wall);
    for (let n = 0; n < 2 * points; n += 1)
      expect(await told(connection, {})).toBe("UNAUTHENTICATED invalid credentials");
  });
});
