// What metrics say of a store that instances share (U5).
import { afterAll, beforeAll, expect, it } from "vitest";
import type { RateLimitResult } from "../../../src/middleware/rate-limit/rate-limit-store.ts";
import { type KeptMetrics, keepMetrics } from "../../harness/kept-metrics.ts";
import { invoke } from "../../harness/kinds.ts";
import { secured } from "../../harness/secured.ts";

let kept: KeptMetrics;
beforeAll(() => {
  kept = keepMetrics();
});
afterAll(() => kept.close());

const requests = async (): Promise<Readonly<Record<string, number>>> =>
  Object.fromEntries(
    (await kept.points("palisade.rate_limit.store.requests")).map(({ attributes, value }) => [
      Object.values(attributes as object)[0],
      value,
    ]),
  );
const away = async (): Promise<unknown> => (await kept.points("palisade.rate_limit.store.away"))[0]?.value;

it("L1 U5 tell what decided, and whether the store is away", async () => {
  let answer: () => RateLimitResult = () => ({ allowed: true, remaining: 1, retryAfterMs: 0 });
  await using wall = await secured({
    rateLimit: {
      // So many that the limiter of this process refuses none of the calls below while the store is away.
      perPeer: { points: 1_000_000, durationSec: 1 },
      perPrincipal: false,
      failedAuthentication: false,
      store: { consume: () => answer() },
    },
  });
  const client = wall.client();
  const metadata = await wall.authorized();
  const call = async (): Promise<unknown> => (await invoke(client, "unary", { metadata })).details;
  expect(await call()).toBe("OK");
  expect(await requests()).toEqual({ answered: 1, failed: 0, skipped: 0, from_memory: 0 });
  expect(await away()).toBe(0);
  answer = () => {
    throw new Error("away");
  };
  await call();
  expect(await away()).toBe(1);
  while ((await requests())["skipped"] === 0) await call();
  expect((await requests())["failed"]).toBeGreaterThanOrEqual(1);
  answer = () => ({ allowed: false, remaining: 0, retryAfterMs: 60_000 });
  while ((await call()) !== "rate limit exceeded");
  expect(await away()).toBe(0);
  await call();
  expect(await requests()).toMatchObject({ answered: 2, from_memory: 1 });
});
