// Hands our histograms to the readers of an OpenTelemetry SDK whole, in place of each value by itself.
import { type Attributes, type HrTime, ValueType } from "@opentelemetry/api";
import type { HistogramCounts } from "./histogram-counts.ts";
import { countHistogramsHere, type LateHistogram, scope } from "./instruments.ts";

/**
 * What `metricProducers` of a metric reader takes: the `MetricProducer` of `@opentelemetry/sdk-metrics` 2. The shape
 * is written down here, so that nobody needs that package for the types of this one.
 */
export interface HistogramProducer {
  /** What was counted since the process started. Never rejects. */
  collect(): Promise<ProducedMetrics>;
}

/** The `CollectionResult` of `@opentelemetry/sdk-metrics`. */
export interface ProducedMetrics {
  resourceMetrics: {
    resource: ProducedResource;
    scopeMetrics: { scope: { name: string }; metrics: ProducedHistogram[] }[];
  };
  errors: unknown[];
}

/** Nobody's: a reader keeps its own. */
export interface ProducedResource {
  readonly attributes: Attributes;
  merge(): ProducedResource;
  getRawAttributes(): [];
}

/** The `HistogramMetricData` of `@opentelemetry/sdk-metrics`. */
export interface ProducedHistogram {
  readonly descriptor: {
    readonly name: string;
    readonly description: string;
    readonly unit: string;
    readonly valueType: ValueType;
  };
  /** `AggregationTemporality.CUMULATIVE` */
  readonly aggregationTemporality: 1;
  /** `DataPointType.HISTOGRAM` */
  readonly dataPointType: 0;
  readonly dataPoints: {
    readonly startTime: HrTime;
    readonly endTime: HrTime;
    readonly attributes: Attributes;
    readonly value: {
      buckets: { boundaries: number[]; counts: number[] };
      sum: number;
      count: number;
      min: number;
      max: number;
    };
  }[];
}

/** Longer than readers wait that are not told otherwise: a minute. */
const readWithinMs = 300_000;

/**
 * Has call durations and message sizes (the three histograms of gRFC A66) counted by Palisade, and read whole whenever
 * metrics are collected. An SDK sorts and serializes the attributes of each value that it is told, three times a call,
 * which is the larger part of what metrics cost; and it tells no more than 2,000 series of a metric apart by default.
 *
 * Once for a process, where the SDK is set up: from this call on the histograms are read from here, and no longer told
 * the global meter provider; all other metrics still are. Hand the producer to every reader that is to have them.
 * Values are cumulative, and views do not apply to them: leave it away where you need either. One that nothing has read
 * after five minutes is a process warning (`PALISADE_METRICS`): the histograms are lost then.
 *
 * @example
 * const reader = new PeriodicExportingMetricReader({ exporter, metricProducers: [metricProducer()] });
 * metrics.setGlobalMeterProvider(new MeterProvider({ readers: [reader] }));
 */
export function metricProducer(): HistogramProducer {
  const histograms = countHistogramsHere();
  const unread = setTimeout(warnOfUnread, readWithinMs).unref();
  return {
    async collect() {
      clearTimeout(unread);
      const endTime = hrTime(Date.now());
      const metrics = histograms
        .map((histogram) => produced(histogram, endTime))
        .filter(({ dataPoints }) => dataPoints.length > 0);
      const scopeMetrics = metrics.length === 0 ? [] : [{ scope: { name: scope }, metrics }];
      return { resourceMetrics: { resource, scopeMetrics }, errors: [] };
    },
  };
}

function warnOfUnread(): void {
  process.emitWarning(
    "metricProducer() was called five minutes ago and nothing has read its histograms: call durations and message sizes are in " +
      "no export. Hand what it returned to a metric reader: new PeriodicExportingMetricReader({ exporter, metricProducers: [it] })",
    { type: "PalisadeWarning", code: "PALISADE_METRICS" },
  );
}

const resource: ProducedResource = { attributes: {}, merge: () => resource, getRawAttributes: () => [] };

function produced(histogram: LateHistogram, endTime: HrTime): ProducedHistogram {
  const { name, options } = histogram;
  const { unit, description } = options;
  return {
    descriptor: { name, description, unit, valueType: ValueType.DOUBLE },
    aggregationTemporality: 1,
    dataPointType: 0,
    dataPoints: Array.from(histogram.counted(), ({ attributes, counts }) => ({
      startTime: hrTime(counts.startedAtMs),
      endTime,
      attributes,
      value: pointOf(counts),
    })),
  };
}

/** As it is now: a reader may keep it. */
function pointOf({
  boundaries,
  buckets,
  sum,
  count,
  min,
  max,
}: HistogramCounts): ProducedHistogram["dataPoints"][number]["value"] {
  return { buckets: { boundaries: [...boundaries], counts: [...buckets] }, sum, count, min, max };
}

function hrTime(epochMs: number): HrTime {
  const sec = Math.floor(epochMs / 1000);
  return [sec, (epochMs - sec * 1000) * 1_000_000];
}
