// What every rate limit store must do: the same cases for the one in memory and the one in Redis.
import { randomUUID } from "node:crypto";
import { describe, expect, it } from "vitest";
import type {
  RateLimit,
  RateLimitResult,
  RateLimitStore,
} from "../../../src/middleware/rate-limit/rate-limit-store.ts";
import { eventually } from "../../harness/secured.ts";

const tenYearsSec = 315_360_000;

export function describeStoreContract(name: string, storeOf: () => RateLimitStore): void {
  /** One key of its own under one limit. */
  const consumer = (limit: RateLimit) => {
    const key = randomUUID();
    return async (cost = 1): Promise<RateLimitResult> => storeOf().consume(key, cost, limit);
  };

  describe(`L1 the contract of a rate limit store: ${name}`, () => {
    it("takes points while there are any, and tells what remains", async () => {
      const consume = consumer({ points: 3, durationSec: 600 });
      for (const remaining of [2, 1, 0])
        expect(await consume()).toEqual({ allowed: true, remaining, retryAfterMs: 0 });
      const refused = await consume();
      expect(refused).toMatchObject({ allowed: false, remaining: 0 });
      expect(refused.retryAfterMs).toBeGreaterThan(500_000);
      expect(refused.retryAfterMs).toBeLessThanOrEqual(600_000);
    });

    it("refuses a cost for which there are too few points, and then every cost", async () => {
      const consume = consumer({ points: 5, durationSec: 600 });
      expect(await consume(3)).toMatchObject({ allowed: true, remaining: 2 });
      expect(await consume(3)).toMatchObject({ allowed: false, remaining: 0 });
      expect(await consume(1)).toMatchObject({ allowed: false, remaining: 0 });
    });

    it("takes nothing for a cost of 0", async () => {
      const consume = consumer({ points: 2, durationSec: 600 });
      expect(await consume(0)).toEqual({ allowed: true, remaining: 2, retryAfterMs: 0 });
      await consume();
      expect(await consume(0)).toEqual({ allowed: true, remaining: 1, retryAfterMs: 0 });
      await consume();
      await consume();
      const refused = await consume(0);
      expect(refused).toMatchObject({ allowed: false, remaining: 0 });
      expect(refused.retryAfterMs).toBeGreaterThan(500_000);
    });

    it("gives all points back when the window is over, also one of less than a second", async () => {
      const consume = consumer({ points: 1, durationSec: 0.3 });
      expect(await consume()).toMatchObject({ allowed: true });
      let waits: number | undefined;
      for (let again = await consume(); !again.allowed; again = await consume()) waits = again.retryAfterMs;
      expect(waits ?? 1).toBeLessThanOrEqual(300);
    });

    it("refuses for the block's time, which further calls do not make longer", async () => {
      const consume = consumer({ points: 1, durationSec: 0.2, blockDurationSec: 600 });
      await consume();
      let first = await consume();
      // A busy machine may have left the window meanwhile.
      while (first.allowed) first = await consume();
      expect(first.retryAfterMs).toBeGreaterThan(590_000);
      const started = performance.now();
      await eventually(() => performance.now() > started + 250, "the end of the window");
      const later = await consume();
      expect(later.allowed).toBe(false);
      expect(later.retryAfterMs).toBeLessThan(first.retryAfterMs);
    });

    it("ends a block", async () => {
      const consume = consumer({ points: 1, durationSec: 600, blockDurationSec: 0.2 });
      await consume();
      expect(await consume()).toMatchObject({ allowed: false });
      let again = await consume();
      while (!again.allowed) again = await consume();
      expect(again.remaining).toBe(0);
    });

    it("keeps windows and blocks of ten years", async () => {
      const consume = consumer({ points: 1, durationSec: tenYearsSec, blockDurationSec: tenYearsSec });
      expect(await consume()).toMatchObject({ allowed: true });
      for (let i = 0; i < 3; i++) {
        const refused = await consume();
        expect(refused.allowed).toBe(false);
        expect(refused.retryAfterMs).toBeGreaterThan((tenYearsSec - 600) * 1000);
        expect(refused.retryAfterMs).toBeLessThanOrEqual(tenYearsSec * 1000);
      }
    });

    it("gives the same points to nobody twice", async () => {
      const consume = consumer({ points: 10, durationSec: 600 });
      const results = await Promise.all(Array.from({ length: 100 }, () => consume()));
      expect(results.filter(({ allowed }) => allowed)).toHaveLength(10);
    });

    it("counts each key by itself", async () => {
      const limit = { points: 1, durationSec: 600 };
      const [one, other] = [consumer(limit), consumer(limit)];
      expect(await one()).toMatchObject({ allowed: true });
      expect(await one()).toMatchObject({ allowed: false });
      expect(await other()).toMatchObject({ allowed: true });
    });
  });
}
