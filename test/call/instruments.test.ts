// Counters that keep what they counted until the SDK asks.
import { metrics } from "@opentelemetry/api";
import { afterEach, describe, expect, it } from "vitest";
import { LateCounter, LateObservable } from "../../src/call/instruments.ts";
import { keepMetrics } from "../harness/kept-metrics.ts";

const counter = new LateCounter("test.counted", { unit: "{thing}" });
const some = Object.freeze({ kind: "some" });
const other = Object.freeze({ kind: "other" });
// What counters keep is told by way of an observable.
new LateObservable("counter", "test.observed", {});

afterEach(() => metrics.disable());

describe("U5 a counter", () => {
  it("is what was added by the time of each collection, neither less nor twice", async () => {
    const kept = keepMetrics();
    counter.add(1, some);
    counter.add(2, some);
    counter.add(1, other);
    counter.add(1);
    const first = [
      { attributes: some, value: 3 },
      { attributes: other, value: 1 },
      { attributes: {}, value: 1 },
    ];
    expect(await kept.points("test.counted")).toEqual(first);
    expect(await kept.points("test.counted")).toEqual(first);
    counter.add(4, other);
    expect((await kept.points("test.counted"))[1]).toEqual({ attributes: other, value: 5 });
    await kept.close();
  });

  it("counts for the SDK that was registered at the time", async () => {
    counter.add(1, some);
    const first = keepMetrics();
    counter.add(10, some);
    metrics.disable();
    counter.add(100, some);
    const second = keepMetrics();
    counter.add(1000, some);
    expect(await second.points("test.counted")).toEqual([{ attributes: some, value: 1000 }]);
    expect(await first.points("test.counted")).toEqual([{ attributes: some, value: 10 }]);
    await first.close();
    await second.close();
  });

  it("leaves an SDK that fails", async () => {
    metrics.disable();
    metrics.setGlobalMeterProvider({
      getMeter: () =>
        ({
          createCounter: () => ({
            add: () => {
              throw new Error("broken");
            },
          }),
          createObservableCounter: () => ({ addCallback: () => {} }),
          createObservableUpDownCounter: () => ({ addCallback: () => {} }),
        }) as never,
    });
    counter.add(1, some);
    counter.add(1, other);
    const kept = keepMetrics();
    counter.add(7, some);
    expect(await kept.points("test.counted")).toEqual([{ attributes: some, value: 7 }]);
    await kept.close();
  });

  it("adds at once where the SDK cannot be had to ask", () => {
    const added: unknown[] = [];
    metrics.disable();
    metrics.setGlobalMeterProvider({
      getMeter: () =>
        ({
          createCounter: () => ({ add: (...addition: unknown[]) => added.push(addition) }),
          createObservableCounter: () => {
            throw new Error("not here");
          },
        }) as never,
    });
    counter.add(1, some);
    counter.add(2, some);
    expect(added).toEqual([
      [1, some],
      [2, some],
    ]);
  });
});
