import { describe, expect, it } from "vitest";
import { nearestName } from "../../src/config/nearest-name.ts";

describe("Z2 the nearest name", () => {
  const cases: readonly (readonly [string, readonly string[], string | undefined])[] = [
    ["admn", ["viewer", "admin"], "admin"],
    ["ADMIN", ["viewer", "admin"], "admin"],
    ["", ["viewer"], undefined],
    ["abc", ["abcde"], "abcde"],
    ["ab", ["abcd"], undefined],
    ["crl", ["cert"], undefined],
    ["ab", ["abcde"], undefined],
    ["kitten", ["sitting", "mitten"], "mitten"],
    ["admin", [], undefined],
    ["aaa", ["aab", "aac"], "aab"],
    ["x", ["ca"], undefined],
    ["mtsl", ["mtls"], "mtls"],
    ["tmls", ["mtls"], "mtls"],
    ["mlts", ["mtls"], "mtls"],
    ["stlm", ["mtls"], undefined],
    ["xy", ["ca"], undefined],
  ];
  it.each(cases)("Z2 of %j among %j is %j", (name, known, nearest) => {
    expect(nearestName(name, known)).toBe(nearest);
  });
});
