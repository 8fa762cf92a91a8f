import { describe, expect, it } from "vitest";
import { InFlight } from "../../../src/middleware/rate-limit/in-flight.ts";
import { MemoryRateLimiter } from "../../../src/middleware/rate-limit/memory-rate-limiter.ts";

describe("L8 asking without consuming", () => {
  it("L8 says what a consumption would be told, and changes nothing", () => {
    const limiter = new MemoryRateLimiter({ points: 2, durationSec: 1, blockDurationSec: 10 });
    for (let i = 0; i < 5; i++) expect(limiter.refusedFor("a", 0)).toBe(0);
    expect(limiter.size).toBe(0);
    limiter.consume("a", 1, 0);
    expect(limiter.refusedFor("a", 100)).toBe(0);
    limiter.consume("a", 1, 100);
    expect(limiter.refusedFor("a", 200)).toBe(800);
    expect(limiter.consume("a", 1, 200)).toBe(10_000);
    expect([5200, 10_199, 10_200].map((now) => limiter.refusedFor("a", now))).toEqual([5000, 1, 0]);
  });

  it("L10 asks the shared counter for a key that found no place", () => {
    const limiter = new MemoryRateLimiter({ points: 1, durationSec: 1 }, 2);
    for (const key of ["a", "b"]) limiter.consume(key, 1, 0);
    expect(limiter.refusedFor("c", 1)).toBe(0);
    limiter.consume("c", 1, 1);
    expect(limiter.refusedFor("d", 2)).toBe(999);
    expect(limiter.refusedFor("a", 2)).toBe(998);
  });
});

describe("L1 the window", () => {
  it("L1 admits as many as there are points, then says how long to wait", () => {
    const limiter = new MemoryRateLimiter({ points: 3, durationSec: 2 });
    const answers = [0, 100, 200, 500, 1999.5].map((now) => limiter.consume("a", 1, now));
    expect(answers).toEqual([0, 0, 0, 1500, 1]);
  });

  it("L1 starts a new window when the old one ended, and not before", () => {
    const limiter = new MemoryRateLimiter({ points: 1, durationSec: 1 });
    expect([0, 999, 1000, 1500, 2000].map((now) => limiter.consume("a", 1, now))).toEqual([0, 1, 0, 500, 0]);
  });

  it("L1 counts each key for itself", () => {
    const limiter = new MemoryRateLimiter({ points: 1, durationSec: 1 });
    expect(limiter.consume("a", 1, 0)).toBe(0);
    expect(limiter.consume("b", 1, 0)).toBe(0);
    expect(limiter.consume("a", 1, 0)).toBe(1000);
  });

  it("L1 counts costs, and a refused one uses up the rest", () => {
    const limiter = new MemoryRateLimiter({ points: 5, durationSec: 1 });
    expect(limiter.consume("a", 3, 0)).toBe(0);
    expect(limiter.consume("a", 3, 0)).toBe(1000);
    expect(limiter.consume("a", 1, 0)).toBe(1000);
    expect(limiter.consume("b", 6, 0)).toBe(1000);
  });

  it("L1 blocks from the moment a key goes over, and refused calls do not lengthen it", () => {
    const limiter = new MemoryRateLimiter({ points: 1, durationSec: 1, blockDurationSec: 10 });
    expect(limiter.consume("a", 1, 0)).toBe(0);
    expect(limiter.consume("a", 1, 500)).toBe(10_000);
    expect(limiter.consume("a", 1, 5500)).toBe(5000);
    expect(limiter.consume("a", 1, 10_499)).toBe(1);
    expect(limiter.consume("a", 1, 10_500)).toBe(0);
  });

  it("L1 L10 blocks for 30 days where 30 days are asked for", () => {
    const day = 86_400_000;
    const limiter = new MemoryRateLimiter({ points: 1, durationSec: 1, blockDurationSec: 30 * 86_400 });
    limiter.consume("a", 1, 0);
    expect(limiter.consume("a", 1, 0)).toBe(30 * day);
    expect(limiter.consume("a", 1, 25 * day)).toBe(5 * day);
    expect(limiter.consume("a", 1, 30 * day - 1)).toBe(1);
    expect(limiter.consume("a", 1, 30 * day)).toBe(0);
  });
});

describe("L10 the table is bounded", () => {
  it("L10 never holds more than maxKeys", () => {
    const limiter = new MemoryRateLimiter({ points: 5, durationSec: 1000 }, 100);
    for (let i = 0; i < 10_000; i += 1) limiter.consume(`k${i}`, 1, i / 100);
    expect(limiter.size).toBe(100);
  });

  const floods: readonly (readonly [
    string,
    { points: number; durationSec: number; blockDurationSec?: number },
    number,
  ])[] = [
    ["a key that used up its points", { points: 2, durationSec: 60 }, 2],
    ["a key that went over", { points: 2, durationSec: 60 }, 3],
    ["a blocked key", { points: 2, durationSec: 1, blockDurationSec: 60 }, 3],
  ];
  it.each(floods)("L10 filling the table does not free %s", (_, limit, calls) => {
    const limiter = new MemoryRateLimiter(limit, 10);
    for (let i = 0; i < calls; i += 1) limiter.consume("attacker", 1, 0);
    for (let i = 0; i < 5000; i += 1) limiter.consume(`k${i}`, 1, 10);
    expect(limiter.size).toBe(10);
    expect(limiter.consume("attacker", 1, 20)).toBeGreaterThan(0);
  });

  it("L10 a table full of blocked keys frees none of them, and new keys share one counter", () => {
    const limiter = new MemoryRateLimiter({ points: 2, durationSec: 1, blockDurationSec: 600 }, 10);
    for (let i = 0; i < 10; i += 1) for (let n = 0; n < 3; n += 1) limiter.consume(`b${i}`, 1, 0);
    const strangers = Array.from({ length: 5 }, (_, i) => limiter.consume(`new${i}`, 1, 100));
    expect(strangers).toEqual([0, 0, 1000, 1000, 1000]);
    expect(limiter.consume("new9", 1, 1100)).toBe(0);
    expect(limiter.size).toBe(10);
    for (let i = 0; i < 10; i += 1) expect(limiter.consume(`b${i}`, 1, 1200)).toBeGreaterThan(0);
  });

  it("L10 places come free when blocks end", () => {
    const limiter = new MemoryRateLimiter({ points: 1, durationSec: 1, blockDurationSec: 10 }, 2);
    for (const key of ["a", "a", "b", "b"]) limiter.consume(key, 1, 0);
    expect([1, 2].map(() => limiter.consume("c", 1, 20))).toEqual([0, 1000]);
    expect(limiter.consume("c", 1, 10_000)).toBe(0);
    expect(limiter.consume("c", 1, 10_001)).toBe(10_000);
    expect(limiter.size).toBe(1);
  });

  it("L10 a key that is used up does not stand in the way of a block behind it, nor the other way round", () => {
    const limiter = new MemoryRateLimiter({ points: 1, durationSec: 1, blockDurationSec: 1000 }, 3);
    for (const key of ["blocked", "blocked", "spent1", "spent2"]) limiter.consume(key, 1, 0);
    expect(limiter.consume("later", 1, 2000)).toBe(0);
    expect(limiter.size).toBe(2);
    expect(limiter.consume("blocked", 1, 2000)).toBe(998_000);
  });

  it("L10 shrinks again as new keys come", () => {
    const limiter = new MemoryRateLimiter({ points: 5, durationSec: 1 }, 1000);
    for (let i = 0; i < 1000; i += 1) limiter.consume(`k${i}`, 1, 0);
    for (let i = 0; i < 600; i += 1) limiter.consume(`late${i}`, 1, 5000);
    expect(limiter.size).toBe(600);
  });

  it("L10 agrees with a plain count of every key while the table is not full", () => {
    const limiter = new MemoryRateLimiter({ points: 3, durationSec: 1, blockDurationSec: 3 }, 1000);
    const model = new Map<string, { used: number; endsAt: number }>();
    let seed = 42;
    const random = (below: number): number => {
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
      return Math.floor((seed / 2_147_483_648) * below);
    };
    for (let now = 0; now < 60_000; now += random(40)) {
      const key = `k${random(30)}`;
      const known = model.get(key);
      const window = known === undefined || now >= known.endsAt ? { used: 0, endsAt: now + 1000 } : known;
      model.set(key, window);
      window.used += 1;
      if (window.used === 4) window.endsAt = now + 3000;
      expect(limiter.consume(key, 1, now)).toBe(window.used > 3 ? window.endsAt - now : 0);
    }
  });
});

describe("L2 calls in flight", () => {
  it("L2 counts each key, and forgets keys without calls", () => {
    const inFlight = new InFlight(2);
    const first = inFlight.take("a");
    const second = inFlight.take("a");
    expect(inFlight.take("a")).toBeUndefined();
    expect(inFlight.take("b")).toBeDefined();
    expect(inFlight.size).toBe(2);
    if (first === undefined || second === undefined) throw new Error("two calls were allowed");
    inFlight.release(first);
    expect(inFlight.take("a")).toBeDefined();
    inFlight.release(first);
    inFlight.release(second);
    expect(inFlight.size).toBe(1);
  });

  it("L10 where too many callers have calls, new ones share one counter", () => {
    const inFlight = new InFlight(1, 2);
    const a = inFlight.take("a");
    inFlight.take("b");
    const shared = inFlight.take("c");
    if (a === undefined || shared === undefined) throw new Error("each was allowed a call");
    expect(inFlight.take("d")).toBeUndefined();
    expect(inFlight.take("a")).toBeUndefined();
    inFlight.release(shared);
    expect(inFlight.take("d")).toBeDefined();
    expect(inFlight.size).toBe(2);
    inFlight.release(a);
    expect(inFlight.take("e")).toBeDefined();
    expect(inFlight.size).toBe(2);
  });
});
