// Ordinary lines are written past pino: they must be what pino writes, whatever logger it is.
import { channel } from "node:diagnostics_channel";
import { type DestinationStream, type Logger, multistream, pino, symbols } from "pino";
import { afterEach, describe, expect, it, vi } from "vitest";
import { anonymousPrincipal } from "../../src/chain/principal.ts";
import { logging } from "../../src/middleware/logging/logging.ts";
import { PlainLines } from "../../src/middleware/logging/plain-lines.ts";
import { alice, type CallOptions, callFrom, outcomeOf } from "./ended-call.ts";

type Make = (to: DestinationStream) => Logger;

const plain: readonly [string, Make][] = [
  ["as it comes", (to) => pino({}, to)],
  ["a child with bindings", (to) => pino({}, to).child({ service: 'or"ders', deep: { a: [1, "b"] } })],
  ["another message key", (to) => pino({ messageKey: "message" }, to)],
  ["ISO time", (to) => pino({ timestamp: pino.stdTimeFunctions.isoTime }, to)],
  ["no time and no base", (to) => pino({ timestamp: false, base: null }, to)],
  ["levels by name", (to) => pino({ formatters: { level: (label) => ({ severity: label }) } }, to)],
  ["bindings of its own form", (to) => pino({ formatters: { bindings: () => ({ host: "h" }) } }, to)],
  ["CRLF", (to) => pino({ crlf: true }, to)],
  ["a serializer for another field", (to) => pino({ serializers: { user: () => "u" } }, to)],
];

const own: readonly [string, Make][] = [
  ["redaction", (to) => pino({ redact: ["principal"] }, to)],
  ["redaction by wildcard", (to) => pino({ redact: ["*.principal", "*"] }, to)],
  ["a serializer", (to) => pino({ serializers: { peer: () => "somewhere" } }, to)],
  ["a child's serializer", (to) => pino({}, to).child({}, { serializers: { method: () => "m" } })],
  ["a formatter", (to) => pino({ formatters: { log: (line) => ({ ...line, more: 1 }) } }, to)],
  ["a mixin", (to) => pino({ mixin: () => ({ more: 1 }) }, to)],
  ["a prefix", (to) => pino({ msgPrefix: "orders: " }, to)],
  ["a child's prefix", (to) => pino({}, to).child({}, { msgPrefix: "orders: " })],
  ["a nested key", (to) => pino({ nestedKey: "payload" }, to)],
  [
    "a hook for arguments",
    (to) => pino({ hooks: { logMethod: (args, log) => log.apply(pino({}, to), args) } }, to),
  ],
  ["a hook for lines", (to) => pino({ hooks: { streamWrite: (line) => line.toUpperCase() } }, to)],
  ["several streams", (to) => pino({}, multistream([{ stream: to }]))],
];

const calls: readonly [string, CallOptions][] = [
  ["nobody", {}],
  ["alice", { principal: alice }],
  ["a subject to escape", { principal: { ...alice, subject: 'a"\\\u0001\n\u2028é\u{1f600}' } }],
  ["a long subject", { principal: { ...alice, subject: "s".repeat(500) } }],
  ["an anonymous one", { principal: anonymousPrincipal }],
  [
    "ids of the caller's",
    { metadata: { "x-request-id": "req-1/2:3", traceparent: `00-${"ab".repeat(16)}-${"cd".repeat(8)}-01` } },
  ],
  ["an id that is not taken over", { metadata: { "x-request-id": 'x"y' } }],
];

/** What logging writes, and what pino writes where the lines past it are off. */
function bothWays(
  make: Make,
  call: CallOptions,
): { readonly lines: readonly string[]; readonly fast: boolean } {
  const lines: string[] = [];
  const to = { write: (line: string) => void lines.push(line) };
  const ended = callFrom(call);
  const written = vi.spyOn(PlainLines.prototype, "write");
  vi.setSystemTime(1_700_000_000_000);
  logging({ logger: make(to) }).onEnd?.(ended, outcomeOf());
  const fast = written.mock.results.some(({ value }) => value === true);
  vi.spyOn(PlainLines, "for").mockReturnValue(undefined);
  logging({ logger: make(to) }).onEnd?.(ended, outcomeOf());
  vi.restoreAllMocks();
  return { lines, fast };
}

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

describe.each(calls)("U4 a call of %s", (_who, call) => {
  it.each(plain)("is logged past pino, as pino does it: %s", (_name, make) => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const { lines, fast } = bothWays(make, call);
    expect(fast).toBe(true);
    expect(lines).toHaveLength(2);
    expect(lines[0]).toBe(lines[1]);
  });

  it.each(own)("is logged by pino where the logger has a way of its own: %s", (_name, make) => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const { lines, fast } = bothWays(make, call);
    expect(fast).toBe(false);
    expect(lines).toHaveLength(2);
    expect(lines[0]).toBe(lines[1]);
  });
});

describe("U4 a logger that changes", () => {
  it("is asked again once somebody put a function of his own in its place", () => {
    const lines: string[] = [];
    const logger = pino({}, { write: (line: string) => void lines.push(line) });
    const layer = logging({ logger });
    const heard = vi.spyOn(logger, "info");
    layer.onEnd?.(callFrom({}), outcomeOf());
    expect(heard).toHaveBeenCalledOnce();
    expect(lines).toHaveLength(1);
  });

  it("gets no line once its level is higher, and gets them again", () => {
    const lines: string[] = [];
    const logger = pino({}, { write: (line: string) => void lines.push(line) });
    const layer = logging({ logger });
    logger.level = "error";
    layer.onEnd?.(callFrom({}), outcomeOf());
    expect(lines).toEqual([]);
    logger.level = "info";
    layer.onEnd?.(callFrom({}), outcomeOf());
    expect(lines).toHaveLength(1);
  });

  it("has its bindings of the moment in the line", () => {
    const lines: string[] = [];
    const logger = pino({}, { write: (line: string) => void lines.push(line) });
    const layer = logging({ logger });
    logger.setBindings({ shard: 7 });
    layer.onEnd?.(callFrom({}), outcomeOf());
    expect(JSON.parse(lines[0] ?? "")).toMatchObject({ shard: 7, msg: "call ended" });
  });

  it("is watched through pino's diagnostics channel", () => {
    const seen: unknown[] = [];
    const watch = (event: unknown): void => void seen.push(event);
    const started = channel("tracing:pino_asJson:start");
    const layer = logging({ logger: pino({}, { write() {} }) });
    started.subscribe(watch);
    layer.onEnd?.(callFrom({}), outcomeOf());
    started.unsubscribe(watch);
    expect(seen).toHaveLength(1);
  });

  it("is left to pino where pino is not the one that we know", () => {
    const logger = pino({}, { write() {} });
    Object.defineProperty(logger, symbols.asJsonSym, { value: () => "{}" });
    expect(PlainLines.for(logger, { method: "m" })).toBeUndefined();
    const other = pino({}, { write() {} });
    Object.defineProperty(other, symbols.lsCacheSym, { value: undefined });
    expect(PlainLines.for(other, { method: "m" })).toBeUndefined();
  });
});
