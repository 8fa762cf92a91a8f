// A protection that can no longer be taken out is one that nobody sees fail.
import { existsSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { removals } from "../../scripts/removals.ts";

it.each(removals)("$requirement $what can be taken out of $file", ({ file, find, replace, tests }) => {
  expect(readFileSync(file, "utf8").split(find)).toHaveLength(2);
  expect(replace).not.toBe(find);
  for (const test of tests) expect(existsSync(test)).toBe(true);
});
