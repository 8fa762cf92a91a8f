import { status } from "@grpc/grpc-js";
import { type Meter, metrics as otel } from "@opentelemetry/api";
import {
  AggregationTemporality,
  DataPointType,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from "@opentelemetry/sdk-metrics";
import { afterEach, describe, expect, it } from "vitest";
import type { Middleware, Outcome } from "../../src/chain/middleware.ts";
import { methodInfo } from "../../src/grpc/method.ts";
import { countConnectionRefusal, metrics } from "../../src/middleware/metrics/metrics.ts";
import { type CallOptions, callFrom, outcomeOf } from "./ended-call.ts";

interface Point {
  readonly attributes: unknown;
  readonly value: unknown;
}

interface Sdk {
  read(
    name: string,
  ): Promise<{ readonly unit: string; readonly points: readonly Point[]; readonly boundaries: unknown }>;
}

let shutdown: (() => Promise<void>) | undefined;

function registerSdk(): Sdk {
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 });
  const provider = new MeterProvider({ readers: [reader] });
  otel.disable();
  expect(otel.setGlobalMeterProvider(provider)).toBe(true);
  shutdown = () => provider.shutdown();
  return {
    async read(name) {
      exporter.reset();
      await reader.forceFlush();
      const found = exporter
        .getMetrics()
        .flatMap((resource) => resource.scopeMetrics)
        .flatMap((scope) => scope.metrics)
        .find((metric) => metric.descriptor.name === name);
      if (found === undefined) throw new Error(`no metric ${name}`);
      if (found.dataPointType === DataPointType.HISTOGRAM) {
        return {
          unit: found.descriptor.unit,
          points: found.dataPoints.map(({ attributes, value }) => ({
            attributes,
            value: [value.count, value.sum],
          })),
          boundaries: found.dataPoints[0]?.value.buckets.boundaries,
        };
      }
      return {
        unit: found.descriptor.unit,
        points: found.dataPoints.map(({ attributes, value }) => ({ attributes, value })),
        boundaries: undefined,
      };
    },
  };
}

function pass(layer: Middleware, call: CallOptions = {}, outcome: Partial<Outcome> = {}): void {
  const context = callFrom(call);
  expect(layer.onCall?.(context)).toBeUndefined();
  layer.onEnd?.(context, outcomeOf(outcome));
}

afterEach(async () => {
  otel.disable();
  await shutdown?.();
  shutdown = undefined;
});

describe("metrics", () => {
  it("U5 counts calls by method, with the name and unit of gRFC A66", async () => {
    const sdk = registerSdk();
    const layer = metrics();
    pass(layer);
    pass(layer);
    pass(layer, { method: methodInfo("/orders.v1.Orders/ListOrders", "server_stream", true) });
    expect(await sdk.read("grpc.server.call.started")).toMatchObject({
      unit: "{call}",
      points: [
        { attributes: { "grpc.method": "orders.v1.Orders/GetOrder" }, value: 2 },
        { attributes: { "grpc.method": "orders.v1.Orders/ListOrders" }, value: 1 },
      ],
    });
  });

  it("U5 times calls in seconds by method and status, in the buckets of gRFC A66", async () => {
    const sdk = registerSdk();
    const layer = metrics();
    pass(layer, {}, { durationMs: 250 });
    pass(layer, {}, { durationMs: 500 });
    pass(layer, {}, { durationMs: 1_000, code: status.NOT_FOUND });
    const { unit, points, boundaries } = await sdk.read("grpc.server.call.duration");
    expect(unit).toBe("s");
    expect(points).toEqual([
      { attributes: { "grpc.method": "orders.v1.Orders/GetOrder", "grpc.status": "OK" }, value: [2, 0.75] },
      {
        attributes: { "grpc.method": "orders.v1.Orders/GetOrder", "grpc.status": "NOT_FOUND" },
        value: [1, 1],
      },
    ]);
    expect(boundaries).toEqual([
      0, 0.00001, 0.00005, 0.0001, 0.0003, 0.0006, 0.0008, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008,
      0.01, 0.013, 0.016, 0.02, 0.025, 0.03, 0.04, 0.05, 0.065, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.4,
      0.5, 0.65, 0.8, 1, 2, 5, 10, 20, 50, 100,
    ]);
  });

  it("U5 L10 calls every unknown method `other`, and every unknown code UNKNOWN", async () => {
    const sdk = registerSdk();
    const layer = metrics();
    for (let i = 0; i < 100; i++) {
      pass(layer, { method: methodInfo(`/made.up/${i}`, "unary", false) }, { code: 1_000 + i });
    }
    expect((await sdk.read("grpc.server.call.duration")).points).toMatchObject([
      { attributes: { "grpc.method": "other", "grpc.status": "UNKNOWN" } },
    ]);
    expect((await sdk.read("grpc.server.call.started")).points).toEqual([
      { attributes: { "grpc.method": "other" }, value: 100 },
    ]);
  });

  it("U5 counts calls that a layer refused, and no others", async () => {
    const sdk = registerSdk();
    const layer = metrics();
    pass(layer, {}, { code: status.UNAUTHENTICATED, endedBy: "layer", layer: "authentication" });
    pass(layer, {}, { code: status.RESOURCE_EXHAUSTED, endedBy: "layer", layer: "rate-limit" });
    pass(layer, {}, { code: status.NOT_FOUND, endedBy: "handler" });
    pass(layer, {}, { code: status.CANCELLED, endedBy: "caller" });
    expect((await sdk.read("palisade.rejections")).points).toEqual([
      { attributes: { "palisade.layer": "authentication", "grpc.status": "UNAUTHENTICATED" }, value: 1 },
      { attributes: { "palisade.layer": "rate-limit", "grpc.status": "RESOURCE_EXHAUSTED" }, value: 1 },
    ]);
  });

  it("C8 U5 counts refusals below the chain by reason", async () => {
    const sdk = registerSdk();
    countConnectionRefusal("tls_handshake");
    countConnectionRefusal("tls_handshake");
    countConnectionRefusal("content_type");
    expect((await sdk.read("palisade.connections.refused")).points).toEqual([
      { attributes: { reason: "tls_handshake" }, value: 2 },
      { attributes: { reason: "content_type" }, value: 1 },
    ]);
  });

  it("U5 works with an SDK that is registered after the layer was made and calls went by", async () => {
    const layer = metrics();
    pass(layer);
    const sdk = registerSdk();
    pass(layer);
    expect((await sdk.read("grpc.server.call.started")).points).toEqual([
      { attributes: { "grpc.method": "orders.v1.Orders/GetOrder" }, value: 1 },
    ]);
  });

  it("U5 follows an SDK that replaces another", async () => {
    const layer = metrics();
    registerSdk();
    pass(layer);
    await shutdown?.();
    const second = registerSdk();
    pass(layer);
    expect((await second.read("grpc.server.call.started")).points).toMatchObject([{ value: 1 }]);
  });

  const broken = (): never => {
    throw new Error("broken SDK");
  };
  it.each([
    ["cannot give a meter", { getMeter: broken }],
    ["cannot make instruments", { getMeter: () => ({ createCounter: broken, createHistogram: broken }) }],
    [
      "cannot record",
      {
        getMeter: () => ({
          createCounter: () => ({ add: broken }),
          createHistogram: () => ({ record: broken }),
        }),
      },
    ],
  ])("U5 never lets a call feel an SDK that %s", (_name, provider) => {
    otel.disable();
    expect(otel.setGlobalMeterProvider(provider as unknown as { getMeter(): Meter })).toBe(true);
    const layer = metrics();
    pass(layer, {}, { code: status.UNAUTHENTICATED, endedBy: "layer", layer: "authentication" });
    countConnectionRefusal("http2_error");
  });

  it("U5 hands the SDK the same attribute objects call after call", () => {
    const seen: unknown[] = [];
    const take = (_value: number, attributes: unknown): void => void seen.push(attributes);
    const meter = { createCounter: () => ({ add: take }), createHistogram: () => ({ record: take }) };
    otel.disable();
    otel.setGlobalMeterProvider({ getMeter: () => meter } as unknown as { getMeter(): Meter });
    const layer = metrics();
    pass(layer);
    pass(layer);
    // A counter and three histograms.
    expect(seen).toHaveLength(8);
    for (const [at, attributes] of seen.slice(4).entries()) expect(attributes).toBe(seen[at]);
  });
});
