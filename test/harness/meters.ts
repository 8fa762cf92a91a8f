// A real OpenTelemetry SDK for one test: what our instruments recorded, to look at.
import { metrics as otel } from "@opentelemetry/api";
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  type MetricData,
  PeriodicExportingMetricReader,
} from "@opentelemetry/sdk-metrics";

export interface Point {
  readonly attributes: Readonly<Record<string, unknown>>;
  /** A counter's sum; a histogram's `{ count, sum, … }`. */
  readonly value: unknown;
}

export interface Meters {
  /** Everything as it would be exported. */
  collect(): Promise<readonly MetricData[]>;
  names(): Promise<readonly string[]>;
  /** The points of an instrument; none where it recorded nothing. */
  read(name: string): Promise<{ readonly unit: string; readonly points: readonly Point[] }>;
  shutdown(): Promise<void>;
}

/** Becomes the global meter provider until `shutdown`. */
export function registerMeterProvider(): Meters {
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  const reader = new PeriodicExportingMetricReader({
    exporter,
    exportIntervalMillis: 3_600_000,
  });
  const provider = new MeterProvider({ readers: [reader] });
  otel.disable();
  otel.setGlobalMeterProvider(provider);
  const collect = async (): Promise<readonly MetricData[]> => {
    exporter.reset();
    await reader.forceFlush();
    return exporter
      .getMetrics()
      .flatMap(({ scopeMetrics }) => scopeMetrics)
      .flatMap(({ metrics }) => metrics);
  };
  return {
    collect,
    names: async () => (await collect()).map(({ descriptor }) => descriptor.name),
    async read(name) {
      const found = (await collect()).find(({ descriptor }) => descriptor.name === name);
      return {
        unit: found?.descriptor.unit ?? "",
        points: (found?.dataPoints ?? []).map(({ attributes, value }) => ({ attributes, value })),
      };
    },
    async shutdown() {
      otel.disable();
      await provider.shutdown();
    },
  };
}
