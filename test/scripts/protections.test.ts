// A protection that can no longer be taken out is one that nobody sees fail.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { markersIn, markersOf, without } from "../../scripts/protection-marker.ts";
import { protections } from "../../scripts/protections.ts";

const root = join(import.meta.dirname, "../..");
const markers = markersOf(root);

it("every marker in the sources stands in the table, and every row of the table has one marker", () => {
  const ids = protections.map(({ id }) => id);
  expect(markers.map(({ id }) => id).sort()).toEqual([...ids].sort());
  expect(new Set(ids).size).toBe(ids.length);
});

it("the table stays short enough to be read", () => {
  expect(protections.length).toBeLessThanOrEqual(50);
});

it.each(protections)(
  "$requirement $id can be taken out, and its tests are there",
  ({ id, instead, tests }) => {
    const marker = markers.find((each) => each.id === id);
    const marked = marker === undefined ? undefined : readFileSync(join(root, marker.file), "utf8");
    expect(marked?.slice(marker?.start, marker?.end)).not.toBe(instead);
    expect(tests.length).toBeGreaterThan(0);
    for (const test of tests) expect(existsSync(join(root, test)), test).toBe(true);
  },
);

describe("a marker", () => {
  /** What of the source is replaced, as `▮`. */
  function taken(source: string): string {
    const [marker] = markersIn("a.ts", source);
    if (marker === undefined) throw new Error("no marker found");
    return without(marker, source, "▮");
  }

  it.each([
    ["a statement", "// protection: a\nif (a) b();\nc();", "// protection: a\n▮\nc();"],
    [
      "a statement in a body",
      "f(() => {\n  // protection: a\n  g(1);\n});",
      "f(() => {\n  // protection: a\n  ▮\n});",
    ],
    ["a condition", "if (/* protection: a */ a && b) c();", "if (/* protection: a */ ▮) c();"],
    [
      "the right side of an operator",
      "x = a && /* protection: a */ b.c(d);",
      "x = a && /* protection: a */ ▮;",
    ],
    [
      "an element of a list",
      "x = [\n  a,\n  // protection: a\n  ...b(c),\n];",
      "x = [\n  a,\n  // protection: a\n  ▮,\n];",
    ],
    ["a property", "x = {\n  // protection: a\n  b: 1,\n};", "x = {\n  // protection: a\n  ▮,\n};"],
    ["a value", "x = { b: /* protection: a */ c.d };", "x = { b: /* protection: a */ ▮ };"],
    [
      "a statement behind another comment",
      "// protection: a\n// Because.\na();",
      "// protection: a\n// Because.\n▮",
    ],
  ])("stands in front of %s", (_what, source, rest) => {
    expect(taken(source)).toBe(rest);
  });

  it("is found after everything in it was renamed", () => {
    const source = "// protection: a\nif (peer.isBad) refuse(peer);\n";
    expect(taken(source)).toBe(taken(source.replaceAll("peer", "caller").replace("refuse", "deny")));
  });

  it("that nothing follows is an error", () => {
    expect(() => markersIn("a.ts", "a();\n// protection: a\n")).toThrow(
      "a.ts: nothing that can be taken out",
    );
  });
});
