// What bounds the verifications of unproven credentials (L8, L10): places, the queue, and what holds them.
import { Metadata } from "@grpc/grpc-js";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Call } from "../../../src/chain/context.ts";
import { methodInfo } from "../../../src/grpc/method.ts";
import type { Peer } from "../../../src/grpc/peer.ts";
import { apiKey } from "../../../src/middleware/authentication/api-key.ts";
import { memoryApiKeyStore } from "../../../src/middleware/authentication/memory-api-key-store.ts";
import { PresentedCredentials } from "../../../src/middleware/authentication/presented-credentials.ts";
import {
  type FailedAuthenticationLimit,
  failedAuthenticationLimit,
} from "../../../src/middleware/rate-limit/failed-authentication.ts";
import { type Decision, VerificationPlaces } from "../../../src/middleware/rate-limit/verification-places.ts";

const logger = pino({ enabled: false });
const method = methodInfo("/test.v1.Kinds/Unary", "unary", true);

function peerAt(address: string): Peer {
  return { address, port: 1, secure: true, certificate: undefined };
}

function call(peer: Peer, key: string): Call {
  const metadata = new Metadata();
  metadata.set("x-api-key", key);
  return new Call({ method, peer, metadata, metadataBytes: 0, timeoutMs: undefined, logger });
}

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

/** Places of which a peer has one, and nothing is ever proven. */
function onePlace(): VerificationPlaces {
  const places: VerificationPlaces = new VerificationPlaces({
    decide: (_call, keys): Decision => places.among(1, keys),
    isProven: () => false,
    refusal: (ms) => new Error(`refused for ${ms} ms`),
  });
  return places;
}

describe("places", () => {
  const peer = peerAt("192.0.2.1");
  const first = { limit: "peer", credential: "first" };
  const second = { limit: "peer", credential: "second" };

  it("L8 a verification that never settles gives its place back after 10 s", async () => {
    const places = onePlace();
    places.begin(call(peer, "first"), first);
    expect(places.among(1, second)).toBe("wait");
    const waiting = places.wait(call(peer, "second"), second);
    vi.advanceTimersByTime(9_999);
    expect(places.taken).toBe(1);
    vi.advanceTimersByTime(1);
    await waiting;
    // The one that waited has it now.
    expect(places.taken).toBe(1);
    vi.advanceTimersByTime(10_000);
    expect([places.taken, places.size]).toEqual([0, 0]);
  });

  it("L8 a call that ends while it waits leaves, and one that ends after it was let on gives its place back", async () => {
    const places = onePlace();
    const holder = call(peer, "first");
    places.begin(holder, first);
    const [leaving, next] = [call(peer, "second"), call(peer, "third")];
    places.wait(leaving, second);
    const waiting = places.wait(next, { limit: "peer", credential: "third" });
    leaving.abort("cancelled");
    places.end(holder);
    places.serve("peer");
    await waiting;
    expect(places.taken).toBe(1);
    // Its authenticator was never asked.
    next.abort("cancelled");
    expect([places.taken, places.size]).toEqual([0, 0]);
  });

  it("C12 a call that ended before it would wait does not wait", async () => {
    const places = onePlace();
    const holder = call(peer, "first");
    places.begin(holder, first);
    const ended = call(peer, "second");
    ended.abort("cancelled");
    await places.wait(ended, second);
    places.end(holder);
    expect([places.taken, places.size]).toEqual([0, 0]);
  });

  it("L8 a call that ends after its authenticator was asked keeps its place until that settles", () => {
    const places = onePlace();
    const holder = call(peer, "first");
    places.begin(holder, first);
    holder.abort("cancelled");
    expect(places.among(1, second)).toBe("wait");
    places.end(holder);
    expect(places.among(1, second)).toBe("pass");
    expect(places.size).toBe(0);
  });

  it("L8 so does a call that waited before its authenticator was asked", async () => {
    const places = onePlace();
    const holder = call(peer, "first");
    places.begin(holder, first);
    const next = call(peer, "second");
    const waiting = places.wait(next, second);
    places.end(holder);
    places.serve("peer");
    await waiting;
    places.begin(next, second);
    next.abort("cancelled");
    expect(places.among(1, first)).toBe("wait");
    places.end(next);
    expect(places.among(1, first)).toBe("pass");
  });

  it("L8 calls wait in the order of their credentials, and those of one credential go on together", async () => {
    const places = onePlace();
    const holder = call(peer, "first");
    places.begin(holder, first);
    const order: string[] = [];
    const wait = (credential: string): Call => {
      const each = call(peer, credential);
      places.wait(each, { limit: "peer", credential }).then(() => order.push(credential));
      return each;
    };
    const [b1] = [wait("b"), wait("c"), wait("b")];
    if (b1 === undefined) throw new Error("nobody waits");
    places.end(holder);
    places.serve("peer");
    await vi.advanceTimersByTimeAsync(0);
    expect(order).toEqual(["b", "b"]);
    vi.advanceTimersByTime(10_000);
    await vi.advanceTimersByTimeAsync(0);
    expect(order).toEqual(["b", "b", "c"]);
  });

  it("L10 no more than 1,000 calls of a peer wait, and 10,000 in all", () => {
    const places = onePlace();
    const fill = (limit: string): string => {
      places.begin(call(peer, limit), { limit, credential: limit });
      let waiting = 0;
      try {
        for (; waiting < 2_000; waiting += 1)
          places.wait(call(peer, limit), { limit, credential: `${limit} ${waiting}` });
      } catch (error) {
        return `${waiting}: ${error instanceof Error ? error.message : ""}`;
      }
      return `${waiting}`;
    };
    const peers = Array.from({ length: 11 }, (_, n) => fill(`peer-${n}`));
    expect(new Set(peers.slice(0, 10))).toEqual(new Set(["1000: refused for 1000 ms"]));
    expect(peers[10]).toBe("0: refused for 1000 ms");
  });

  it("L10 no more than 10,000 credentials are verified at once, and nothing is left when they are", () => {
    const places = onePlace();
    const calls = Array.from({ length: 10_001 }, (_, n) => {
      const each = call(peer, `${n}`);
      places.begin(each, { limit: `${n}`, credential: `${n}` });
      return each;
    });
    expect([places.taken, places.size]).toEqual([10_000, 10_000]);
    expect(places.among(1, second)).toEqual({ refusedForMs: 1_000 });
    for (const each of calls) places.end(each);
    expect([places.taken, places.size]).toEqual([0, 0]);
  });
});

/** As the chain asks: the throttle, then what authentication found. */
async function end(limit: FailedAuthenticationLimit, each: Call, good = false): Promise<string> {
  try {
    await limit.middleware.onCall?.(each);
  } catch (error) {
    return error instanceof Error ? error.message : "";
  }
  limit.verdicts.settled(each, good ? "verified" : "invalid");
  return good ? "OK" : "invalid credentials";
}

function throttle(): FailedAuthenticationLimit {
  return failedAuthenticationLimit({
    limit: { points: 2, durationSec: 60, blockDurationSec: 300 },
    credentials: new PresentedCredentials(apiKey({ store: memoryApiKeyStore([]) })),
    enforcement: "refuse",
  });
}

describe("the throttle of failed logins", () => {
  it("L10 a blocked peer stays blocked, and a proven neighbour let in, whatever 100,000 other peers do", async () => {
    const limit = throttle();
    const attacker = peerAt("192.0.2.66");
    for (let n = 0; n < 2; n += 1) await end(limit, call(attacker, `guess-${n}`));
    expect(await end(limit, call(attacker, "guess"))).toBe("rate limit exceeded");
    for (let n = 0; n < 100_000; n += 1) {
      const address = `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`;
      await end(limit, call(peerAt(address), "guess"));
    }
    expect(await end(limit, call(attacker, "guess"))).toBe("rate limit exceeded");
    expect(await end(limit, call(peerAt("192.0.2.7"), "good"), true)).toBe("OK");
  });

  it("L8 a jump of the wall clock frees nobody and blocks nobody", async () => {
    const limit = throttle();
    const attacker = peerAt("192.0.2.66");
    for (let n = 0; n < 2; n += 1) await end(limit, call(attacker, `guess-${n}`));
    for (const year of [1999, 2048]) {
      vi.setSystemTime(new Date(Date.UTC(year, 0)));
      expect(await end(limit, call(attacker, "guess"))).toBe("rate limit exceeded");
    }
    vi.advanceTimersByTime(300_001);
    expect(await end(limit, call(attacker, "guess"))).toBe("invalid credentials");
  });

  it("L8 a credential that was proven and is bad now is counted, and passes no more while its peer is blocked", async () => {
    const limit = throttle();
    const peer = peerAt("192.0.2.1");
    await end(limit, call(peer, "guess"));
    expect(await end(limit, call(peer, "once-good"), true)).toBe("OK");
    expect(await end(limit, call(peer, "once-good"))).toBe("invalid credentials");
    expect(await end(limit, call(peer, "once-good"))).toBe("rate limit exceeded");
  });

  it.each(["missing", "expired", "undecided"] as const)("L8 what is %s is never counted", async (verdict) => {
    const limit = throttle();
    const peer = peerAt("192.0.2.1");
    for (let n = 0; n < 50; n += 1) {
      const each = call(peer, `key-${n}`);
      await limit.middleware.onCall?.(each);
      limit.verdicts.pending(each);
      limit.verdicts.settled(each, verdict);
    }
    expect(await end(limit, call(peer, "guess"))).toBe("invalid credentials");
    expect(await end(limit, call(peer, "guess"))).toBe("invalid credentials");
    expect(await end(limit, call(peer, "guess"))).toBe("rate limit exceeded");
  });

  it("L8 what presents nothing is never counted, such as a certificate that nobody knows", async () => {
    const limit = throttle();
    const peer = peerAt("192.0.2.1");
    for (let n = 0; n < 50; n += 1) {
      const each = new Call({
        method,
        peer,
        metadata: new Metadata(),
        metadataBytes: 0,
        timeoutMs: undefined,
        logger,
      });
      expect(await end(limit, each)).toBe("invalid credentials");
    }
    expect(await end(limit, call(peer, "guess"))).toBe("invalid credentials");
  });

  it("L8 answers without a promise where nobody has to wait", async () => {
    const limit = throttle();
    const peer = peerAt("192.0.2.1");
    expect(limit.middleware.onCall?.(call(peer, "key"))).toBeUndefined();
    await end(limit, call(peer, "guess"));
    expect(limit.middleware.onCall?.(call(peer, "key"))).toBeUndefined();
  });
});

describe("credentials that verified", () => {
  const limit = { points: 2, durationSec: 60, blockDurationSec: 300 };

  function limitOf(): FailedAuthenticationLimit {
    return failedAuthenticationLimit({
      limit,
      credentials: new PresentedCredentials(apiKey({ store: memoryApiKeyStore([]) })),
      enforcement: "refuse",
    });
  }

  it("L8 L10 are not forgotten for those that verify from another peer, however many", () => {
    const { middleware, verdicts } = limitOf();
    const blocked = peerAt("192.0.2.1");
    for (let i = 0; i < limit.points; i++) verdicts.settled(call(blocked, `guess-${i}`), "invalid");
    verdicts.settled(call(blocked, "alice"), "verified");
    const other = peerAt("192.0.2.2");
    for (let i = 0; i < 10_240; i++) verdicts.settled(call(other, `mallory-${i}`), "verified");
    // The connection carried a bad credential, so that only what is proven passes on it.
    expect(() => middleware.onCall?.(call(blocked, "alice"))).not.toThrow();
    expect(() => middleware.onCall?.(call(blocked, "unknown"))).toThrow("rate limit exceeded");
  });

  it("L8 are one credential in whatever case and spaces their scheme is written", () => {
    const credentials = new PresentedCredentials(apiKey({ store: memoryApiKeyStore([]) }));
    const digests = ["Bearer token", "bEaReR token", "bearer     token ", "bearer tokem"].map((value) => {
      const metadata = new Metadata();
      metadata.set("authorization", value);
      return credentials.digestOf(metadata);
    });
    expect(new Set(digests.slice(0, 3)).size).toBe(1);
    expect(new Set(digests).size).toBe(2);
  });
});
