// The structured details of errors, written and read: the same for another implementation, and harmless whoever wrote them.
import { Buffer } from "node:buffer";
import { Metadata, status } from "@grpc/grpc-js";
import protobuf from "protobufjs";
import { describe, expect, it } from "vitest";
import { encodeStatusDetails, type StatusErrorDetail } from "../../src/grpc/error-details.ts";
import { StatusError } from "../../src/grpc/errors.ts";
import { errorDetails } from "../../src/grpc/received-details.ts";
import { cpuMs } from "../harness/cpu-time.ts";

/** google/rpc/status.proto and google/rpc/error_details.proto, as another implementation reads them. */
const { root } = protobuf.parse(`syntax = "proto3"; package google.rpc;
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message Duration { int64 seconds = 1; int32 nanos = 2; }
  message RetryInfo { Duration retry_delay = 1; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
  message QuotaFailure {
    message Violation { string subject = 1; string description = 2; string api_service = 3; }
    repeated Violation violations = 1;
  }
  message BadRequest {
    message FieldViolation { string field = 1; string description = 2; string reason = 3; }
    repeated FieldViolation field_violations = 1;
  }`);

function encode(type: string, value: object): Uint8Array {
  const message = root.lookupType(`google.rpc.${type}`);
  return message.encode(message.fromObject(value)).finish();
}

function decode(type: string, bytes: Uint8Array): Record<string, unknown> {
  const message = root.lookupType(`google.rpc.${type}`);
  return message.toObject(message.decode(bytes), { longs: Number });
}

/** As the error of a call has it. */
function failedWith(bytes: Uint8Array | string): object {
  const metadata = new Metadata();
  metadata.set(
    "grpc-status-details-bin",
    typeof bytes === "string" ? Buffer.from(bytes) : Buffer.from(bytes),
  );
  return Object.assign(new Error("7 PERMISSION_DENIED: no"), { code: 7, details: "no", metadata });
}

function sent(...details: readonly { readonly type: string; readonly value: object | Uint8Array }[]): object {
  return failedWith(
    encode("Status", {
      code: 7,
      message: "no",
      details: details.map(({ type, value }) => ({
        typeUrl: `type.googleapis.com/google.rpc.${type}`,
        value: value instanceof Uint8Array ? value : encode(type, value),
      })),
    }),
  );
}

const every: readonly StatusErrorDetail[] = [
  { type: "google.rpc.RetryInfo", retryDelayMs: 1_500 },
  { type: "google.rpc.BadRequest", fieldViolations: [{ field: "items[0].sku", description: "zu groß" }] },
  { type: "google.rpc.QuotaFailure", violations: [{ subject: "user:ada", description: "10 exports a day" }] },
  { type: "google.rpc.ErrorInfo", reason: "NO_STOCK", domain: "shop.example", metadata: { sku: "7" } },
  { typeUrl: "type.example/shop.v1.Hint", value: Buffer.from([8, 1]) },
];

describe("C5 details", () => {
  it("C5 that are written are read by another implementation", () => {
    const { details, ...rest } = decode("Status", encodeStatusDetails(8, "slow down", every));
    expect(rest).toEqual({ code: 8, message: "slow down" });
    const read = (details as { typeUrl: string; value: Uint8Array }[])
      .slice(0, 4)
      .map(({ typeUrl, value }) => {
        const type = typeUrl.replace("type.googleapis.com/google.rpc.", "");
        return { type, ...decode(type, value) };
      });
    expect(read).toEqual([
      { type: "RetryInfo", retryDelay: { seconds: 1, nanos: 500_000_000 } },
      { type: "BadRequest", fieldViolations: [{ field: "items[0].sku", description: "zu groß" }] },
      { type: "QuotaFailure", violations: [{ subject: "user:ada", description: "10 exports a day" }] },
      { type: "ErrorInfo", reason: "NO_STOCK", domain: "shop.example", metadata: { sku: "7" } },
    ]);
  });

  it("C5 that are written are read again", () => {
    expect(errorDetails(failedWith(encodeStatusDetails(8, "slow down", every)))).toEqual(every);
  });

  it("C5 of another implementation are read, in their order, several of a type too", () => {
    const error = sent(
      { type: "RetryInfo", value: { retryDelay: { seconds: 2, nanos: 1 } } },
      {
        type: "BadRequest",
        value: { fieldViolations: [{ field: "a", reason: "NO" }, { description: "b" }] },
      },
      { type: "RetryInfo", value: {} },
    );
    expect(errorDetails(error)).toEqual([
      { type: "google.rpc.RetryInfo", retryDelayMs: 2_001 },
      {
        type: "google.rpc.BadRequest",
        fieldViolations: [
          { field: "a", description: "" },
          { field: "", description: "b" },
        ],
      },
      { type: "google.rpc.RetryInfo", retryDelayMs: 0 },
    ]);
  });

  it("C5 of a StatusError are its own, or those that it passes on", () => {
    expect(errorDetails(new StatusError(status.NOT_FOUND, "no", { errorDetails: every }))).toBe(every);
    const passedOn = StatusError.from(failedWith(encodeStatusDetails(7, "no", every)));
    expect(errorDetails(passedOn)).toEqual(every);
    expect(errorDetails(new StatusError(status.NOT_FOUND))).toEqual([]);
  });

  it.each([
    ["a delay of 10,000 years", { seconds: 315_576_000_000 }, 2 ** 31 - 1],
    ["the largest number", { seconds: "9223372036854775807" }, 2 ** 31 - 1],
    ["a negative delay", { seconds: -5 }, 0],
    ["the smallest number", { seconds: "-9223372036854775808", nanos: -1 }, 0],
    ["many nanoseconds", { nanos: 2_147_483_647 }, 2_148],
  ])("C5 %s is one that a timer waits", (_what, retryDelay, retryDelayMs) => {
    expect(errorDetails(sent({ type: "RetryInfo", value: { retryDelay } }))).toEqual([
      { type: "google.rpc.RetryInfo", retryDelayMs },
    ]);
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, -1, 1e300])(
    "C5 a delay of %d is written as a duration",
    (ms) => {
      const bytes = encodeStatusDetails(8, "", [{ type: "google.rpc.RetryInfo", retryDelayMs: ms }]);
      expect(errorDetails(failedWith(bytes))).toEqual([
        { type: "google.rpc.RetryInfo", retryDelayMs: ms > 0 ? 2 ** 31 - 1 : 0 },
      ]);
    },
  );

  it("C5 names of ErrorInfo are those that were sent, and nothing else", () => {
    const pair = (name: string): Buffer =>
      Buffer.concat([
        Buffer.from([26, name.length + 5, 10, name.length]),
        Buffer.from(name),
        Buffer.from([18, 1, 0x78]),
      ]);
    const value = Buffer.concat([pair("__proto__"), pair("constructor")]);
    const [detail] = errorDetails(sent({ type: "ErrorInfo", value }));
    if (detail === undefined || !("metadata" in detail) || detail.metadata === undefined)
      throw new Error("expected metadata");
    expect(Object.entries(detail.metadata)).toEqual([
      ["__proto__", "x"],
      ["constructor", "x"],
    ]);
    expect(detail.metadata["toString"]).toBeUndefined();
    expect(Reflect.get({}, "x")).toBeUndefined();
  });
});

describe("C5 what cannot be read", () => {
  it.each<[string, unknown]>([
    ["no error", undefined],
    ["a text", "grpc-status-details-bin"],
    ["an error without metadata", new Error("x")],
    ["metadata of another kind", { metadata: new Map([["grpc-status-details-bin", [Buffer.from([1])]]]) }],
    ["metadata that throws", { metadata: { get: () => Reflect.get(Object(null), "x").y } }],
    [
      "a property that throws",
      Object.defineProperty({}, "metadata", { get: () => Reflect.get(Object(null), "x").y }),
    ],
    ["a text in place of bytes", { metadata: { get: () => ["abc"] } }],
    ["no google.rpc.Status", failedWith("this is no status")],
    ["half of one", failedWith(encodeStatusDetails(7, "no", every).subarray(0, 40))],
    [
      "a field that has no number",
      failedWith(Buffer.concat([Buffer.from([0, 1]), encodeStatusDetails(7, "no", every)])),
    ],
    ["a length beyond the end", failedWith(Buffer.from([26, 255, 255, 255, 255, 15]))],
  ])("C5 %s has no details", (_what, error) => {
    expect(errorDetails(error)).toEqual([]);
  });

  it("C5 more than 64 KiB is not looked at", () => {
    const large = (bytes: number): object =>
      failedWith(
        encodeStatusDetails(7, "x".repeat(bytes), [{ type: "google.rpc.RetryInfo", retryDelayMs: 1 }]),
      );
    expect(errorDetails(large(60_000))).toHaveLength(1);
    expect(errorDetails(large(66_000))).toEqual([]);
  });

  it("C5 a detail whose bytes are not of its type is handed on as it is", () => {
    const value = Buffer.from([10, 200]);
    expect(errorDetails(sent({ type: "BadRequest", value }, { type: "RetryInfo", value: {} }))).toEqual([
      { typeUrl: "type.googleapis.com/google.rpc.BadRequest", value },
      { type: "google.rpc.RetryInfo", retryDelayMs: 0 },
    ]);
  });

  it("C5 random bytes, and messages with wrong bytes in them, never throw", () => {
    const good = encodeStatusDetails(7, "no", every);
    let seed = 7;
    const random = (below: number): number => {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
      return seed % below;
    };
    for (let turn = 0; turn < 5_000; turn += 1) {
      const bytes = turn % 2 === 0 ? Buffer.from(good) : Buffer.alloc(random(64));
      const changes = turn % 2 === 0 ? 1 + random(4) : bytes.length;
      for (let i = 0; i < changes; i += 1) bytes[turn % 2 === 0 ? random(bytes.length) : i] = random(256);
      const details = errorDetails(failedWith(bytes));
      expect(Array.isArray(details)).toBe(true);
      for (const detail of details)
        if ("type" in detail && detail.type === "google.rpc.RetryInfo")
          expect(detail.retryDelayMs).toBeGreaterThanOrEqual(0);
    }
  });

  it("C5 it takes linear time", () => {
    const ms = (bytes: Buffer): number => {
      const error = failedWith(bytes);
      let least = Number.POSITIVE_INFINITY;
      for (let turn = 0; turn < 5; turn += 1) {
        const before = cpuMs();
        errorDetails(error);
        least = Math.min(least, cpuMs() - before);
      }
      return least;
    };
    for (const one of [Buffer.from([26, 0]), Buffer.from([8, 1]), Buffer.from([26, 4, 10, 0, 18, 0])])
      expect(
        ms(Buffer.concat(Array.from({ length: Math.floor(65_536 / one.length) }, () => one))),
      ).toBeLessThan(2_000);
  });
});
