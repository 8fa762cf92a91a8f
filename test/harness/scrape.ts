// The usual Prometheus exporter of OpenTelemetry, scraped over HTTP as Prometheus does.
import { once } from "node:events";
import { createServer } from "node:http";
import { metrics } from "@opentelemetry/api";
import { PrometheusExporter } from "@opentelemetry/exporter-prometheus";
import { MeterProvider } from "@opentelemetry/sdk-metrics";

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Scraper {
  text(): Promise<string>;
  samples(): Promise<readonly Sample[]>;
  /** The value of one series; 0 where there is none. Labels that are not given may be anything. */
  value(name: string, labels?: Readonly<Record<string, string>>): Promise<number>;
  shutdown(): Promise<void>;
}

/** Becomes the global meter provider until `shutdown`. */
export async function startScraper(): Promise<Scraper> {
  // It takes port 0 for its default port, so it gets a server of ours.
  const exporter = new PrometheusExporter({ preventServerStart: true });
  const provider = new MeterProvider({ readers: [exporter] });
  metrics.disable();
  metrics.setGlobalMeterProvider(provider);
  const http = createServer((request, response) => exporter.getMetricsRequestHandler(request, response));
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  const address = http.address();
  if (address === null || typeof address === "string") throw new Error("expected a TCP address");
  const text = async (): Promise<string> => (await fetch(`http://127.0.0.1:${address.port}/metrics`)).text();
  const samples = async (): Promise<readonly Sample[]> => (await text()).split("\n").flatMap(parse);
  return {
    text,
    samples,
    async value(name, labels = {}) {
      const found = (await samples()).filter(
        (sample) =>
          sample.name === name &&
          Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
      );
      return found.reduce((sum, { value }) => sum + value, 0);
    },
    async shutdown() {
      metrics.disable();
      http.closeAllConnections();
      http.close();
      await provider.shutdown();
    },
  };
}

/** Prometheus text format: `name{label="value",…} 1`. */
function parse(line: string): readonly Sample[] {
  const [, name, list = "", value] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line) ?? [];
  if (name === undefined || value === undefined) return [];
  const labels = [...list.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key = "", text = ""]) => [
    key,
    text,
  ]);
  return [{ name, labels: Object.fromEntries(labels), value: Number(value) }];
}
