// docs/observability.md has every metric that the code makes, and no other.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { root } from "./pages.ts";

const page = readFileSync(join(root, "docs/observability.md"), "utf8");
const source = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".ts"))
  .map((name) => readFileSync(join(root, "src", name), "utf8"))
  .join("\n");

/** The first of each call that makes an instrument: the name of the metric. */
const made = /\.create(?:Observable)?(?:Counter|UpDownCounter|Gauge|Histogram)\(\s*"([a-z_.]+)"/g;
const observed = /\bobserved\(\s*"[a-z -]+",\s*"([a-z_.]+)"/g;

const namesBy = (text: string, ...patterns: readonly RegExp[]): readonly string[] =>
  patterns.flatMap((pattern) => [...text.matchAll(pattern)].map(([, name = ""]) => name)).sort();

it("U5 every metric has a row, and every row is of a metric", () => {
  const section = page.split(/^## /m).find((text) => text.startsWith("Metrics")) ?? "";
  const names = namesBy(source, made, observed);
  expect(names.length).toBeGreaterThan(15);
  expect(namesBy(section, /^\| `([a-z_.]+)`/gm)).toEqual(names);
});
