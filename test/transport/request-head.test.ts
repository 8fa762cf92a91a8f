// What a HEADERS frame says of a call.
import { describe, expect, it } from "vitest";
import { headerListBytes, parseTimeout, readHead } from "../../src/transport/request-head.ts";

const size = { metadataBytes: 0, tooLarge: false };

describe("the head of a request", () => {
  it("L5 counts metadata as RFC 9113 does, every field of a repeated name", () => {
    expect(headerListBytes(["x-a", "1", "x-a", "22", "x-b", "333"])).toBe(
      "x-a1".length + 32 + "x-a22".length + 32 + "x-b333".length + 32,
    );
  });

  it("keeps a field whose value gRPC does not allow, without the value", () => {
    const headers = { authorization: "Bearer ö", "x-note": "ö", "x-fine": "o" };
    readHead(headers, Object.entries(headers).flat(), size);
    expect(headers).toEqual({ authorization: "", "x-note": "", "x-fine": "o" });
  });

  it.each([
    ["1H", 3_600_000],
    ["1M", 60_000],
    ["1S", 1_000],
    ["1m", 1],
    ["1u", 0.001],
    ["1n", 0.000001],
    ["99999999S", 99_999_999_000],
    ["100000000S", "malformed"],
    ["S", "malformed"],
    ["-1S", "malformed"],
    ["1s", "malformed"],
    ["1S ", "malformed"],
    ["", "malformed"],
  ])("L6 reads the timeout %j as the gRPC specification does", (text, expected) => {
    const read = parseTimeout(text);
    if (typeof expected === "number") expect(read).toBeCloseTo(expected, 9);
    else expect(read).toBe(expected);
  });
});
