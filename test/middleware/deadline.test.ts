import { Metadata, status } from "@grpc/grpc-js";
import { pino } from "pino";
import { describe, expect, it } from "vitest";
import { Call } from "../../src/chain/context.ts";
import { ConfigError, StatusError } from "../../src/grpc/errors.ts";
import { type MethodInfo, type MethodKind, methodInfo } from "../../src/grpc/method.ts";
import { type DeadlineOptions, deadline, deadlineSchema } from "../../src/middleware/deadline/deadline.ts";

function callTo(method: MethodInfo, timeoutMs: number | undefined | "malformed"): Call {
  return new Call({
    method,
    peer: { address: "192.0.2.1", port: 1, secure: true, certificate: undefined },
    metadata: new Metadata(),
    metadataBytes: 0,
    timeoutMs,
    logger: pino({ enabled: false }),
  });
}

const methodOf = (kind: MethodKind): MethodInfo => methodInfo("/orders.v1.Orders/Any", kind, true);

/** How long the call may last in the end, in milliseconds. */
function lasts(method: MethodInfo, timeoutMs: number | undefined, options?: DeadlineOptions): number {
  const call = callTo(method, timeoutMs);
  expect(deadline(options).onCall?.(call)).toBeUndefined();
  return call.deadline - call.startedAt;
}

describe("L6 every call has an end", () => {
  const cases: readonly (readonly [MethodKind, number | undefined, DeadlineOptions | undefined, number])[] = [
    ["unary", undefined, undefined, 60_000],
    ["client_stream", undefined, undefined, 3_600_000],
    ["server_stream", undefined, undefined, 3_600_000],
    ["bidi_stream", undefined, undefined, 3_600_000],
    ["unary", 1000, undefined, 1000],
    ["unary", 0, undefined, 0],
    ["unary", 60_001, undefined, 60_000],
    ["unary", 2_592_000_000, undefined, 60_000],
    ["bidi_stream", 2_592_000_000, undefined, 3_600_000],
    ["unary", undefined, { maxUnaryMs: 10 }, 10],
    ["server_stream", undefined, { maxUnaryMs: 10 }, 3_600_000],
    ["client_stream", 500, { maxStreamMs: 20 }, 20],
    ["unary", 1000, { required: true }, 1000],
  ];
  it.each(cases)(
    "L6 a %s call with %s ms under %j lasts %i ms at most",
    (kind, timeoutMs, options, expected) => {
      expect(lasts(methodOf(kind), timeoutMs, options)).toBe(expected);
    },
  );

  it.each(["unary", "client_stream", "server_stream", "bidi_stream"] as const)(
    "L6 refuses a %s call without a deadline where one is required",
    (kind) => {
      try {
        deadline({ required: true }).onCall?.(callTo(methodOf(kind), undefined));
      } catch (error) {
        expect(error).toBeInstanceOf(StatusError);
        expect(error).toMatchObject({ code: status.INVALID_ARGUMENT, details: "deadline required" });
        return;
      }
      expect.unreachable("the call was let in");
    },
  );

  it("L6 refuses a malformed grpc-timeout instead of passing over it, of health probes too", () => {
    for (const method of [methodOf("unary"), methodInfo("/grpc.health.v1.Health/Check", "unary", true)]) {
      const call = callTo(method, "malformed");
      expect(() => deadline().onCall?.(call)).toThrow("malformed grpc-timeout");
      expect(() => deadline({ required: true }).onCall?.(call)).toThrow("malformed grpc-timeout");
    }
  });

  it("A10 L6 health probes need no deadline, and end all the same", () => {
    const probe = (name: string, kind: MethodKind) =>
      methodInfo(`/grpc.health.v1.Health/${name}`, kind, true);
    expect(lasts(probe("Check", "unary"), undefined, { required: true })).toBe(60_000);
    expect(lasts(probe("Watch", "server_stream"), undefined, { required: true })).toBe(3_600_000);
    expect(() => lasts(probe("List", "unary"), undefined, { required: true })).toThrow("deadline required");
  });

  it("C12 hands on the time limit of checks, which is 5 s by default", () => {
    expect(deadline().checkTimeoutMs).toBe(5000);
    expect(deadline({ checkTimeoutMs: 10 }).checkTimeoutMs).toBe(10);
    const defaults = deadlineSchema.parse({});
    expect(deadlineSchema.parse(defaults)).toEqual(defaults);
  });

  const bad: readonly (readonly [unknown, string])[] = [
    [{ maxUnaryMs: 0 }, "deadline.maxUnaryMs"],
    [{ maxUnaryMs: 1.5 }, "deadline.maxUnaryMs"],
    [{ maxStreamMs: 2_147_483_648 }, "deadline.maxStreamMs"],
    [{ maxStreamMs: Number.POSITIVE_INFINITY }, "deadline.maxStreamMs"],
    [{ checkTimeoutMs: -1 }, "deadline.checkTimeoutMs"],
    [{ required: "yes" }, "deadline.required"],
    [{ maxMs: 1 }, "deadline.maxMs"],
  ];
  it.each(bad)("L6 refuses %j by name", (options, path) => {
    expect(() => deadline(options as DeadlineOptions)).toThrow(ConfigError);
    expect(() => deadline(options as DeadlineOptions)).toThrow(`${path}: `);
  });
});
