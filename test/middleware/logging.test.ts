import { Writable } from "node:stream";
import { status } from "@grpc/grpc-js";
import { type Logger, pino } from "pino";
import { describe, expect, it } from "vitest";
import { recordDecision } from "../../src/chain/context.ts";
import type { Outcome } from "../../src/chain/middleware.ts";
import { ConfigError, CredentialError } from "../../src/grpc/errors.ts";
import { methodInfo } from "../../src/grpc/method.ts";
import { logging } from "../../src/middleware/logging/logging.ts";
import { alice, type CallOptions, callFrom, outcomeOf } from "./ended-call.ts";

type Line = Readonly<Record<string, unknown>>;

function logger(level = "trace"): { log: Logger; lines(): Line[]; text(): string } {
  const written: string[] = [];
  const sink = new Writable({
    write(chunk: Uint8Array, _encoding, done) {
      written.push(Buffer.from(chunk).toString());
      done();
    },
  });
  return {
    log: pino({ level, base: null, timestamp: false }, sink),
    lines: () => written.map((line) => JSON.parse(line) as Line),
    text: () => written.join(""),
  };
}

function lineOf(call: CallOptions, outcome: Partial<Outcome> = {}): Line {
  const { log, lines } = logger();
  logging({ logger: log }).onEnd?.(callFrom(call), outcomeOf(outcome));
  const [line, ...more] = lines();
  expect(more).toEqual([]);
  if (line === undefined) throw new Error("no line was logged");
  return line;
}

describe("logging", () => {
  it("U4 writes exactly this line for a call that went well", () => {
    const { log, lines } = logger();
    const traceId = "0af7651916cd43dd8448eb211c80319c";
    const call = callFrom({
      principal: alice,
      metadata: {
        "x-request-id": "req-1",
        traceparent: `00-${traceId}-b7ad6b7169203331-01`,
        authorization: "Bearer hunter2",
      },
    });
    recordDecision(call, { effect: "allow", rule: "/orders.v1.Orders/GetOrder" });
    logging({ logger: log }).onEnd?.(call, outcomeOf());
    expect(lines()).toEqual([
      {
        level: 30,
        msg: "call ended",
        method: "/orders.v1.Orders/GetOrder",
        duration_ms: 12.346,
        grpc_code: "OK",
        peer: "192.0.2.7",
        principal: "alice",
        scheme: "jwt",
        request_id: "req-1",
        trace_id: traceId,
        call_id: call.id,
      },
    ]);
  });

  it("U4 has its keys where nobody was verified, too", () => {
    const line = lineOf({ metadata: { "x-request-id": `evil ${"x".repeat(500)}` } });
    expect(line).toMatchObject({ principal: null, trace_id: null, request_id: line["call_id"] });
  });

  it("U4 says who refused, by which rule, and whether the caller heard of it", () => {
    const { log, lines } = logger();
    const call = callFrom({ principal: alice, actor: { ...alice, subject: "gateway", kind: "service" } });
    recordDecision(call, { effect: "deny", rule: "orders-write", reason: "needs order:write" });
    logging({ logger: log }).onEnd?.(
      call,
      outcomeOf({
        code: status.PERMISSION_DENIED,
        endedBy: "layer",
        layer: "authorization",
        delivered: false,
      }),
    );
    expect(lines()[0]).toMatchObject({
      actor: "gateway",
      grpc_code: "PERMISSION_DENIED",
      ended_by: "layer",
      layer: "authorization",
      rule: "orders-write",
      reason: "needs order:write",
      delivered: false,
    });
  });

  it("U4 has the text that the caller got, of a handler's own refusal too", () => {
    const line = lineOf({}, { code: status.NOT_FOUND, details: "no such item" });
    expect(line).toMatchObject({ level: 30, grpc_code: "NOT_FOUND", details: "no such item" });
  });

  it("U4 bounds that text, and takes out what looks like a secret or what a terminal obeys", () => {
    const details = `no account for password=hunter2 \u009b31m${"x".repeat(2_000)}`;
    const shown = String(lineOf({}, { code: status.INVALID_ARGUMENT, details })["details"]);
    expect(shown).toMatch(/^no account for password=\[redacted\] \ufffd31mx+…$/);
    expect(shown).toHaveLength(256);
  });

  it("U4 has no text where all went well", () => {
    expect(lineOf({}, { code: status.OK, details: "OK" })).not.toHaveProperty("details");
  });

  it("U4 describes an unexpected failure beside the id that the caller was told", () => {
    const cause = Object.assign(new Error("connect postgres://u:hunter2@db"), { config: { key: "hunter2" } });
    const line = lineOf({}, { code: status.INTERNAL, cause, errorId: "e-1" });
    expect(line).toMatchObject({
      level: 50,
      error_id: "e-1",
      err: { type: "Error", message: "connect postgres://[redacted]@db" },
    });
    expect(JSON.stringify(line)).toContain("logging.test.ts");
    expect(JSON.stringify(line)).not.toContain("hunter2");
  });

  it("A11 U4 has the reason of a refused credential, without a stack", () => {
    const cause = new CredentialError("invalid", "wrong issuer");
    const line = lineOf(
      {},
      { code: status.UNAUTHENTICATED, endedBy: "layer", layer: "authentication", cause },
    );
    expect(line["err"]).toMatchObject({ type: "CredentialError", message: "wrong issuer" });
    expect(JSON.stringify(line)).not.toContain("logging.test.ts");
  });

  it("U4 bounds what callers can choose, and takes secrets out of it", () => {
    const path = `/x/token=hunter2/${"m".repeat(10_000)}`;
    const line = lineOf({
      method: methodInfo(path, "unary", false),
      principal: { ...alice, subject: "s".repeat(10_000) },
    });
    expect(String(line["method"]).length).toBeLessThanOrEqual(256);
    expect(String(line["method"])).not.toContain("hunter2");
    expect(String(line["principal"])).toHaveLength(256);
  });

  it("U4 keeps one call to one line, whatever is in it", () => {
    const { log, text } = logger();
    logging({ logger: log }).onEnd?.(
      callFrom({ method: methodInfo('/x/y\n{"level":30}\r\n', "unary", false) }),
      outcomeOf(),
    );
    expect(text().trimEnd()).not.toMatch(/[\r\n]/);
  });

  const levels: readonly (readonly [Partial<Outcome>, number])[] = [
    [{ code: status.OK }, 30],
    [{ code: status.CANCELLED, endedBy: "caller" }, 30],
    [{ code: status.INVALID_ARGUMENT, endedBy: "layer" }, 30],
    [{ code: status.NOT_FOUND }, 30],
    [{ code: status.ALREADY_EXISTS }, 30],
    [{ code: status.FAILED_PRECONDITION }, 30],
    [{ code: status.ABORTED }, 30],
    [{ code: status.OUT_OF_RANGE }, 30],
    [{ code: status.UNIMPLEMENTED, endedBy: "layer" }, 30],
    [{ code: status.UNAUTHENTICATED, endedBy: "layer" }, 40],
    [{ code: status.PERMISSION_DENIED, endedBy: "layer" }, 40],
    [{ code: status.RESOURCE_EXHAUSTED, endedBy: "layer" }, 40],
    [{ code: status.DEADLINE_EXCEEDED, endedBy: "deadline" }, 40],
    [{ code: status.INTERNAL, endedBy: "transport" }, 30],
    [{ code: status.INTERNAL }, 50],
    [{ code: status.UNKNOWN }, 50],
    [{ code: status.DATA_LOSS }, 50],
    [{ code: status.UNAVAILABLE, endedBy: "layer" }, 50],
  ];
  it.each(levels)("U4 logs %o at level %i", (outcome, level) => {
    expect(lineOf({}, outcome)["level"]).toBe(level);
  });

  it("U4 does no work for a level that is off", () => {
    const { log, lines } = logger("warn");
    const call = callFrom();
    Object.defineProperty(call, "requestId", {
      get() {
        throw new Error("was read");
      },
    });
    logging({ logger: log }).onEnd?.(call, outcomeOf());
    expect(lines()).toEqual([]);
  });

  it.each([
    ["no logger", {}, "logging.logger: must be a pino logger"],
    ["console", { logger: console }, "logging.logger: must be a pino logger"],
    [
      "an unknown option",
      { logger: pino({ enabled: false }), payloads: true },
      "logging.payloads: unknown option",
    ],
  ])("refuses %s", (_name, options, message) => {
    expect(() => Reflect.apply(logging, undefined, [options])).toThrow(ConfigError);
    expect(() => Reflect.apply(logging, undefined, [options])).toThrow(message);
  });
});
