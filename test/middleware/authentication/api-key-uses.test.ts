// When keys were used last: recorded in batches, whatever the store does.
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { apiKey } from "../../../src/middleware/authentication/api-key.ts";
import { type ApiKeyUse, ApiKeyUses } from "../../../src/middleware/authentication/api-key-uses.ts";
import { issueApiKey } from "../../../src/middleware/authentication/memory-api-key-store.ts";
import { followMeterProvider } from "../../../src/observability/instruments.ts";
import { keepMetrics } from "../../harness/kept-metrics.ts";
import { keptLog } from "../../harness/secured.ts";
import { incomingCall, verdict } from "./incoming-call.ts";

describe("A3 the last use of API keys", () => {
  afterEach(() => {
    vi.useRealTimers();
  });
  const call = incomingCall();
  const record = vi.fn<(uses: readonly ApiKeyUse[]) => Promise<void>>();
  beforeEach(() => {
    vi.useFakeTimers();
    record.mockReset().mockResolvedValue();
  });

  it("is handed in once for each key after ten seconds, with its newest time", async () => {
    const uses = new ApiKeyUses(record);
    uses.note("a", 1, call);
    uses.note("b", 2, call);
    uses.note("a", 3, call);
    await vi.advanceTimersByTimeAsync(9_999);
    expect(record).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1);
    expect(record.mock.calls).toEqual([
      [
        [
          { id: "a", at: 3 },
          { id: "b", at: 2 },
        ],
      ],
    ]);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(record).toHaveBeenCalledTimes(1);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("is handed in when the server closes", async () => {
    const uses = new ApiKeyUses(record);
    uses.note("a", 1, call);
    await uses.close();
    expect(record.mock.calls).toEqual([[[{ id: "a", at: 1 }]]]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("is handed in again after a failure, which is logged once", async () => {
    const { logger, lines } = keptLog();
    const logged = incomingCall({}, { logger });
    record.mockRejectedValueOnce(new Error("away")).mockRejectedValueOnce(new Error("away"));
    const uses = new ApiKeyUses(record);
    uses.note("a", 1, logged);
    await vi.advanceTimersByTimeAsync(10_000);
    uses.note("a", 0, logged);
    uses.note("b", 2, logged);
    await vi.advanceTimersByTimeAsync(20_000);
    expect(record.mock.calls.at(-1)).toEqual([
      [
        { id: "a", at: 1 },
        { id: "b", at: 2 },
      ],
    ]);
    expect(record).toHaveBeenCalledTimes(3);
    expect(lines.map(({ msg, err }) => [msg, err])).toEqual([
      ["the API key store cannot record when keys were used", expect.objectContaining({ message: "away" })],
    ]);
  });

  it("is kept for ten thousand keys at most while the store hangs, which gets one batch at a time", async () => {
    record.mockReturnValue(new Promise(() => {}));
    const uses = new ApiKeyUses(record);
    uses.note("first", 1, call);
    await vi.advanceTimersByTimeAsync(10_000);
    for (let i = 0; i < 20_000; i++) uses.note(`key ${i}`, 1, call);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(record).toHaveBeenCalledTimes(1);
    const closed = uses.close();
    await vi.advanceTimersByTimeAsync(5_000);
    await closed;
    expect(record).toHaveBeenCalledTimes(1);
  });

  it("at the end is at most ten thousand keys", async () => {
    const uses = new ApiKeyUses(record);
    for (let i = 0; i < 20_000; i++) uses.note(`key ${i}`, 1, call);
    await uses.close();
    expect(record.mock.calls[0]?.[0]).toHaveLength(10_000);
  });

  it("U5 is counted by batches, and so is each failure", async () => {
    const kept = keepMetrics();
    // As each call that is measured does.
    followMeterProvider();
    const counted = async (): Promise<Readonly<Record<string, number>>> => {
      // Of the SDK's own timers.
      vi.useRealTimers();
      const points = await kept.points("palisade.api_key.use_batches");
      vi.useFakeTimers();
      return Object.fromEntries(
        points.map(({ attributes, value }) => [Object.values(attributes as object)[0], value]),
      );
    };
    const { recorded = 0, failed = 0 } = await counted();
    record.mockRejectedValueOnce(new Error("away")).mockRejectedValueOnce(new Error("away"));
    const uses = new ApiKeyUses(record);
    uses.note("a", 1, call);
    await vi.advanceTimersByTimeAsync(20_000);
    expect(await counted()).toEqual({ recorded, failed: failed + 2 });
    uses.note("a", 2, call);
    await uses.close();
    expect(await counted()).toEqual({ recorded: recorded + 1, failed: failed + 2 });
    vi.useRealTimers();
    await kept.close();
  });

  it.each<[string, () => Promise<void>]>([
    [
      "throws",
      () => {
        throw new Error("away");
      },
    ],
    ["rejects", () => Promise.reject(new Error("away"))],
    ["never answers", () => new Promise(() => {})],
  ])("affects no call where the store %s", async (_what, recordUse) => {
    const { key, record: good } = issueApiKey({ owner: "shop" });
    const authenticator = apiKey({ store: { find: () => good, recordUse } });
    for (let i = 0; i < 3; i++) {
      expect(await verdict(authenticator, incomingCall({ "x-api-key": key }))).toBe("good: shop");
      await vi.advanceTimersByTimeAsync(10_000);
    }
    const closed = authenticator.close?.();
    await vi.advanceTimersByTimeAsync(5_000);
    await closed;
  });

  it("is recorded before the store is closed with its server", async () => {
    const done: string[] = [];
    const { key, record: good } = issueApiKey({ owner: "shop" });
    const store = {
      find: () => good,
      recordUse: async (uses: readonly ApiKeyUse[]) => void done.push(...uses.map(({ id }) => id)),
      close: () => void done.push("closed"),
    };
    const authenticator = apiKey({ store });
    expect(await verdict(authenticator, incomingCall({ "x-api-key": key }))).toBe("good: shop");
    await authenticator.close?.();
    expect(done).toEqual([good.id, "closed"]);
  });

  it("is not recorded of a key that was refused", async () => {
    const recordUse = vi.fn();
    const { key, record: good } = issueApiKey({ owner: "shop", networks: ["192.0.2.1"] });
    const authenticator = apiKey({ store: { find: () => good, recordUse } });
    expect(await verdict(authenticator, incomingCall({ "x-api-key": key }))).toBe("invalid");
    await authenticator.close?.();
    expect(recordUse).not.toHaveBeenCalled();
  });
});
