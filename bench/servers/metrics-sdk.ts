// A real OpenTelemetry SDK, read when the instrument says so: on a timer, the cost would fall on some rounds and not on
// others. Each turn carries its share of it (`measured`).
import { metrics } from "@opentelemetry/api";
import { MeterProvider, MetricReader } from "@opentelemetry/sdk-metrics";

class AskedReader extends MetricReader {
  protected override async onShutdown(): Promise<void> {}
  protected override async onForceFlush(): Promise<void> {}
}

/** Registers it for the process. Returns what collects every metric once. */
export function registerMetricsSdk(): () => Promise<unknown> {
  const reader = new AskedReader();
  metrics.setGlobalMeterProvider(new MeterProvider({ readers: [reader] }));
  return () => reader.collect();
}
