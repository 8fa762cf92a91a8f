// Counters that keep what they counted until the SDK asks.
import { metrics } from "@opentelemetry/api";
import { afterEach, describe, expect, it } from "vitest";
import { LateCounter, LateObservable } from "../../src/observability/instruments.ts";
import { keepMetrics } from "../harness/kept-metrics.ts";

const counter = new LateCounter("test.counted", { unit: "{thing}" });
const some = counter.series({ kind: "some" });
const other = counter.series({ kind: "other" });
const plain = counter.series({});
// What counters keep is told by way of an observable.
new LateObservable("counter", "test.observed", {});

afterEach(() => metrics.disable());

describe("U5 a counter", () => {
  it("is what was added by the time of each collection, neither less nor twice", async () => {
    const kept = keepMetrics();
    some.add(1);
    some.add(2);
    other.add(1);
    plain.add(1);
    const first = [
      { attributes: some.attributes, value: 3 },
      { attributes: other.attributes, value: 1 },
      { attributes: {}, value: 1 },
    ];
    expect(await kept.points("test.counted")).toEqual(first);
    expect(await kept.points("test.counted")).toEqual(first);
    other.add(4);
    expect((await kept.points("test.counted"))[1]).toEqual({ attributes: other.attributes, value: 5 });
    await kept.close();
  });

  it("counts for the SDK that was registered at the time", async () => {
    some.add(1);
    const first = keepMetrics();
    some.add(10);
    metrics.disable();
    some.add(100);
    const second = keepMetrics();
    some.add(1000);
    expect(await second.points("test.counted")).toEqual([{ attributes: some.attributes, value: 1000 }]);
    expect(await first.points("test.counted")).toEqual([{ attributes: some.attributes, value: 10 }]);
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
    some.add(1);
    other.add(1);
    const kept = keepMetrics();
    some.add(7);
    expect(await kept.points("test.counted")).toEqual([{ attributes: some.attributes, value: 7 }]);
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
    some.add(1);
    some.add(2);
    expect(added).toEqual([
      [1, some.attributes],
      [2, some.attributes],
    ]);
  });
});
