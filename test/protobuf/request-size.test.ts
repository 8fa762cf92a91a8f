// How much a request holds, whatever its generator makes of it (L11).
import { Buffer } from "node:buffer";
import { describe, expect, it } from "vitest";
import { maxMessages, sizeOfRequest } from "../../src/protobuf/request-size.ts";

const times = <T>(count: number, value: T): readonly T[] => Array.from({ length: count }, () => value);

describe("L11 the size of a request", () => {
  it.each([
    ["a message", { a: 1, b: "x" }, { messages: 1, elements: 0 }],
    ["messages in a list", { a: [{}, {}] }, { messages: 4, elements: 0 }],
    ["a short list of numbers", { a: times(1_000, 1) }, { messages: 2, elements: 0 }],
    ["a long one", { a: times(1_001, 1) }, { messages: 2, elements: 1_001 }],
    ["bytes", { a: Buffer.alloc(5_000) }, { messages: 1, elements: 0 }],
    ["a map", { a: new Map([["x", {}]]) }, { messages: 3, elements: 0 }],
    // As generators read google.protobuf.ListValue.
    [
      "messages behind a number in a long list",
      { a: [1, ...times(2_000, {})] },
      { messages: 2_002, elements: 1 },
    ],
  ])("L11 counts %s", (_what, request, expected) => {
    expect(sizeOfRequest(request)).toEqual(expected);
  });

  it("L11 finds too many messages behind a number", () => {
    expect(sizeOfRequest({ a: [1, ...times(maxMessages + 1, {})] }).messages).toBeGreaterThan(maxMessages);
  });
});
