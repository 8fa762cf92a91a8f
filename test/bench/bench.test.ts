// The instrument from end to end, with a few calls of everything: what it measures there says nothing, that it measures does.
import { existsSync } from "node:fs";
import { copyFile, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readOptions } from "../../bench/options.ts";
import { cpuMicroseconds, cpuMicrosecondsOf } from "../../bench/process/usage.ts";
import { withFigures } from "../../bench/report/documentation.ts";
import type { Report } from "../../bench/report/report.ts";
import { type Ended, runNode } from "../harness/child-process.ts";

/** Nothing is fetched for a test, and each machine runs the same contestants. */
const noEnvoy = "/no/such/envoy";

const root = fileURLToPath(new URL("../..", import.meta.url));

function bench(...options: readonly string[]): Promise<Ended> {
  return runNode(["--import", "tsx", "bench/main.ts", ...options], { cwd: root });
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "palisade-bench-test-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe("the whole instrument", () => {
  let stdout: string;
  let report: Report;
  beforeAll(async () => {
    await copyFile(join(root, "docs/performance.md"), join(folder, "performance.md"));
    const json = join(folder, "figures.json");
    const ended = await bench(
      "--tiny",
      "--docs",
      folder,
      "--json",
      json,
      "--date",
      "2026-01-02",
      "--envoy",
      noEnvoy,
    );
    expect(ended).toMatchObject({ code: 0 });
    ({ stdout } = ended);
    report = JSON.parse(await readFile(json, "utf8"));
  });

  it("runs every case, and every contestant in every round", () => {
    expect(report.cases.map(({ name }) => name)).toEqual([
      "unary-64",
      "unary-16k",
      "server-stream",
      "bidi-stream",
      "new-tokens",
      "identity",
      "decisions",
      "methods",
      "principals",
      "latency",
      "one-at-a-time",
      "connections",
      "client",
      "memory",
    ]);
    for (const { name, rounds } of report.cases) {
      const missing = Object.entries(rounds).filter(
        ([, turns]) =>
          turns.length !== 2 || !turns.every((turn) => (turn.cpuUs ?? 0) > 0 || (turn.p99Ms ?? 0) > 0),
      );
      expect({ name, missing }).toEqual({ name, missing: [] });
    }
    expect(Object.keys(report.cases[0]?.rounds ?? {})).toEqual([
      "bare",
      "bare again",
      "bare, channelz off",
      "palisade",
      "palisade, no records",
      "hand-written",
      "palisade, no metrics SDK",
      "node:http2",
      "nice-grpc",
      "connect-node",
    ]);
  });

  it("has a verdict on every bar", () => {
    const barred = report.cases.flatMap(({ name, comparisons, facts }) => [
      ...comparisons
        .filter(({ holds }) => holds !== undefined)
        .map(({ figure, bar }) => `${name} ${figure} ${JSON.stringify(bar)}`),
      ...facts.filter(({ atMost }) => atMost !== undefined).map(({ atMost }) => `${name} ${atMost}`),
    ]);
    expect(barred).toEqual([
      'unary-64 cpuUs {"atMost":1.4}',
      'unary-64 cpuUs {"atMost":1}',
      'unary-64 cpuUs {"atMost":1.25}',
      'unary-64 cpuUs {"atLeast":2.2}',
      'server-stream cpuUs {"atMost":0.22}',
      'bidi-stream cpuUs {"atMost":0.95}',
      'new-tokens cpuUs {"atMost":1.3}',
      'identity cpuUs {"atMost":0.1}',
      'identity cpuUs {"atMost":0.1}',
      "decisions 1",
      "decisions 5",
      "decisions 1",
      "memory 1.1",
      "memory 1.05",
      "memory 1.1",
      "memory 1.05",
      "memory 1.1",
      "memory 1.05",
      "memory 100000",
    ]);
    expect(stdout).toMatch(/\d+ bars hold, \d+ do not/);
  });

  it("says where and when, and why something was not counted", () => {
    expect(report).toMatchObject({ date: "2026-01-02", node: process.version, rounds: 2, seed: 1 });
    const counted = (report.cases[0]?.rounds["bare"] ?? []).every(({ instructions = 0 }) => instructions > 0);
    expect(counted).toBe(report.instructionsMissing === undefined);
  });

  it("leaves Envoy out where there is none, and says so in one line", () => {
    const lines = stdout.split("\n").filter((line) => line.includes("Envoy"));
    expect(lines).toEqual([`The Envoy sidecar is left out: ${noEnvoy} cannot be run.`]);
  });

  it("writes the page's figures and the chart", async () => {
    const page = await readFile(join(folder, "performance.md"), "utf8");
    expect(page).toContain("2026-01-02");
    expect(page).not.toContain("Not measured yet");
    for (const { title } of report.cases) expect(page).toContain(`### ${title}`);
    const chart = await readFile(join(folder, "performance.svg"), "utf8");
    expect(chart).toContain("prefers-color-scheme: dark");
    expect(chart.match(/<rect /g)).toHaveLength(10);
  });
});

describe("what the command line asks for", () => {
  it("a case that does not exist is told with those that do", async () => {
    const { code, stderr } = await bench("--tiny", "--case", "unary");
    expect(stderr).toMatch(/no such case; there are unary-64/);
    expect(code).not.toBe(0);
  });

  it("only a whole run writes the page", () => {
    const docs = (...args: readonly string[]): unknown => {
      const options = readOptions(args, "2026-01-02");
      return options === "help" ? options : options.docs;
    };
    expect(docs()).toBe("docs");
    expect(docs("--quick")).toBeUndefined();
    expect(docs("--tiny")).toBeUndefined();
    expect(docs("--case", "unary-64")).toBeUndefined();
    expect(() => docs("--quick", "--docs", "docs")).toThrow("whole run");
  });

  it("an older build to compare with, and another Envoy", () => {
    const read = (...args: readonly string[]): unknown => readOptions(args, "2026-01-02");
    expect(read()).toMatchObject({ before: undefined, envoy: undefined });
    expect(read("--before", "v1.2.3", "--envoy", noEnvoy)).toMatchObject({
      before: "v1.2.3",
      envoy: noEnvoy,
    });
    expect(() => read("--before")).toThrow("--before");
  });

  it("a revision that does not exist is told before anything is run", async () => {
    const { code, stdout, stderr } = await bench("--tiny", "--before", "no-such-revision");
    expect(stderr).toContain("--before no-such-revision: this repository has no such revision");
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  });

  it("a page without a place for figures is left alone", () => {
    expect(() => withFigures("# Performance\n", "figures", "page.md")).toThrow(
      /page\.md: expected the lines/,
    );
    expect(withFigures("a\n<!-- figures -->\nold\n<!-- /figures -->\nb\n", "new", "page.md")).toBe(
      "a\n<!-- figures -->\n\nnew\n\n<!-- /figures -->\nb\n",
    );
  });
});

describe("the CPU time of a process beside a server", () => {
  const isCounted = existsSync("/proc/self/schedstat");

  it.runIf(isCounted)("is what getrusage says of it", () => {
    const difference = (): number => cpuMicrosecondsOf(process.pid) - cpuMicroseconds();
    const before = difference();
    const startedAt = cpuMicroseconds();
    while (cpuMicroseconds() - startedAt < 300_000);
    expect(Math.abs(difference() - before)).toBeLessThan(30_000);
  });
});
