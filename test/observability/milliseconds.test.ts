import { describe, expect, it } from "vitest";
import { roundedMs, roundedMsText } from "../../src/observability/milliseconds.ts";

describe("roundedMsText", () => {
  it.each([
    0,
    -0,
    0.0004,
    0.0005,
    0.001,
    0.01,
    0.1,
    0.5,
    0.999,
    0.9996,
    1,
    1.25,
    12.345,
    999.9995,
    1000,
    59_999.999,
    2_147_483.647,
    2_147_483.648,
    1e15,
    1e300,
    -1.5,
    Number.NaN,
    Number.POSITIVE_INFINITY,
  ])("U2 says of %d what JSON says of it rounded", (ms) => {
    expect(roundedMsText(ms)).toBe(JSON.stringify(roundedMs(ms)));
  });

  it("U2 says the same of every microsecond of a second", () => {
    for (let microseconds = 0; microseconds < 1_000_000; microseconds += 1) {
      const ms = microseconds / 1000;
      if (roundedMsText(ms) !== JSON.stringify(roundedMs(ms))) expect(ms).toBe("one that is written so");
    }
  });
});
