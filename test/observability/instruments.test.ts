// Instruments that are declared before an SDK is registered (U5).
import { type MeterProvider, metrics } from "@opentelemetry/api";
import { afterEach, describe, expect, it } from "vitest";
import { LazyInstruments, observed } from "../../src/observability/instruments.ts";
import { keepMetrics } from "../harness/kept-metrics.ts";

const instruments = new LazyInstruments((meter) => ({ counted: meter.createCounter("test.counted") }));
const series = observed("counter", "test.observed", { unit: "{thing}" });
const some = series({ kind: "some" });
const open = observed("up-down counter", "test.open", {})({});

function count(value: number): void {
  instruments.use(({ counted }) => counted.add(value, { kind: "some" }));
}

/** A provider of an SDK whose meters do only what is given here. */
function register(meter: object): void {
  metrics.disable();
  metrics.setGlobalMeterProvider({ getMeter: () => meter } as unknown as MeterProvider);
}

const fails = (): never => {
  throw new Error("broken SDK");
};

afterEach(() => metrics.disable());

describe("U5 instruments that were declared before the SDK", () => {
  it("count from the moment it is registered", async () => {
    count(5);
    const kept = keepMetrics();
    count(1);
    count(2);
    expect(await kept.points("test.counted")).toEqual([{ attributes: { kind: "some" }, value: 3 }]);
    await kept.close();
  });

  it("are read when it collects, with what was counted before", async () => {
    some.value = 7;
    open.value = 2;
    const kept = keepMetrics();
    // Any use lets all of them follow.
    count(1);
    expect(await kept.points("test.observed")).toEqual([{ attributes: { kind: "some" }, value: 7 }]);
    open.value = 1;
    expect(await kept.points("test.open")).toEqual([{ attributes: {}, value: 1 }]);
    await kept.close();
  });

  it("go to the provider that is registered next", async () => {
    const first = keepMetrics();
    count(1);
    const second = keepMetrics();
    count(4);
    expect(await second.points("test.counted")).toEqual([{ attributes: { kind: "some" }, value: 4 }]);
    await first.close();
    await second.close();
  });
});

describe("U5 an SDK that fails", () => {
  it.each<[string, object]>([
    ["cannot create instruments", { createCounter: fails, createObservableCounter: fails }],
    ["cannot count", { createCounter: () => ({ add: fails }), createObservableCounter: fails }],
  ])("does not affect whoever counts, where it %s", (_what, meter) => {
    register(meter);
    expect(() => count(1)).not.toThrow();
  });

  it("does not keep the next one from being used", async () => {
    register({ createCounter: fails, createObservableCounter: fails });
    count(1);
    const kept = keepMetrics();
    count(2);
    expect(await kept.points("test.counted")).toEqual([{ attributes: { kind: "some" }, value: 2 }]);
    await kept.close();
  });

  it("does not take other instruments with it", () => {
    const observedHere: unknown[] = [];
    register({
      createCounter: fails,
      createObservableCounter: () => ({ addCallback: (callback: unknown) => observedHere.push(callback) }),
      createObservableUpDownCounter: fails,
    });
    count(1);
    expect(observedHere).toHaveLength(1);
  });
});
