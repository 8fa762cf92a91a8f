// What a flood of refused calls leaves in log and audit.
import { Writable } from "node:stream";
import { status } from "@grpc/grpc-js";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { recordDecision } from "../../src/chain/context.ts";
import type { Outcome } from "../../src/chain/middleware.ts";
import { anonymousPrincipal } from "../../src/chain/principal.ts";
import { methodInfo } from "../../src/grpc/method.ts";
import { texts } from "../../src/grpc/status.ts";
import { audit } from "../../src/middleware/audit/audit.ts";
import type { AuditEntry } from "../../src/middleware/audit/audit-entry.ts";
import { logging } from "../../src/middleware/logging/logging.ts";
import { alice, type CallOptions, callFrom, outcomeOf } from "./ended-call.ts";

type Line = Readonly<Record<string, unknown>>;

/** Both layers, as a server has them, and what they wrote. */
function observed(): {
  end(call?: CallOptions, outcome?: Partial<Outcome>): void;
  lines: Line[];
  entries: AuditEntry[];
  /** The end of the window, and of the time in which the audit gathers a batch. */
  windowEnds(): Promise<void>;
  flush(): Promise<void>;
} {
  const lines: Line[] = [];
  const entries: AuditEntry[] = [];
  const sink = new Writable({
    write(chunk: Uint8Array, _encoding, done) {
      lines.push(JSON.parse(Buffer.from(chunk).toString()) as Line);
      done();
    },
  });
  const logger = pino(sink);
  const log = logging({ logger });
  const records = audit({
    logger,
    sinks: [
      {
        async write(batch) {
          entries.push(...batch);
        },
      },
    ],
  });
  return {
    end(options = {}, outcome = missingCredentials) {
      const call = callFrom(options);
      if (outcome.layer === "authorization")
        recordDecision(call, { effect: "deny", rule: outcome.reason ?? "/orders.v1.Orders/*" });
      log.onEnd?.(call, outcomeOf(outcome));
      records.onEnd?.(call, outcomeOf(outcome));
    },
    lines,
    entries,
    async windowEnds() {
      await vi.advanceTimersByTimeAsync(10_000);
      await vi.advanceTimersByTimeAsync(200);
    },
    async flush() {
      log.flush();
      await records.flush();
    },
  };
}

const missingCredentials: Partial<Outcome> = {
  endedBy: "layer",
  layer: "authentication",
  code: status.UNAUTHENTICATED,
  details: texts.missingCredentials,
};
const rateLimited: Partial<Outcome> = {
  endedBy: "layer",
  layer: "peer-rate-limit",
  code: status.RESOURCE_EXHAUSTED,
  details: texts.rateLimitExceeded,
};
const denied: Partial<Outcome> = {
  endedBy: "layer",
  layer: "authorization",
  code: status.PERMISSION_DENIED,
  details: texts.permissionDenied,
};

interface Row {
  readonly left_out?: unknown;
  readonly count?: unknown;
}

function single(rows: readonly Row[]): number {
  return rows.filter((row) => row.left_out === undefined && row.count === undefined).length;
}

/** How many calls the rows stand for. */
function all(rows: readonly Row[]): number {
  return rows.reduce((sum, row) => sum + Number(row.left_out ?? row.count ?? 1), 0);
}

beforeEach(() => {
  vi.useFakeTimers({ now: Date.parse("2026-11-01T00:00:00Z") });
});
afterEach(() => {
  vi.useRealTimers();
});

describe("a flood of refused calls of one peer", () => {
  const floods: readonly (readonly [string, Partial<Outcome>, CallOptions])[] = [
    ["without credentials", missingCredentials, {}],
    ["over its rate limit", rateLimited, {}],
    ["of callers who are let in without credentials", rateLimited, { principal: anonymousPrincipal }],
    [
      "with too much metadata",
      { ...rateLimited, layer: "metadata-limit", details: texts.metadataTooLarge },
      {},
    ],
    [
      "with a timeout that cannot be read",
      { ...rateLimited, layer: "deadline", code: status.INVALID_ARGUMENT, details: texts.malformedTimeout },
      {},
    ],
    ["that they cancel before they are verified", { endedBy: "caller", code: status.CANCELLED }, {}],
    [
      "that cannot be decoded",
      { endedBy: "transport", code: status.INTERNAL },
      { principal: anonymousPrincipal },
    ],
    [
      "that are health probes",
      { code: status.OK },
      { method: methodInfo("/grpc.health.v1.Health/Check", "unary", true) },
    ],
  ];
  it.each(floods)(
    "L12 U2 %s is written ten times in 10 s, and counted from then on",
    async (_what, outcome, call) => {
      const { end, lines, entries, windowEnds } = observed();
      for (let i = 0; i < 5_000; i++) end(call, outcome);
      await windowEnds();
      for (const rows of [lines, entries]) {
        expect(rows).toHaveLength(11);
        expect(single(rows)).toBe(10);
        expect(all(rows)).toBe(5_000);
      }
    },
  );

  it("L12 has one line and one entry at the end that say what was left out", async () => {
    const { end, lines, entries, windowEnds } = observed();
    for (let i = 0; i < 100; i++) {
      await vi.advanceTimersByTimeAsync(10);
      end();
    }
    await windowEnds();
    const times = ["2026-11-01T00:00:00.110Z", "2026-11-01T00:00:01.000Z"];
    const { level, msg, ...rest } = lines.at(-1) ?? {};
    expect({ level, msg }).toEqual({ level: 40, msg: "repeated calls: one line with their count" });
    expect(rest).toMatchObject({
      method: "/orders.v1.Orders/GetOrder",
      grpc_code: "UNAUTHENTICATED",
      details: "missing credentials",
      peer: "192.0.2.7",
      principal: null,
      ended_by: "layer",
      layer: "authentication",
      left_out: 90,
      first_time: times[0],
      last_time: times[1],
    });
    expect(entries.at(-1)).toMatchObject({
      method: "/orders.v1.Orders/GetOrder",
      status: "UNAUTHENTICATED",
      peer: "192.0.2.7",
      caller: null,
      decision: "deny",
      rule: "authentication",
      count: 90,
      firstTime: times[0],
      lastTime: times[1],
    });
  });

  it("L12 names no method where several were called", async () => {
    const { end, lines, entries, windowEnds } = observed();
    for (let i = 0; i < 100; i++) end({ method: methodInfo(`/made.up/${i}`, "unary", false) });
    await windowEnds();
    expect(lines.at(-1)).not.toHaveProperty("method");
    expect(entries.at(-1)?.method).toBe("other");
  });

  it("L12 tells reasons apart, so that a flood of one does not hide another", async () => {
    const { end, lines } = observed();
    for (let i = 0; i < 1_000; i++) end();
    end({}, rateLimited);
    expect(lines.at(-1)).toMatchObject({ layer: "peer-rate-limit" });
  });

  it("L12 tells peers apart: IPv4 addresses, and IPv6 networks of 64 bits", async () => {
    const { end, lines } = observed();
    for (let i = 0; i < 1_000; i++) end({ address: `2001:db8::${i.toString(16)}` });
    expect(lines).toHaveLength(10);
    end({ address: "2001:db8:0:1::1" });
    end({ address: "192.0.2.8" });
    expect(lines).toHaveLength(12);
  });

  it("L12 is written again in the next window", async () => {
    const { end, lines, windowEnds } = observed();
    for (let i = 0; i < 100; i++) end();
    await windowEnds();
    end();
    expect(lines.at(-1)).toMatchObject({ msg: "call ended" });
    await windowEnds();
    expect(lines).toHaveLength(12);
  });

  it("C9 is told whole by a flush, once", async () => {
    const { end, lines, entries, flush, windowEnds } = observed();
    for (let i = 0; i < 100; i++) end();
    await flush();
    await flush();
    await windowEnds();
    expect([all(lines), all(entries)]).toEqual([100, 100]);
    expect([lines.length, entries.length]).toEqual([11, 11]);
  });
});

describe("a flood of refused calls of many peers", () => {
  it("L10 L12 brings no line a call back, loses no count and frees nobody", async () => {
    const { end, lines, entries, windowEnds } = observed();
    for (let i = 0; i < 50; i++) end();
    for (let i = 0; i < 5_000; i++) end({ address: `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}` });
    for (let i = 0; i < 50; i++) end();
    expect(single(lines)).toBeLessThanOrEqual(1_000);
    await windowEnds();
    for (const rows of [lines, entries]) {
      expect(rows.length).toBeLessThanOrEqual(2_002);
      expect(all(rows)).toBe(5_100);
    }
    const rest = entries.filter(({ peer }) => peer === "other");
    expect(rest).toHaveLength(1);
    expect(rest[0]).toMatchObject({ caller: null, rule: "other", status: "UNAUTHENTICATED" });
    expect(lines.filter(({ peer }) => peer === "192.0.2.7").map(({ left_out }) => left_out ?? 1)).toEqual([
      ...Array(10).fill(1),
      90,
    ]);
  });
});

describe("what a verified caller is denied", () => {
  it("Z9 L12 is written one by one a hundred times in 10 s for each rule, then counted", async () => {
    const { end, lines, entries, windowEnds } = observed();
    for (let i = 0; i < 1_000; i++) end({ principal: alice }, denied);
    end({ principal: alice }, { ...denied, reason: "another rule" });
    expect(single(lines)).toBe(101);
    await windowEnds();
    expect([all(lines), all(entries)]).toEqual([1_001, 1_001]);
    expect(lines.at(-1)).toMatchObject({ principal: "alice", rule: "/orders.v1.Orders/*", left_out: 900 });
    expect(entries.find(({ count }) => count !== undefined)).toMatchObject({
      caller: { subject: "alice" },
      rule: "/orders.v1.Orders/*",
      count: 900,
    });
  });

  it("Z9 L12 is told of each method and each actor, however often another was denied", async () => {
    const { end, lines, entries, windowEnds } = observed();
    for (let i = 0; i < 200; i++) end({ principal: alice }, denied);
    const others = ["/orders.v1.Orders/CancelOrder", "/orders.v1.Orders/ExportOrders"];
    for (const path of others) end({ principal: alice, method: methodInfo(path, "unary", true) }, denied);
    expect(lines.slice(-2).map((line) => line["method"])).toEqual(others);
    end({ principal: alice, actor: { ...alice, subject: "till", kind: "service" } }, denied);
    await windowEnds();
    expect(entries.filter(({ method }) => others.includes(method))).toHaveLength(2);
    expect(entries.filter(({ actor }) => actor?.subject === "till")).toHaveLength(1);
    expect(all(entries)).toBe(203);
  });

  it("Z9 U2 is not pushed out by callers without identity, nor held against other callers", async () => {
    const { end, lines, entries, flush } = observed();
    for (let i = 0; i < 3_000; i++) end({ address: `10.0.${(i >> 8) & 255}.${i & 255}` });
    for (let i = 0; i < 1_000; i++) end({ principal: { ...alice, subject: "mallory" } }, denied);
    for (let i = 0; i < 50; i++) end({ principal: alice }, denied);
    await flush();
    expect(lines.filter(({ principal }) => principal === "alice")).toHaveLength(50);
    expect(entries.filter(({ caller }) => caller?.subject === "alice")).toHaveLength(50);
  });

  it("U4 does not keep what handlers answer from being written, however often", async () => {
    const { end, lines } = observed();
    for (let i = 0; i < 1_000; i++) end({ principal: alice }, { code: status.NOT_FOUND });
    for (let i = 0; i < 1_000; i++) end({ principal: anonymousPrincipal }, { code: status.OK });
    expect(lines).toHaveLength(2_000);
  });
});
