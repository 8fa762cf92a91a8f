import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { status } from "@grpc/grpc-js";
import { metrics as otel } from "@opentelemetry/api";
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from "@opentelemetry/sdk-metrics";
import { type Logger, pino } from "pino";
import { afterEach, describe, expect, it, vi } from "vitest";
import { ConfigError } from "../../../src/grpc/errors.ts";
import { type AuditMiddleware, type AuditOptions, audit } from "../../../src/middleware/audit/audit.ts";
import type { AuditEntry } from "../../../src/middleware/audit/audit-entry.ts";
import type { AuditFailure } from "../../../src/middleware/audit/audit-failures.ts";
import type { AuditSink } from "../../../src/middleware/audit/audit-sink.ts";
import { jsonLinesSink } from "../../../src/middleware/audit/json-lines-sink.ts";
import { alice, type CallOptions, callFrom, outcomeOf } from "../ended-call.ts";

const silent = pino({ enabled: false });

/** A sink that remembers, and does what `answer` says. */
class Recorder implements AuditSink {
  readonly name: string;
  readonly batches: (readonly AuditEntry[])[] = [];
  inFlight = 0;
  mostInFlight = 0;
  closed = 0;
  answer: () => Promise<void> = () => Promise.resolve();

  constructor(name = "recorder") {
    this.name = name;
  }

  async write(entries: readonly AuditEntry[]): Promise<void> {
    this.batches.push(entries);
    this.inFlight += 1;
    this.mostInFlight = Math.max(this.mostInFlight, this.inFlight);
    try {
      await this.answer();
    } finally {
      this.inFlight -= 1;
    }
  }

  async close(): Promise<void> {
    this.closed += 1;
  }

  get subjects(): unknown[] {
    return this.batches.flat().map((entry) => entry.caller?.subject);
  }
}

function layerWith(
  sink: AuditSink | readonly AuditSink[],
  options: Partial<AuditOptions> = {},
): AuditMiddleware {
  return audit({ sinks: "write" in sink ? [sink] : sink, logger: silent, ...options });
}

function end(layer: AuditMiddleware, call: CallOptions = {}): void {
  expect(layer.onEnd?.(callFrom(call), outcomeOf())).toBeUndefined();
}

function endAs(layer: AuditMiddleware, subject: string): void {
  end(layer, { principal: { ...alice, subject } });
}

function loggerTo(lines: Record<string, unknown>[]): Logger {
  const sink = new Writable({
    write(chunk: Uint8Array, _encoding, done) {
      lines.push(JSON.parse(Buffer.from(chunk).toString()) as Record<string, unknown>);
      done();
    },
  });
  return pino(sink);
}

const never = (): Promise<void> => new Promise(() => undefined);

function fakeTimers(): void {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
}

afterEach(() => {
  vi.useRealTimers();
});

describe("audit", () => {
  it("U1 U3 writes refused calls and good ones to a real file, and close() leaves none behind", async () => {
    const directory = mkdtempSync(join(tmpdir(), "audit-"));
    try {
      const path = join(directory, "audit.jsonl");
      const layer = layerWith(jsonLinesSink({ path }));
      end(layer, { principal: alice });
      layer.onEnd?.(
        callFrom(),
        outcomeOf({ code: status.UNAUTHENTICATED, endedBy: "layer", layer: "authentication" }),
      );
      await layer.close();
      const lines = readFileSync(path, "utf8").trimEnd().split("\n");
      expect(lines.map((line) => JSON.parse(line) as unknown)).toMatchObject([
        { caller: { subject: "alice" }, status: "OK", decision: "none" },
        { caller: null, status: "UNAUTHENTICATED", decision: "deny", rule: "authentication" },
      ]);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it("U2 writes in batches, one at a time, in order, and asks for no flush", async () => {
    const sink = new Recorder();
    fakeTimers();
    const layer = layerWith(sink);
    const subjects = Array.from({ length: 200 }, (_, i) => `user ${i}`);
    for (const subject of subjects) endAs(layer, subject);
    expect(sink.batches).toHaveLength(0);
    await vi.advanceTimersByTimeAsync(100);
    expect(sink.batches).toHaveLength(1);
    expect(sink.subjects).toEqual(subjects);
  });

  it("U2 never has two writes in flight for one sink", async () => {
    const sink = new Recorder();
    sink.answer = () => new Promise((resolve) => setImmediate(resolve));
    const layer = layerWith(sink);
    for (let i = 0; i < 2_000; i++) endAs(layer, String(i));
    const first = layer.flush();
    for (let i = 2_000; i < 3_000; i++) endAs(layer, String(i));
    await Promise.all([first, layer.flush(), layer.flush()]);
    expect(sink.mostInFlight).toBe(1);
    expect(sink.batches.length).toBeLessThan(20);
    expect(sink.subjects).toEqual(Array.from({ length: 3_000 }, (_, i) => String(i)));
  });

  it("U2 loses no entry that arrives in the moment when a write ends", async () => {
    const sink = new Recorder();
    const layer = layerWith(sink);
    for (let i = 0; i < 50; i++) {
      endAs(layer, `${i}`);
      const flushed = layer.flush();
      // Each of these lands in another microtask around the end of the run.
      for (let turn = 0; turn < i % 10; turn++) await Promise.resolve();
      endAs(layer, `${i} late`);
      await flushed;
      await layer.flush();
      expect(sink.subjects.slice(-2)).toEqual([`${i}`, `${i} late`]);
    }
  });

  it("U2 writes to the other sinks while one throws, one rejects and one hangs", async () => {
    const throws: AuditSink = {
      write() {
        throw new Error("synchronous");
      },
    };
    const rejects = new Recorder("rejects");
    rejects.answer = () => Promise.reject(new Error("away"));
    const hangs = new Recorder("hangs");
    hangs.answer = never;
    const good = new Recorder("good");
    fakeTimers();
    const layer = layerWith([throws, rejects, hangs, good]);
    endAs(layer, "1");
    await vi.advanceTimersByTimeAsync(100);
    endAs(layer, "2");
    await vi.advanceTimersByTimeAsync(100);
    expect(good.subjects).toEqual(["1", "2"]);
  });

  it("U2 tries a failed batch again, and three times at most", async () => {
    const sink = new Recorder();
    let failures = 2;
    sink.answer = () => (failures-- > 0 ? Promise.reject(new Error("away")) : Promise.resolve());
    const told: AuditFailure[] = [];
    fakeTimers();
    const layer = layerWith(sink, { onFailure: (failure) => told.push(failure) });
    endAs(layer, "1");
    await vi.advanceTimersByTimeAsync(5_000);
    expect(sink.subjects).toEqual(["1", "1", "1"]);
    expect(told).toEqual([]);

    failures = 3;
    endAs(layer, "2");
    await vi.advanceTimersByTimeAsync(5_000);
    endAs(layer, "3");
    await vi.advanceTimersByTimeAsync(5_000);
    expect(sink.subjects.slice(3)).toEqual(["2", "2", "2", "3"]);
    expect(told).toMatchObject([
      {
        sink: "recorder",
        reason: "write_failed",
        dropped: { identified: 1, anonymous: 0 },
        error: { message: "away" },
      },
    ]);
  });

  it("U2 keeps identified entries through a flood of anonymous refusals while the sink stands still", async () => {
    const sink = new Recorder();
    let goOn = (): void => undefined;
    sink.answer = () =>
      new Promise((resolve) => {
        goOn = resolve;
      });
    const layer = layerWith(sink, { queueLimit: 100 });
    endAs(layer, "stuck");
    const flushed = layer.flush();
    for (let i = 0; i < 50; i++) endAs(layer, `early ${i}`);
    for (let i = 0; i < 5_000; i++) end(layer, { address: `192.0.2.${i % 200}` });
    for (let i = 0; i < 50; i++) endAs(layer, `late ${i}`);
    sink.answer = () => Promise.resolve();
    goOn();
    await flushed;
    const identified = sink.subjects.filter((subject) => subject !== undefined);
    expect(identified).toHaveLength(101);
    const anonymous = sink.batches.flat().filter((entry) => entry.caller === null);
    expect(anonymous.length).toBeLessThanOrEqual(101);
    expect(anonymous.reduce((sum, entry) => sum + (entry.count ?? 1), 0)).toBe(5_000);
  });

  it("U2 reports losses at most once in a period, with their number", async () => {
    const sink = new Recorder();
    sink.answer = never;
    const told: AuditFailure[] = [];
    const lines: Record<string, unknown>[] = [];
    fakeTimers();
    const layer = layerWith(sink, {
      queueLimit: 2,
      onFailure: (failure) => told.push(failure),
      logger: loggerTo(lines),
    });
    endAs(layer, "in flight");
    await vi.advanceTimersByTimeAsync(100);
    for (let i = 0; i < 1_002; i++) endAs(layer, String(i));
    expect(told).toEqual([
      { sink: "recorder", reason: "queue_full", dropped: { identified: 1, anonymous: 0 } },
    ]);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(told.slice(1)).toMatchObject([{ dropped: { identified: 999, anonymous: 0 } }]);
    expect(lines.map(({ level, sink: name, dropped }) => ({ level, name, dropped }))).toEqual([
      { level: 50, name: "recorder", dropped: { identified: 1, anonymous: 0 } },
      { level: 50, name: "recorder", dropped: { identified: 999, anonymous: 0 } },
    ]);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(told).toHaveLength(2);
  });

  it("U2 reports a sink that does not answer", async () => {
    const sink = new Recorder();
    sink.answer = never;
    const told: AuditFailure[] = [];
    fakeTimers();
    const layer = layerWith(sink, { onFailure: (failure) => told.push(failure) });
    endAs(layer, "1");
    await vi.advanceTimersByTimeAsync(10_100);
    expect(told).toEqual([
      { sink: "recorder", reason: "write_hangs", dropped: { identified: 0, anonymous: 0 } },
    ]);
  });

  it("U2 U5 counts lost entries in palisade.audit.dropped by lane and reason", async () => {
    const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
    const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 });
    const provider = new MeterProvider({ readers: [reader] });
    otel.disable();
    otel.setGlobalMeterProvider(provider);
    try {
      const sink = new Recorder();
      sink.answer = never;
      const layer = layerWith(sink, { queueLimit: 10 });
      for (let i = 0; i < 12; i++) endAs(layer, String(i));
      for (let i = 0; i < 100; i++) end(layer);
      await layer.close(10);
      await reader.forceFlush();
      const points = exporter
        .getMetrics()
        .flatMap((resource) => resource.scopeMetrics)
        .flatMap((scope) => scope.metrics)
        .filter((metric) => metric.descriptor.name === "palisade.audit.dropped")
        .flatMap((metric) => metric.dataPoints.map(({ attributes, value }) => ({ ...attributes, value })));
      expect(points).toEqual([
        { lane: "identified", reason: "queue_full", value: 2 },
        { lane: "identified", reason: "closed", value: 10 },
        { lane: "anonymous", reason: "closed", value: 100 },
      ]);
    } finally {
      otel.disable();
      await provider.shutdown();
    }
  });

  it("U2 survives an onFailure that throws or rejects, and a logger that throws", async () => {
    const unhandled: unknown[] = [];
    const listen = (reason: unknown): void => void unhandled.push(reason);
    process.on("unhandledRejection", listen);
    try {
      const broken = {
        info: never,
        warn: never,
        child: never,
        isLevelEnabled: () => true,
        error() {
          throw new Error("broken logger");
        },
      } as unknown as Logger;
      let calls = 0;
      for (const onFailure of [
        () => {
          calls += 1;
          throw new Error("broken report");
        },
        async () => {
          calls += 1;
          throw new Error("broken report");
        },
      ]) {
        const sink = new Recorder();
        sink.answer = never;
        const layer = layerWith(sink, { queueLimit: 2, onFailure, logger: broken });
        for (let i = 0; i < 10; i++) endAs(layer, String(i));
        await layer.close(10);
      }
      expect(calls).toBeGreaterThanOrEqual(2);
      await new Promise((resolve) => setImmediate(resolve));
      expect(unhandled).toEqual([]);
    } finally {
      process.off("unhandledRejection", listen);
    }
  });

  it("U2 does not fail the process when a write rejects after its sink was given up", async () => {
    const unhandled: unknown[] = [];
    const listen = (reason: unknown): void => void unhandled.push(reason);
    process.on("unhandledRejection", listen);
    try {
      const sink = new Recorder();
      let fail = (_error: Error): void => undefined;
      sink.answer = () =>
        new Promise((_resolve, reject) => {
          fail = reject;
        });
      const layer = layerWith(sink);
      endAs(layer, "1");
      await layer.close(10);
      fail(new Error("late"));
      await new Promise((resolve) => setImmediate(resolve));
      expect(unhandled).toEqual([]);
      expect(sink.batches).toHaveLength(1);
    } finally {
      process.off("unhandledRejection", listen);
    }
  });

  it("C9 close() writes the rest, closes each sink once, and is bounded where one hangs", async () => {
    const hangs = new Recorder("hangs");
    hangs.answer = never;
    const good = new Recorder("good");
    const told: AuditFailure[] = [];
    const layer = layerWith([hangs, good], { onFailure: (failure) => told.push(failure) });
    for (let i = 0; i < 600; i++) endAs(layer, String(i));
    await Promise.all([layer.close(50), layer.close(50)]);
    await layer.close(50);
    expect(good.subjects).toHaveLength(600);
    expect([hangs.closed, good.closed]).toEqual([1, 1]);
    expect(told).toEqual([{ sink: "hangs", reason: "closed", dropped: { identified: 600, anonymous: 0 } }]);
  });

  it("C9 close() settles where closing a sink rejects or hangs", async () => {
    const rejects: AuditSink = {
      write: () => Promise.resolve(),
      close: () => Promise.reject(new Error("no")),
    };
    const hangs: AuditSink = { write: () => Promise.resolve(), close: never };
    const told: AuditFailure[] = [];
    await layerWith([rejects, hangs], { onFailure: (failure) => told.push(failure) }).close(20);
    expect(told).toMatchObject([{ sink: "sink 1", reason: "closed", error: { message: "no" } }]);
  });

  it("U2 counts entries that come after close()", async () => {
    const told: AuditFailure[] = [];
    const layer = layerWith(new Recorder(), { onFailure: (failure) => told.push(failure) });
    await layer.close();
    endAs(layer, "late");
    expect(told).toMatchObject([{ reason: "closed", dropped: { identified: 1 } }]);
  });

  it.each([
    ["no sink", { sinks: [], logger: silent }, "audit.sinks: needs at least one sink"],
    ["a sink without write", { sinks: [{}], logger: silent }, "audit.sinks.0: must be an audit sink"],
    ["no logger", { sinks: [new Recorder()] }, "audit.logger: must be a pino logger"],
    ["a queue of nothing", { sinks: [new Recorder()], logger: silent, queueLimit: 0 }, "audit.queueLimit: "],
    [
      "an unknown option",
      { sinks: [new Recorder()], logger: silent, payloads: true },
      "audit.payloads: unknown option",
    ],
  ])("refuses %s", (_name, options, message) => {
    expect(() => Reflect.apply(audit, undefined, [options])).toThrow(ConfigError);
    expect(() => Reflect.apply(audit, undefined, [options])).toThrow(message);
  });

  it.each([
    ["waits for a batch", () => Promise.resolve(), 1],
    ["hangs", never, 1_000],
    ["is about to be asked again", () => Promise.reject(new Error("away")), 1_000],
  ])("U2 keeps no process alive while a sink %s", async (_name, answer, entries) => {
    // Lists the timers that hold the process, and those alone.
    const timers = (): number => process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length;
    const before = timers();
    const sink = new Recorder();
    sink.answer = answer;
    const layer = layerWith(sink, { queueLimit: 2 });
    for (let i = 0; i < entries; i++) endAs(layer, String(i));
    if (entries > 1) void layer.flush();
    for (let turn = 0; turn < 20; turn++) await Promise.resolve();
    expect(timers()).toBe(before);
  });
});
