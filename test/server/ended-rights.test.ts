// Calls that are open when their credential is revoked: they end, all others go on.
import { Buffer } from "node:buffer";
import { X509Certificate } from "node:crypto";
import { EventEmitter, once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Client } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import type { CallContext } from "../../src/chain/context.ts";
import type { Identity } from "../../src/chain/principal.ts";
import { CredentialError } from "../../src/grpc/errors.ts";
import type { MethodKind } from "../../src/grpc/method.ts";
import { allOf } from "../../src/middleware/authentication/all-of.ts";
import { anyOf } from "../../src/middleware/authentication/any-of.ts";
import { type ApiKeyRecord, type ApiKeyStore, apiKey } from "../../src/middleware/authentication/api-key.ts";
import type { Authenticator } from "../../src/middleware/authentication/authenticator.ts";
import { fileApiKeyStore } from "../../src/middleware/authentication/file-api-key-store.ts";
import { type JwtOptions, jwt } from "../../src/middleware/authentication/jwt/jwt.ts";
import { issueApiKey } from "../../src/middleware/authentication/memory-api-key-store.ts";
import { mtls } from "../../src/middleware/authentication/mtls.ts";
import { optional } from "../../src/middleware/authentication/optional.ts";
import { revocationList } from "../../src/middleware/authentication/revocation/memory-revocation-list.ts";
import type { RevocationList } from "../../src/middleware/authentication/revocation/revocation-list.ts";
import { allowAuthenticated } from "../../src/middleware/authorization/allow-authenticated.ts";
import { rbac } from "../../src/middleware/authorization/rbac.ts";
import { type AnyClientCall, invoke, kinds, paths } from "../harness/kinds.ts";
import { eventually, type Secured, type SecuredOptions, secured, theWorld } from "../harness/secured.ts";
import { waitMs } from "../harness/time.ts";
import { type OpenCall, openCall, told, waitingHandlers } from "../harness/waiting.ts";

const world = await theWorld();
const revoked = "UNAUTHENTICATED invalid credentials";

function tokens(options: Partial<JwtOptions> = {}): Authenticator {
  const { issuer, jwksUri } = world.issuer;
  return jwt({ issuer, audience: "kinds", jwksUri, ...options });
}

async function bearer(claims?: Readonly<Record<string, unknown>>): Promise<{ authorization: string }> {
  return { authorization: `Bearer ${await world.token(claims)}` };
}

interface Waiting extends Secured {
  readonly events: EventEmitter;
  /** A call whose handler has started. */
  open(client: Client, kind: MethodKind, metadata: Readonly<Record<string, string>>): Promise<OpenCall>;
}

async function waitingServer(authentication: Authenticator, options: SecuredOptions = {}): Promise<Waiting> {
  const events = new EventEmitter();
  const server = await secured({
    authentication,
    authorization: allowAuthenticated(),
    handlers: waitingHandlers(events),
    ...options,
  });
  return Object.assign(server, {
    events,
    open: (client: Client, kind: MethodKind, metadata: Readonly<Record<string, string>>) =>
      openCall(events, client, kind, metadata),
  });
}

/** An API key store that can change. */
function changingStore(...records: readonly ApiKeyRecord[]): ApiKeyStore & {
  readonly records: Map<string, ApiKeyRecord>;
  readonly listeners: Set<() => void>;
  changed(): void;
} {
  const known = new Map(records.map((record) => [record.digest, record]));
  const listeners = new Set<() => void>();
  return {
    records: known,
    listeners,
    find: (digest) => known.get(digest),
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    changed: () => {
      for (const listener of [...listeners]) listener();
    },
  };
}

describe("A12 a call does not outlive rights that are revoked", () => {
  it.each(kinds)("A12 A8 a %s call ends when its token is revoked, another's goes on", async (kind) => {
    const revocations = revocationList();
    await using server = await waitingServer(tokens({ revocations }));
    const client = server.client();
    const aborted = once(server.events, `aborted ${kind}`);
    const mine = await server.open(client, kind, await bearer({ jti: "one" }));
    const others = await server.open(client, kind, await bearer({ jti: "two" }));
    revocations.revokeToken("one", Date.now() + 86_400_000);
    expect(told(await mine.ended)).toBe(revoked);
    await aborted;
    const line = await server.callLine((each) => each["method"] === paths[kind]);
    expect(line).toMatchObject({ grpc_code: "UNAUTHENTICATED", ended_by: "layer", layer: "authentication" });
    const entry = await server.auditEntry((each) => each.method === paths[kind]);
    expect(entry).toMatchObject({ status: "UNAUTHENTICATED", reason: "invalid credentials" });
    expect(entry.caller).not.toBeNull();
    // It was looked at in the same turn, or before.
    expect(others.hasEnded()).toBe(false);
    others.client.cancel();
    expect((await others.ended).name).toBe("CANCELLED");
  });

  it.each(kinds)("A12 A8 a %s call ends when its subject signs out everywhere", async (kind) => {
    const revocations = revocationList();
    await using server = await waitingServer(tokens({ revocations }));
    const client = server.client();
    const mine = await server.open(client, kind, await bearer({ sub: "ada" }));
    const others = await server.open(client, kind, await bearer({ sub: "grace" }));
    // Issued before: one of a later second is good.
    const metadata = await bearer({ sub: "ada" });
    revocations.revokeSubject("ada");
    expect(told(await mine.ended)).toBe(revoked);
    expect(told(await invoke(client, kind, { metadata }))).toBe(revoked);
    expect(others.hasEnded()).toBe(false);
  });

  it.each(kinds)("A12 A3 a %s call ends when its API key is revoked", async (kind) => {
    const { key, record } = issueApiKey({ owner: "shop" });
    const other = issueApiKey({ owner: "bank" });
    const store = changingStore(record, other.record);
    await using server = await waitingServer(apiKey({ store }));
    const client = server.client();
    const mine = await server.open(client, kind, { "x-api-key": key });
    const others = await server.open(client, kind, { "x-api-key": other.key });
    store.records.set(record.digest, { ...record, revoked: true });
    store.changed();
    expect(told(await mine.ended)).toBe(revoked);
    expect(others.hasEnded()).toBe(false);
  });

  const shop = issueApiKey({ owner: "shop", tenant: "acme" });
  it.each<[string, (record: ApiKeyRecord) => ApiKeyRecord | undefined, string]>([
    ["is taken out", () => undefined, revoked],
    ["is another owner's", (record) => ({ ...record, owner: "thief" }), revoked],
    ["is another tenant's", (record) => ({ ...record, tenant: "other" }), revoked],
    [
      "has expired",
      (record) => ({ ...record, expiresAt: Date.now() - 1 }),
      "UNAUTHENTICATED expired credentials",
    ],
    [
      "expires sooner than it did",
      (record) => ({ ...record, expiresAt: Date.now() + 300 }),
      "UNAUTHENTICATED expired credentials",
    ],
    ["is not valid yet", (record) => ({ ...record, notBefore: Date.now() + 1e9 }), revoked],
  ])("A12 A3 a call ends when its key's record %s", async (_what, change, expected) => {
    const store = changingStore(shop.record);
    await using server = await waitingServer(apiKey({ store }));
    const mine = await server.open(server.client(), "bidi_stream", { "x-api-key": shop.key });
    const changed = change(shop.record);
    store.records.clear();
    if (changed !== undefined) store.records.set(changed.digest, changed);
    store.changed();
    expect(told(await mine.ended)).toBe(expected);
  });

  it("A12 goes on where a change took nothing away, however often", async () => {
    const store = changingStore(shop.record);
    await using server = await waitingServer(apiKey({ store }));
    const mine = await server.open(server.client(), "bidi_stream", { "x-api-key": shop.key });
    for (let round = 0; round < 50; round++) {
      store.records.set(shop.record.digest, { ...shop.record, roles: [`role-${round}`] });
      store.changed();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect(mine.hasEnded()).toBe(false);
    store.records.clear();
    store.changed();
    expect(told(await mine.ended)).toBe(revoked);
  });

  it("A12 changes that never stop do not put the look at open calls off", async () => {
    const store = changingStore(shop.record);
    await using server = await waitingServer(apiKey({ store }));
    const mine = await server.open(server.client(), "bidi_stream", { "x-api-key": shop.key });
    store.records.clear();
    const timer = setInterval(() => store.changed(), 1);
    try {
      expect(told(await mine.ended)).toBe(revoked);
    } finally {
      clearInterval(timer);
    }
  });

  it("A12 a handler that takes the credential out of the metadata keeps nothing open, and loses nothing", async () => {
    const store = changingStore(shop.record);
    const revocations = revocationList();
    await using server = await waitingServer(anyOf(tokens({ revocations }), apiKey({ store })));
    const client = server.client();
    const byKey = await server.open(client, "bidi_stream", { "x-api-key": shop.key });
    const byToken = await server.open(client, "bidi_stream", await bearer({ jti: "one" }));
    for (const { handled } of [byKey, byToken]) {
      handled.metadata.remove("authorization");
      handled.metadata.remove("x-api-key");
    }
    revocations.revokeToken("another", Date.now() + 86_400_000);
    store.changed();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect([byKey.hasEnded(), byToken.hasEnded()]).toEqual([false, false]);
    store.records.clear();
    store.changed();
    expect(told(await byKey.ended)).toBe(revoked);
    revocations.revokeToken("one", Date.now() + 86_400_000);
    expect(told(await byToken.ended)).toBe(revoked);
  });

  it("A12 of two credentials either ends the call", async () => {
    const revocations = revocationList();
    const store = changingStore(shop.record);
    const both = allOf({ principal: tokens({ revocations }), actor: apiKey({ store }) });
    await using server = await waitingServer(both);
    const client = server.client();
    const metadata = { ...(await bearer({ jti: "one" })), "x-api-key": shop.key };
    const first = await server.open(client, "bidi_stream", metadata);
    revocations.revokeToken("one", Date.now() + 86_400_000);
    expect(told(await first.ended)).toBe(revoked);
    const second = await server.open(client, "bidi_stream", {
      ...(await bearer({ jti: "two" })),
      "x-api-key": shop.key,
    });
    store.records.clear();
    store.changed();
    expect(told(await second.ended)).toBe(revoked);
  });

  it("A12 on a public method too, and never a caller who presented nothing", async () => {
    const store = changingStore(shop.record);
    await using server = await waitingServer(optional(apiKey({ store })), {
      authorization: rbac({ rules: Object.fromEntries(kinds.map((kind) => [paths[kind], "public"])) }),
    });
    const client = server.client();
    const mine = await server.open(client, "bidi_stream", { "x-api-key": shop.key });
    const nobodys = await server.open(client, "bidi_stream", {});
    store.records.clear();
    store.changed();
    expect(told(await mine.ended)).toBe(revoked);
    expect(nobodys.hasEnded()).toBe(false);
  });

  it("A12 callsOutliveCredentials lets open calls go on, and refuses new ones", async () => {
    const revocations = revocationList();
    await using server = await waitingServer(tokens({ revocations }), { callsOutliveCredentials: true });
    const client = server.client();
    const mine = await server.open(client, "bidi_stream", await bearer({ jti: "one" }));
    revocations.revokeToken("one", Date.now() + 86_400_000);
    expect(told(await invoke(client, "unary", { metadata: await bearer({ jti: "one" }) }))).toBe(revoked);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(mine.hasEnded()).toBe(false);
  });
});

describe("A12 races", () => {
  /** Accepts any key. Answers when told to; what it answers was decided when it was asked. */
  function slowAuthenticator(): {
    readonly authenticator: Authenticator;
    readonly asked: EventEmitter;
    good: boolean;
    answer: () => void;
    changed: () => void;
  } {
    const asked = new EventEmitter();
    const listeners = new Set<() => void>();
    const slow = {
      asked,
      good: true,
      answer: (): void => {},
      changed: (): void => {
        for (const listener of [...listeners]) listener();
      },
      authenticator: {
        name: "slow",
        source: "metadata",
        headers: ["x-api-key"],
        presents: () => true,
        authenticate: (_call: CallContext) => {
          const { good } = slow;
          const promise = new Promise<void>((resolve) => {
            slow.answer = resolve;
          });
          queueMicrotask(() => asked.emit("asked"));
          return promise.then((): Identity => {
            if (!good) throw new CredentialError("invalid", "revoked");
            return { principal };
          });
        },
        onChange(listener: () => void) {
          listeners.add(listener);
          return () => listeners.delete(listener);
        },
      } satisfies Authenticator,
    };
    return slow;
  }
  const principal = {
    subject: "slow",
    kind: "user",
    scheme: "slow",
    roles: new Set<string>(),
    permissions: new Set<string>(),
    claims: {},
  } as const;

  it("A12 what is revoked while the check is pending ends the call that the old answer lets in", async () => {
    const slow = slowAuthenticator();
    await using server = await waitingServer(slow.authenticator);
    const asked = once(slow.asked, "asked");
    const started = once(server.events, "started");
    const call = invoke(server.client(), "bidi_stream", { metadata: { "x-api-key": "any" }, keepOpen: true });
    await asked;
    const again = once(slow.asked, "asked");
    slow.good = false;
    slow.changed();
    slow.answer();
    await started;
    await again;
    slow.answer();
    expect(told(await call)).toBe(revoked);
  });

  it("C11 A12 a call that ended while its check was pending is not kept", async () => {
    const slow = slowAuthenticator();
    await using server = await waitingServer(slow.authenticator);
    const asked = once(slow.asked, "asked");
    let own: AnyClientCall | undefined;
    const call = invoke(server.client(), "unary", {
      metadata: { "x-api-key": "any" },
      onCall: (started) => {
        own = started;
      },
    });
    await asked;
    own?.cancel();
    await call;
    await server.callLine((line) => line["grpc_code"] === "CANCELLED");
    slow.answer();
    let askedAgain = false;
    slow.asked.once("asked", () => {
      askedAgain = true;
    });
    slow.changed();
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(askedAgain).toBe(false);
  });

  it("A12 a store that is away ends nothing, is asked again, and is told in the log once", async () => {
    const { key, record } = issueApiKey({ owner: "shop" });
    const records = changingStore(record);
    let away = false;
    const store: ApiKeyStore = {
      ...records,
      find(digest) {
        if (away) throw new Error("ECONNREFUSED");
        return records.find(digest);
      },
    };
    await using server = await waitingServer(apiKey({ store }));
    const mine = await server.open(server.client(), "bidi_stream", { "x-api-key": key });
    away = true;
    records.changed();
    const line = await eventually(
      () => server.lines.find(({ msg }) => msg?.includes("cannot be told now") === true),
      "the line",
    );
    expect(line).toMatchObject({ err: { message: "ECONNREFUSED" } });
    expect(mine.hasEnded()).toBe(false);
    records.records.clear();
    away = false;
    // Without another change.
    expect(told(await mine.ended)).toBe(revoked);
    expect(server.lines.filter(({ msg }) => msg?.includes("cannot be told now") === true)).toHaveLength(1);
  });

  it("A12 a store that is away keeps no call of another scheme open", async () => {
    const { key, record } = issueApiKey({ owner: "shop" });
    const records = changingStore(record);
    let away = false;
    const hanging = new Promise<never>(() => {});
    const store: ApiKeyStore = { ...records, find: (digest) => (away ? hanging : records.find(digest)) };
    const revocations = revocationList();
    await using server = await waitingServer(anyOf(tokens({ revocations }), apiKey({ store })));
    const client = server.client();
    for (let n = 0; n < 40; n++) await server.open(client, "bidi_stream", { "x-api-key": key });
    const mine = await server.open(client, "bidi_stream", await bearer({ jti: "one" }));
    away = true;
    const start = performance.now();
    revocations.revokeToken("one", Date.now() + 86_400_000);
    expect(told(await mine.ended)).toBe(revoked);
    // The others' answers are waited for up to five seconds.
    expect(performance.now() - start).toBeLessThan(waitMs);
  });

  it("A12 of one scheme, the calls whose answers do not come are asked for last", async () => {
    const [hung, own] = [issueApiKey({ owner: "hung" }), issueApiKey({ owner: "own" })];
    const records = changingStore(hung.record, own.record);
    let away = false;
    const store: ApiKeyStore = {
      ...records,
      find: (digest) =>
        away && digest === hung.record.digest ? new Promise<never>(() => {}) : records.find(digest),
    };
    await using server = await waitingServer(apiKey({ store }));
    const client = server.client();
    for (let n = 0; n < 40; n++) await server.open(client, "bidi_stream", { "x-api-key": hung.key });
    const mine = await server.open(client, "bidi_stream", { "x-api-key": own.key });
    away = true;
    records.records.delete(own.record.digest);
    records.changed();
    expect(told(await mine.ended)).toBe(revoked);
  });

  it("A12 a handler that gives its call another credential for the next service loses nothing", async () => {
    const store = changingStore(shop.record);
    const revocations = revocationList();
    await using server = await waitingServer(anyOf(tokens({ revocations }), apiKey({ store })));
    const mine = await server.open(server.client(), "bidi_stream", await bearer({ jti: "one" }));
    mine.handled.metadata.set("x-api-key", "of another service");
    revocations.revokeToken("another", Date.now() + 86_400_000);
    store.changed();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(mine.hasEnded()).toBe(false);
    revocations.revokeToken("one", Date.now() + 86_400_000);
    expect(told(await mine.ended)).toBe(revoked);
  });

  it("A12 an authenticator that takes each ticket once is not asked again", async () => {
    const used = new Set<string>();
    const tickets: Authenticator = {
      name: "ticket",
      source: "metadata",
      headers: ["x-ticket"],
      presents: (call) => call.metadata.get("x-ticket").length > 0,
      authenticate(call) {
        const ticket = String(call.metadata.get("x-ticket")[0]);
        if (used.has(ticket)) throw new CredentialError("invalid", "the ticket was used");
        used.add(ticket);
        return { principal: { ...principal, scheme: "ticket" } };
      },
    };
    const store = changingStore(shop.record);
    await using server = await waitingServer(anyOf(tickets, apiKey({ store })));
    const client = server.client();
    const byTicket = await server.open(client, "bidi_stream", { "x-ticket": "one" });
    const byBoth = await server.open(client, "bidi_stream", { "x-ticket": "two", "x-api-key": shop.key });
    store.changed();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect([byTicket.hasEnded(), byBoth.hasEnded()]).toEqual([false, false]);
    store.records.clear();
    store.changed();
    expect(told(await byBoth.ended)).toBe(revoked);
    expect(byTicket.hasEnded()).toBe(false);
  });

  it("A12 a thousand calls are looked at in one go", async () => {
    const revocations = revocationList();
    await using server = await waitingServer(tokens({ revocations }), {
      rateLimit: { perPeer: false, perPrincipal: false, inFlightPerPrincipal: false },
      limits: { maxConcurrentStreams: 2_000 },
    });
    const client = server.client();
    const [mine, others] = [await bearer({ jti: "one" }), await bearer({ jti: "two" })];
    let ended = 0;
    for (let i = 0; i < 1_000; i++) {
      const opened = await server.open(client, "server_stream", i % 2 === 0 ? mine : others);
      void opened.ended.then(() => {
        ended += 1;
      });
    }
    revocations.revokeToken("one", Date.now() + 86_400_000);
    await eventually(() => ended === 500, "the end of 500 calls");
    expect(ended).toBe(500);
  });

  it("A12 a server that has shut down is not held by a list that others use", async () => {
    const store = changingStore(shop.record);
    const server = await waitingServer(apiKey({ store }));
    const mine = await server.open(server.client(), "bidi_stream", { "x-api-key": shop.key });
    expect(store.listeners.size).toBe(1);
    await server.close();
    await mine.ended;
    store.changed();
    expect(store.listeners.size).toBe(0);
  });
  const shop = issueApiKey({ owner: "shop" });

  it.each<[string, () => unknown]>([
    ["nothing", () => undefined],
    ["a promise", () => Promise.resolve(() => {})],
  ])("A12 refuses calls of a store whose onChange returns %s", async (_what, onChange) => {
    const store = { ...changingStore(shop.record), onChange } as unknown as ApiKeyStore;
    await using server = await waitingServer(apiKey({ store }));
    const result = await invoke(server.client(), "unary", { metadata: { "x-api-key": shop.key } });
    expect(told(result)).toBe("UNAVAILABLE temporarily unavailable");
    const line = await server.callLine((each) => each["grpc_code"] === "UNAVAILABLE");
    expect(JSON.stringify(line)).toContain("onChange must return a function");
  });
});

describe("A12 a store that two servers use", () => {
  it("A12 C9 goes on telling the one when the other has shut down", async () => {
    const directory = await mkdtemp(join(tmpdir(), "palisade-shared-store-"));
    const path = join(directory, "keys.json");
    const { key, record } = issueApiKey({ owner: "shop" });
    await writeFile(path, JSON.stringify([record]));
    const store = fileApiKeyStore({ path, logger: false });
    const first = await waitingServer(apiKey({ store }));
    await using second = await waitingServer(apiKey({ store }));
    await first.open(first.client(), "bidi_stream", { "x-api-key": key });
    const mine = await second.open(second.client(), "bidi_stream", { "x-api-key": key });
    await first.close();
    await writeFile(path, JSON.stringify([{ ...record, revoked: true }]));
    // Nobody calls meanwhile.
    expect(told(await mine.ended)).toBe(revoked);
    await rm(directory, { recursive: true });
  });
});

describe("T7 mtls({ isRevoked })", () => {
  it.each(kinds)(
    "T7 refuses a %s call of a revoked certificate on a connection that is open",
    async (kind) => {
      const revokedSerials = new Set<string>();
      const authentication = mtls({ isRevoked: ({ serialNumber }) => revokedSerials.has(serialNumber) });
      await using server = await secured({ authentication, authorization: allowAuthenticated() });
      const client = server.client();
      expect(told(await invoke(client, kind))).toBe("OK OK");
      const { serialNumber } = new X509Certificate(world.client.cert);
      revokedSerials.add(serialNumber);
      expect(told(await invoke(client, kind))).toBe(revoked);
      expect(server.started).toEqual([kind]);
    },
  );

  it("T7 a list that is away is UNAVAILABLE", async () => {
    const authentication = mtls({ isRevoked: () => Promise.reject(new Error("away")) });
    await using server = await secured({ authentication, authorization: allowAuthenticated() });
    expect(told(await invoke(server.client(), "unary"))).toBe("UNAVAILABLE temporarily unavailable");
  });
});

describe("A8 a revocation list that fails", () => {
  const failing = (isRevoked: unknown): RevocationList => ({ isRevoked }) as RevocationList;
  it.each<[string, unknown, string]>([
    ["answers true", () => true, revoked],
    ["answers true by a promise", async () => true, revoked],
    [
      "throws",
      () => {
        throw new Error("away");
      },
      "UNAVAILABLE temporarily unavailable",
    ],
    ["rejects", async () => Promise.reject(new Error("away")), "UNAVAILABLE temporarily unavailable"],
    ["answers nothing", () => undefined, "UNAVAILABLE temporarily unavailable"],
    ["answers null by a promise", async () => null, "UNAVAILABLE temporarily unavailable"],
    ["answers a text", () => "false", "UNAVAILABLE temporarily unavailable"],
    ["answers 0", () => 0, "UNAVAILABLE temporarily unavailable"],
    ["answers false", () => false, "OK OK"],
    ["answers false by a promise", async () => false, "OK OK"],
  ])("A8 that %s", async (_what, isRevoked, expected) => {
    await using server = await secured({ authentication: tokens({ revocations: failing(isRevoked) }) });
    const client = server.client();
    for (const kind of kinds)
      expect(told(await invoke(client, kind, { metadata: await bearer() })), kind).toBe(expected);
  });

  it("A8 is asked for each call with the id, the subject and the time, whether the token is remembered or not", async () => {
    const asked: unknown[] = [];
    const revocations: RevocationList = {
      isRevoked(token) {
        asked.push(token);
        return false;
      },
    };
    await using server = await secured({ authentication: tokens({ revocations }) });
    const client = server.client();
    const iat = Math.floor(Date.now() / 1000) - 7;
    const metadata = await bearer({ jti: "one", sub: "ada", iat });
    for (let i = 0; i < 3; i++) expect((await invoke(client, "unary", { metadata })).name).toBe("OK");
    expect(asked).toEqual([0, 1, 2].map(() => ({ id: "one", subject: "ada", issuedAt: iat * 1000 })));
  });

  it("A8 a token whose id is no string is invalid, because it could not be revoked", async () => {
    await using server = await secured({ authentication: tokens({ revocations: revocationList() }) });
    const result = await invoke(server.client(), "unary", { metadata: await bearer({ jti: 7 }) });
    expect(told(result)).toBe(revoked);
  });

  it("A8 is not asked for a token that does not verify", async () => {
    let asked = 0;
    const revocations: RevocationList = {
      isRevoked() {
        asked += 1;
        return false;
      },
    };
    await using server = await secured({ authentication: tokens({ revocations }) });
    const [head, body] = (await world.token()).split(".");
    const forged = `Bearer ${head}.${body}.${Buffer.alloc(64, 1).toString("base64url")}`;
    const result = await invoke(server.client(), "unary", { metadata: { authorization: forged } });
    expect(told(result)).toBe(revoked);
    expect(asked).toBe(0);
  });

  it("A8 C9 a shutdown closes the list", async () => {
    let closed = 0;
    const server = await secured({
      authentication: tokens({
        revocations: {
          isRevoked: () => false,
          close: () => {
            closed += 1;
          },
        },
      }),
    });
    await server.close();
    expect(closed).toBe(1);
  });
});
