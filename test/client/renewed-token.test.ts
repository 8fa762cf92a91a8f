// A token that has to be fetched: once for all who wait, early, and with a pause after failures (K2). The clock is moved by hand.
import { inspect } from "node:util";
import { status } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import { type FetchedToken, RenewedToken, TokenFailure } from "../../src/client/renewed-token.ts";
import { StatusError } from "../../src/grpc/errors.ts";

interface Pending {
  readonly signal: AbortSignal;
  answer(token: string, lifeMs?: number): void;
  fail(error: unknown): void;
}

/** A token whose fetches are answered by hand. */
function setUp({ random = 0, timeoutMs = 60_000 }: { random?: number; timeoutMs?: number } = {}) {
  const time = { ms: 1_000_000 };
  const fetches: Pending[] = [];
  const failures: TokenFailure[] = [];
  const token = new RenewedToken({
    timeoutMs,
    fetch: (signal) =>
      new Promise<FetchedToken>((resolve, reject) => {
        fetches.push({
          signal,
          answer: (value, lifeMs) => resolve({ token: value, lifeMs }),
          fail: reject,
        });
      }),
    onFailure: (failure) => failures.push(failure),
    clock: () => ({ wallMs: time.ms, monotonicMs: time.ms }),
    random: () => random,
  });
  const next = async (): Promise<Pending> => {
    await expect.poll(() => fetches.length).toBeGreaterThan(0);
    const first = fetches.shift();
    if (first === undefined) throw new Error("no fetch");
    return first;
  };
  const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  const first = async (value: string, lifeMs?: number): Promise<void> => {
    const got = token.get();
    (await next()).answer(value, lifeMs);
    expect(await got).toBe(value);
  };
  return { time, fetches, failures, token, next, settled, first };
}

async function failureOf(answer: string | Promise<string>): Promise<StatusError> {
  const failure = await Promise.resolve(answer).then(
    (token) => `expected a failure, got ${token}`,
    (error: unknown) => error,
  );
  if (failure instanceof StatusError) return failure;
  throw failure;
}

describe("a token that is fetched", () => {
  it("K2 is fetched once for a hundred calls, and then there at once", async () => {
    const { token, fetches, next } = setUp();
    const waiting = Array.from({ length: 100 }, () => token.get());
    const fetch = await next();
    expect(fetches).toEqual([]);
    fetch.answer("t-1", 3_600_000);
    expect(new Set(await Promise.all(waiting))).toEqual(new Set(["t-1"]));
    expect(token.get()).toBe("t-1");
  });

  it.each([
    ["an hour: at 80 percent", 3_600_000, 0, 2_880_000],
    ["an hour, with all of the jitter", 3_600_000, 1, 2_520_000],
    ["four minutes: a minute before", 240_000, 0, 180_000],
    ["a minute: at half of it", 60_000, 0, 30_000],
    ["a second", 1_000, 0, 500],
    ["nobody knows how long: of five minutes", undefined, 0, 240_000],
    ["a hundred years: of a day", 3_153_600_000_000, 0, 69_120_000],
  ])("K2 is renewed early, while the old one is used: valid for %s", async (_name, lifeMs, random, atMs) => {
    const { time, token, fetches, next, settled, first } = setUp({ random });
    await first("t-1", lifeMs);
    time.ms += atMs - 1;
    expect(token.get()).toBe("t-1");
    await settled();
    expect(fetches).toEqual([]);
    time.ms += 1;
    // However many ask meanwhile.
    for (let i = 0; i < 10; i += 1) expect(token.get()).toBe("t-1");
    const renewal = await next();
    expect(fetches).toEqual([]);
    renewal.answer("t-2", lifeMs);
    await settled();
    expect(token.get()).toBe("t-2");
  });

  it("K2 is used until 30 seconds before its end while it cannot be renewed, and then calls end UNAVAILABLE", async () => {
    const { time, token, fetches, next, settled, first, failures } = setUp();
    await first("t-1", 3_600_000);
    time.ms += 2_880_000;
    expect(token.get()).toBe("t-1");
    (await next()).fail(new Error("away"));
    await settled();
    expect(failures).toHaveLength(1);
    time.ms += 689_999;
    expect(token.get()).toBe("t-1");
    (await next()).fail(new Error("away"));
    await settled();
    time.ms += 1;
    const error = await failureOf(token.get());
    expect(error.code).toBe(status.UNAVAILABLE);
    expect(fetches).toEqual([]);
  });

  it("K2 is not fetched again at once after a failure, each time later, and after a success as at first", async () => {
    const { time, token, fetches, next, first } = setUp({ random: 0.5 });
    for (const waitMs of [1_000, 1_600, 2_560, 4_096]) {
      const waiting = token.get();
      (await next()).fail(new Error("away"));
      expect((await failureOf(waiting)).code).toBe(status.UNAVAILABLE);
      time.ms += waitMs - 1;
      await failureOf(token.get());
      expect(fetches).toEqual([]);
      time.ms += 1.001;
    }
    for (let i = 0; i < 20; i += 1) {
      const waiting = token.get();
      (await next()).fail(new Error("away"));
      await failureOf(waiting);
      time.ms += 120_001;
    }
    await first("t-1", 1_000);
    time.ms += 2_000;
    const waiting = token.get();
    (await next()).fail(new Error("away"));
    await failureOf(waiting);
    time.ms += 1_001;
    await first("t-2", 1_000);
  });

  it.each([
    ["asks for half a minute", 30_000, 30_000],
    ["asks for a year, which is two minutes", 31_536_000_000, 120_000],
    ["asks for nothing", 0, 1_000],
  ])("K2 leaves an endpoint alone that %s", async (_name, retryAfterMs, waitMs) => {
    const { time, token, fetches, next, first } = setUp({ random: 0.5 });
    const waiting = token.get();
    (await next()).fail(new TokenFailure("it is busy", { retryAfterMs }));
    await failureOf(waiting);
    time.ms += waitMs - 1;
    await failureOf(token.get());
    expect(fetches).toEqual([]);
    time.ms += 2;
    await first("t-1");
  });

  it("K2 ends a fetch that never answers, and drops what it says later", async () => {
    const { token, next, settled, failures, first, time } = setUp({ timeoutMs: 50 });
    const waiting = token.get();
    const fetch = await next();
    const error = await failureOf(waiting);
    expect(error.details).toBe("no token: no answer within 50 ms");
    expect(fetch.signal.aborted).toBe(true);
    fetch.answer("late", 1_000);
    await settled();
    expect(failures).toHaveLength(1);
    expect((await failureOf(token.get())).details).toBe("no token: no answer within 50 ms");
    time.ms += 2_000;
    await first("t-2", 1_000);
  });

  it.each([
    ["has a line break", "s3cr3t\r\nx-role: admin", 1_000],
    ["is empty", "", 1_000],
    ["has a space", "s3cr3t s3cr3t", 1_000],
    ["has expired", "s3cr3t", 0],
    ["expired long ago", "s3cr3t", -1],
    ["has no time", "s3cr3t", Number.NaN],
  ])("K2 refuses a token that %s, and shows nothing of it", async (_name, value, lifeMs) => {
    const { token, next, failures } = setUp();
    const waiting = token.get();
    (await next()).answer(value, lifeMs);
    const error = await failureOf(waiting);
    expect(error.code).toBe(status.UNAVAILABLE);
    expect(
      `${inspect(error, { depth: 9 })} ${inspect(failures)} ${inspect(token, { showHidden: true })}`,
    ).not.toContain("s3cr3t");
  });

  it("K2 says of an error its kind alone", async () => {
    const { token, next } = setUp();
    const waiting = token.get();
    (await next()).fail(
      new TypeError("s3cr3t", {
        cause: Object.assign(new Error("s3cr3t"), { code: "ECONNREFUSED", s3cr3t: 1 }),
      }),
    );
    const error = await failureOf(waiting);
    expect(error.details).toBe("no token: it failed (ECONNREFUSED)");
    expect(inspect(error, { depth: 9 })).not.toContain("s3cr3t");
  });

  it("K5 is fetched anew when a server refused it, and used again only where that fails", async () => {
    const { time, token, next, first } = setUp({ random: 0.5 });
    await first("t-1", 3_600_000);
    time.ms += 10_000;
    token.renew();
    const [one, two] = [token.get(), token.get()];
    (await next()).fail(new Error("away"));
    expect(await Promise.all([one, two])).toEqual(["t-1", "t-1"]);
    time.ms += 1_001;
    await first("t-2", 3_600_000);
    expect(token.get()).toBe("t-2");
  });

  it("K5 is not fetched again for every call that a server refuses", async () => {
    const { time, token, fetches, first } = setUp();
    await first("t-1", 3_600_000);
    time.ms += 10_000;
    for (let i = 0; i < 100; i += 1) token.renew();
    await first("t-2", 3_600_000);
    time.ms += 9_999;
    for (let i = 0; i < 100; i += 1) {
      token.renew();
      expect(token.get()).toBe("t-2");
    }
    expect(fetches).toEqual([]);
  });

  it("K2 has expired when either clock says so", async () => {
    const now = { wallMs: 1_000_000, monotonicMs: 0 };
    let count = 0;
    const token = new RenewedToken({
      timeoutMs: 60_000,
      fetch: async () => ({ token: `t-${++count}`, lifeMs: 3_600_000 }),
      onFailure: () => {},
      clock: () => ({ ...now }),
    });
    expect(await token.get()).toBe("t-1");
    now.wallMs += 3_600_000;
    expect(await token.get()).toBe("t-2");
    now.wallMs -= 36_000_000;
    now.monotonicMs += 3_600_000;
    expect(await token.get()).toBe("t-3");
  });
});
