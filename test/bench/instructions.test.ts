// What perf prints, as its manual and its runs show it.
import { describe, expect, it } from "vitest";
import { instructionsIn } from "../../bench/instructions.ts";

describe("instructions retired", () => {
  it.each([
    ["48211,,instructions:u,913022,100.00,,\n", 48_211],
    [
      "Events disabled\nEvents enabled\n9123456789,,instructions:u,1,100.00,1.50,insn per cycle\n",
      9_123_456_789,
    ],
    ["<not supported>,,instructions:u,0,100.00,,\n", undefined],
    ["<not counted>,,instructions:u,0,100.00,,\n", undefined],
    ["", undefined],
  ])("%j says %d", (output, expected) => {
    expect(instructionsIn(output)).toBe(expected);
  });
});
