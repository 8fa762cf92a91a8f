// Stores of one's own: what is asked of them, what their failures do, and what a call that ends meanwhile leaves.
import { Metadata } from "@grpc/grpc-js";
import { pino } from "pino";
import { describe, expect, it } from "vitest";
import { Call } from "../../../src/chain/context.ts";
import { methodInfo } from "../../../src/grpc/method.ts";
import { apiKey } from "../../../src/middleware/authentication/api-key.ts";
import {
  issueApiKey,
  memoryApiKeyStore,
} from "../../../src/middleware/authentication/memory-api-key-store.ts";
import { allowAuthenticated } from "../../../src/middleware/authorization/allow-authenticated.ts";
import { memoryRateLimitStore } from "../../../src/middleware/rate-limit/memory-rate-limit-store.ts";
import { rateLimit } from "../../../src/middleware/rate-limit/rate-limit.ts";
import type { RateLimitResult, RateLimitStore } from "../../../src/middleware/rate-limit/rate-limit-store.ts";
import { check } from "../../harness/health.ts";
import { type AnyClientCall, invoke, kinds, paths } from "../../harness/kinds.ts";
import { eventually, secured } from "../../harness/secured.ts";

const over = "rate limit exceeded";
const allowed: RateLimitResult = { allowed: true, remaining: 1, retryAfterMs: 0 };

/** A store that notes what it is asked, and then answers as told. */
function noting(answer: RateLimitStore["consume"]): RateLimitStore & { readonly asked: [string, number][] } {
  const asked: [string, number][] = [];
  return {
    asked,
    consume(key, cost, limit) {
      asked.push([key, cost]);
      return answer(key, cost, limit);
    },
  };
}

describe("L1 what a store is asked", () => {
  it("once for the peer and once for the principal, under names of their own, and nothing of the credential", async () => {
    const store = noting(() => allowed);
    const { key, record } = issueApiKey({ owner: "shop" });
    await using wall = await secured({
      authentication: apiKey({ store: memoryApiKeyStore([record]) }),
      authorization: allowAuthenticated(),
      rateLimit: { store },
      methods: { [paths.server_stream]: { rateLimit: { perPeer: { points: 7, durationSec: 1 }, cost: 5 } } },
    });
    const client = wall.client();
    const metadata = { "x-api-key": key };
    expect((await invoke(client, "unary", { metadata })).details).toBe("OK");
    const names = store.asked.map(([name]) => name.replace(/cert:[0-9A-F:]+/, "cert:…"));
    expect(names).toEqual(["peer::cert:…", "login::cert:…", 'principal::["service","api-key","","","shop"]']);
    expect(store.asked.map(([, cost]) => cost)).toEqual([1, 0, 1]);
    store.asked.length = 0;
    expect((await invoke(client, "server_stream", { metadata })).details).toBe("OK");
    // What is known of failed logins is good for a second.
    expect(store.asked.filter(([name]) => !name.startsWith("login:"))).toEqual([
      [expect.stringMatching(/^peer:\/test\.v1\.Kinds\/ServerStream:cert:/), 5],
      ['principal::["service","api-key","","","shop"]', 5],
    ]);
    expect(JSON.stringify(store.asked)).not.toContain(key);
  });

  it("L8 for a caller who cannot be told, about the digest of its credential", async () => {
    const store = noting(() => allowed);
    await using wall = await secured({
      peer: { trustedProxies: ["127.0.0.1"], addressFrom: "x-forwarded-for" },
      rateLimit: { perPeer: false, store },
    });
    const authorization = `Bearer ${"guess".repeat(200)}`;
    expect((await invoke(wall.client(), "unary", { metadata: { authorization } })).details).toBe(
      "invalid credentials",
    );
    await eventually(() => store.asked.length >= 2, "the failure");
    const [question, failure] = store.asked;
    expect(question?.[0]).toMatch(/^login::ip:127\.0\.0\.1 [A-Za-z0-9+/]{43}=$/);
    expect([question?.[1], failure]).toEqual([0, [question?.[0], 1]]);
  });

  it("L8 how many points of a caller others left: no more of its guesses are verified at once", async () => {
    let verifying = 0;
    let atOnce = 0;
    let verified = 0;
    await using wall = await secured({
      authentication: apiKey({
        store: {
          async find() {
            verifying += 1;
            atOnce = Math.max(atOnce, verifying);
            for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve));
            verifying -= 1;
            verified += 1;
            return undefined;
          },
        },
      }),
      authorization: allowAuthenticated(),
      rateLimit: { store: { consume: async () => allowed } },
    });
    const client = wall.client();
    const guesses = ["one", "two", "three", "four"].map((guess) =>
      invoke(client, "unary", { metadata: { "x-api-key": guess } }),
    );
    const told = await Promise.all(guesses);
    expect(verified).toBeGreaterThan(0);
    expect(told.filter(({ details }) => details === "invalid credentials")).toHaveLength(verified);
    expect(atOnce).toBe(1);
  });

  it("nothing for health probes", async () => {
    const store = noting(() => {
      throw new Error("asked");
    });
    await using wall = await secured({ rateLimit: { store } });
    expect((await check(wall.client(), "")).name).toBe("OK");
    expect(store.asked).toEqual([]);
  });

  it("nothing for a key that it refused, until its time is over", async () => {
    const store = noting(() => ({ allowed: false, remaining: 0, retryAfterMs: 900 }));
    await using wall = await secured({ rateLimit: { perPeer: { points: 5, durationSec: 1 }, store } });
    const client = wall.client();
    const metadata = await wall.authorized();
    const started = performance.now();
    const refused = await invoke(client, "unary", { metadata });
    expect(refused.details).toBe(over);
    expect(refused.trailers.get("grpc-retry-pushback-ms")).toEqual(["900"]);
    const asked = store.asked.length;
    let calls = 0;
    while (calls === 0 || performance.now() < started + 300) {
      expect((await invoke(client, "unary", { metadata })).details).toBe(over);
      calls += 1;
    }
    // On a machine so slow that a call takes a second there is nothing to see.
    if (performance.now() < started + 800) expect(store.asked.length).toBe(asked);
    expect(calls).toBeGreaterThan(0);
  });

  it("a store that answers at once costs no promise", () => {
    const layer = rateLimit({ store: memoryRateLimitStore() });
    const call = new Call({
      method: methodInfo(paths.unary, "unary", true),
      peer: { address: "192.0.2.1", port: 1, secure: true, certificate: undefined },
      metadata: new Metadata(),
      metadataBytes: 0,
      timeoutMs: undefined,
      logger: pino({ enabled: false }),
    });
    expect(layer.onCall?.(call)).toBeUndefined();
  });
});

describe("L1 a store that fails refuses nobody", () => {
  it.each<[string, RateLimitStore["consume"]]>([
    [
      "throws",
      () => {
        throw new Error("away");
      },
    ],
    ["rejects", () => Promise.reject(new Error("away"))],
    ["answers undefined", () => undefined as never],
    ["answers with text", () => Promise.resolve("yes" as never)],
    ["answers NaN", () => ({ allowed: true, remaining: Number.NaN, retryAfterMs: 0 })],
    ["refuses for ever", () => ({ allowed: false, remaining: 0, retryAfterMs: Number.POSITIVE_INFINITY })],
  ])("%s: the process decides", async (_, consume) => {
    await using wall = await secured({
      rateLimit: { perPeer: { points: 2, durationSec: 600 }, store: { consume } },
    });
    const client = wall.client();
    const metadata = await wall.authorized();
    const told: string[] = [];
    for (let i = 0; i < 3; i++) told.push((await invoke(client, "unary", { metadata })).details);
    expect(told).toEqual(["OK", "OK", over]);
    expect(wall.lines.filter(({ msg }) => msg?.startsWith("the rate limit store"))).toHaveLength(1);
  });

  it("it is asked again by one call a second", async () => {
    let isAway = true;
    const store = noting(() => {
      if (isAway) throw new Error("away");
      return allowed;
    });
    await using wall = await secured({
      rateLimit: {
        // So many that the limiter of this process refuses none of the calls below while the store is away.
        perPeer: { points: 1_000_000, durationSec: 1 },
        perPrincipal: false,
        failedAuthentication: false,
        store,
      },
    });
    const client = wall.client();
    const metadata = await wall.authorized();
    const started = performance.now();
    while (store.asked.length < 3) await invoke(client, "unary", { metadata });
    expect(performance.now() - started).toBeGreaterThan(1_900);
    isAway = false;
    await eventually(() => store.asked.length >= 3, "three questions");
    while (!wall.lines.some(({ msg }) => msg === "the rate limit store answers again"))
      await invoke(client, "unary", { metadata });
    store.asked.length = 0;
    for (let i = 0; i < 5; i++) await invoke(client, "unary", { metadata });
    expect(store.asked).toHaveLength(5);
  });
});

describe("C12 a call that waits for a store", () => {
  it.each(kinds)("%s: starts no handler after it was cancelled, and holds nothing", async (kind) => {
    const waiting: (() => void)[] = [];
    const store: RateLimitStore = {
      consume: (key) =>
        key.startsWith("principal:")
          ? new Promise((resolve) => waiting.push(() => resolve(allowed)))
          : Promise.resolve(allowed),
    };
    await using wall = await secured({ rateLimit: { inFlightPerPrincipal: 1, store } });
    const client = wall.client();
    const metadata = await wall.authorized();
    let call: AnyClientCall | undefined;
    const cancelled = invoke(client, kind, {
      metadata,
      onCall: (made) => {
        call = made;
      },
    });
    await eventually(() => waiting.length === 1, "the store's question");
    call?.cancel();
    expect((await cancelled).name).toBe("CANCELLED");
    await wall.callLine((line) => line["grpc_code"] === "CANCELLED");
    waiting[0]?.();
    // The one place is free: the call that ended did not take it.
    const next = invoke(client, kind, { metadata });
    await eventually(() => waiting.length === 2, "the next question");
    waiting[1]?.();
    expect((await next).details).toBe("OK");
    expect(wall.started).toEqual([kind]);
  });

  it.each(kinds)("%s: is UNAVAILABLE after checkTimeoutMs where the store never answers", async (kind) => {
    await using wall = await secured({
      rateLimit: { store: { consume: () => new Promise(() => {}) } },
      deadline: { checkTimeoutMs: 50 },
    });
    const told = await invoke(wall.client(), kind, { metadata: await wall.authorized() });
    expect(`${told.name} ${told.details}`).toBe("UNAVAILABLE temporarily unavailable");
    expect(wall.started).toEqual([]);
  });
});

describe("C9 a store at shutdown", () => {
  it("is closed after the last call", async () => {
    const events: string[] = [];
    const wall = await secured({
      rateLimit: {
        store: {
          consume: () => allowed,
          async close() {
            events.push("store closed");
          },
        },
      },
      middleware: [{ name: "end", onEnd: () => void events.push("call ended") }],
    });
    await invoke(wall.client(), "unary", { metadata: await wall.authorized() });
    await wall.close();
    expect(events).toEqual(["call ended", "store closed"]);
  });

  it("that cannot be closed is logged", async () => {
    const wall = await secured({
      rateLimit: { store: { consume: () => allowed, close: () => Promise.reject(new Error("stuck")) } },
    });
    await wall.close();
    expect(wall.lines.find(({ msg }) => msg?.includes("rate limit store could not be closed"))).toMatchObject(
      {
        err: { message: "stuck" },
      },
    );
  });
});
