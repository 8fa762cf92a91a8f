// Our histograms as the readers of a real OpenTelemetry SDK get them from `metricProducer` (U5): the same names, attributes,
// buckets and values as where the SDK counts them itself.
import { PrometheusExporter } from "@opentelemetry/exporter-prometheus";
import { DataPointType, MeterProvider, type MetricProducer } from "@opentelemetry/sdk-metrics";
import { afterEach, describe, expect, it, vi } from "vitest";
import { HistogramCounts } from "../../src/observability/histogram-counts.ts";
import { LateHistogram } from "../../src/observability/instruments.ts";
import { metricProducer } from "../../src/observability/metric-producer.ts";
import { type Meters, registerMeterProvider } from "../harness/meters.ts";

let ending: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ending) await end();
  ending = [];
});

/** Reads what a reader with these producers would export. */
function sdkWith(...metricProducers: MetricProducer[]): Meters["collect"] {
  const meters = registerMeterProvider(...metricProducers);
  ending.push(meters.shutdown);
  return meters.collect;
}

const boundaries = [0, 1, 10, 100];
const options = { unit: "By", description: "a test's", advice: { explicitBucketBoundaries: boundaries } };
const values = [0, 0.5, 1, 1.000_001, 10, 99, 100, 101, 1e9, Number.NaN, -1, Number.POSITIVE_INFINITY];

describe("metricProducer", () => {
  it("U5 gives a reader what an SDK that counts by itself would", async () => {
    const told = sdkWith();
    // Before anybody asked for a producer, the SDK is told each value.
    const before = new LateHistogram("palisade.test.told", options);
    const series = before.series({ method: "a", status: "OK" });
    for (const value of values) series.record(value);
    const [expected] = await told();
    expect(expected?.dataPointType).toBe(DataPointType.HISTOGRAM);

    const produced = sdkWith(metricProducer());
    const after = new LateHistogram("palisade.test.told", options);
    const counted = after.series({ method: "a", status: "OK" });
    after.series({ method: "a", status: "NOT_FOUND" });
    for (const value of values) counted.record(value);
    const [found, ...others] = await produced();
    expect(others).toEqual([]);
    expect(found).toEqual({
      ...expected,
      descriptor: {
        name: expected?.descriptor.name,
        unit: expected?.descriptor.unit,
        description: expected?.descriptor.description,
        valueType: expected?.descriptor.valueType,
      },
      dataPoints: [
        {
          ...expected?.dataPoints[0],
          startTime: [expect.any(Number), expect.any(Number)],
          endTime: [expect.any(Number), expect.any(Number)],
        },
      ],
    });
  });

  it("U5 is cumulative, for each of several readers", async () => {
    const producer = metricProducer();
    const histogram = new LateHistogram("palisade.test.cumulative", options);
    const series = histogram.series({ method: "b" });
    const first = sdkWith(producer);
    const second = sdkWith(producer);
    const countsOf = async (read: typeof first): Promise<unknown> =>
      (await read()).find(({ descriptor }) => descriptor.name === "palisade.test.cumulative")?.dataPoints[0]
        ?.value;
    series.record(5);
    expect(await countsOf(first)).toMatchObject({ count: 1, sum: 5 });
    series.record(50);
    const seen = await countsOf(first);
    series.record(0);
    expect(seen).toEqual({
      buckets: { boundaries, counts: [0, 0, 1, 1, 0] },
      count: 2,
      sum: 55,
      min: 5,
      max: 50,
    });
    expect(await countsOf(second)).toMatchObject({ count: 3, sum: 55, min: 0 });
  });

  it("U5 is read by the Prometheus exporter", async () => {
    const exporter = new PrometheusExporter({
      preventServerStart: true,
      metricProducers: [metricProducer()],
    });
    const provider = new MeterProvider({ readers: [exporter] });
    ending.push(() => provider.shutdown());
    const series = new LateHistogram("palisade.test.scraped", options).series({ method: "c" });
    series.record(7);
    const { resourceMetrics, errors } = await exporter.collect();
    expect(errors).toEqual([]);
    expect(
      resourceMetrics.scopeMetrics.flatMap(({ scope, metrics }) => [
        scope.name,
        ...metrics.map(({ descriptor }) => descriptor.name),
      ]),
    ).toEqual(expect.arrayContaining(["grpc-palisade", "palisade.test.scraped"]));
  });
});

describe("HistogramCounts", () => {
  it.each([
    [0, 0],
    [0.1, 1],
    [1, 1],
    [1.1, 2],
    [10, 2],
    [100, 3],
    [100.1, 4],
    [Number.POSITIVE_INFINITY, 4],
  ])("puts %d into bucket %d: a boundary belongs to the bucket below", (value, bucket) => {
    const counts = new HistogramCounts(boundaries);
    counts.record(value);
    expect(counts.buckets.indexOf(1)).toBe(bucket);
  });

  it("passes over what is no count of anything", () => {
    const counts = new HistogramCounts(boundaries);
    for (const value of [Number.NaN, -0.1, Number.NEGATIVE_INFINITY]) counts.record(value);
    expect(counts).toMatchObject({ count: 0, sum: 0, buckets: [0, 0, 0, 0, 0] });
  });
});

describe("a metricProducer that nothing reads", () => {
  afterEach(() => vi.useRealTimers());

  it.each([
    ["is spoken of after five minutes", false, ["PALISADE_METRICS"]],
    ["is not, once it was read", true, []],
  ])("U5 %s", async (_, read, expected) => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const codes: unknown[] = [];
    const note = (warning: Error & { code?: string }): unknown => codes.push(warning.code);
    process.on("warning", note);
    const producer = metricProducer();
    vi.advanceTimersByTime(299_000);
    if (read) await producer.collect();
    vi.advanceTimersByTime(1_000);
    // Warnings are told in the next tick.
    await new Promise((resolve) => setImmediate(resolve));
    process.off("warning", note);
    expect(codes).toEqual(expected);
  });
});
