/**
 * Takes each protection out of a copy of the sources, one at a time, and runs the tests that are there for it: they must
 * fail. Each of these tests runs once in an untouched copy before: there it must pass, since otherwise its failure says
 * nothing. `npm run take-out` does all of them, `npm run take-out -- A1 signature` those whose requirement or id is named.
 */
import { execFileSync, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Marker, markersOf, without } from "./protection-marker.ts";
import { type Protection, protections } from "./protections.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

function copySources(): string {
  const copy = mkdtempSync(join(tmpdir(), "palisade-take-out-"));
  const files = execFileSync(
    "git",
    ["ls-files", "src", "test", "protos", "package.json", "tsconfig.json", "vitest.config.ts"],
    {
      cwd: root,
      encoding: "utf8",
    },
  );
  for (const file of files.trim().split("\n")) {
    mkdirSync(dirname(join(copy, file)), { recursive: true });
    cpSync(join(root, file), join(copy, file));
  }
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  return copy;
}

const markers: ReadonlyMap<string, Marker> = new Map(markersOf(root).map((marker) => [marker.id, marker]));

function takeOut(copy: string, { id, instead }: Protection): void {
  const marker = markers.get(id);
  if (marker === undefined) throw new Error(`no marker "protection: ${id}" stands in the sources`);
  const path = join(copy, marker.file);
  writeFileSync(path, without(marker, readFileSync(path, "utf8"), instead));
}

/** Did a test run, and fail? A run that breaks down before its first test has noticed nothing. */
function testsFail(copy: string, tests: readonly string[]): Promise<boolean> {
  const report = join(copy, `report-${randomUUID()}.json`);
  return new Promise((resolve, reject) => {
    const child = spawn(
      join(root, "node_modules/.bin/vitest"),
      ["run", "--bail=1", "--maxWorkers=1", "--reporter=json", `--outputFile=${report}`, ...tests],
      {
        cwd: copy,
        // A protection that is out may make a test wait for what never comes.
        env: { ...process.env, TESTS_WITHOUT_BUILD: "1", TEST_TIME_SCALE: "0.25" },
        stdio: "ignore",
        timeout: 600_000,
      },
    );
    child.once("error", reject);
    child.once("exit", (code) => {
      if (!existsSync(report)) return reject(new Error(`no test ran: ${tests.join(", ")}`));
      const { numTotalTests } = JSON.parse(readFileSync(report, "utf8")) as Report;
      if (numTotalTests === 0) return reject(new Error(`no test ran: ${tests.join(", ")}`));
      // Not by its count of failures: a process that a removal lets crash has none.
      resolve(code !== 0);
    });
  });
}

interface Report {
  readonly numTotalTests: number;
}

let untouched: string | undefined;
const controls = new Map<string, Promise<boolean>>();

/** The tests of a row that fail although nothing is taken out. Each test runs once, for all rows that name it. */
async function brokenOf({ tests }: Protection): Promise<readonly string[]> {
  untouched ??= copySources();
  const broken: string[] = [];
  for (const test of tests) {
    const control = controls.get(test) ?? testsFail(untouched, [test]);
    controls.set(test, control);
    if (await control) broken.push(test);
  }
  return broken;
}

type Verdict = "noticed" | "UNSEEN" | "BROKEN";

async function verdictOf(protection: Protection): Promise<Verdict> {
  const copy = copySources();
  try {
    takeOut(copy, protection);
    return (await testsFail(copy, protection.tests)) ? "noticed" : "UNSEEN";
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

async function check(protection: Protection): Promise<Verdict> {
  const broken = await brokenOf(protection);
  const verdict = broken.length > 0 ? "BROKEN" : await verdictOf(protection);
  const why = broken.length > 0 ? `: with nothing taken out fails ${broken.join(", ")}` : "";
  console.log(`${verdict.padEnd(8)} ${protection.requirement.padEnd(4)} without ${protection.id}${why}`);
  return verdict;
}

const named = process.argv.slice(2);
const queue = protections.filter(
  ({ requirement, id }) => named.length === 0 || named.includes(requirement) || named.includes(id),
);
const verdicts: Verdict[] = [];
async function work(): Promise<void> {
  for (let protection = queue.shift(); protection !== undefined; protection = queue.shift())
    verdicts.push(await check(protection));
}
function count(verdict: Verdict): number {
  return verdicts.filter((each) => each === verdict).length;
}
const total = queue.length;
try {
  await Promise.all([work(), work()]);
} finally {
  if (untouched !== undefined) rmSync(untouched, { recursive: true, force: true });
}
const noticed = count("noticed");
console.log(`\nof ${total} protections, taken out one at a time, ${noticed} were noticed by their tests`);
if (count("BROKEN") > 0)
  console.log(`of ${count("BROKEN")} nobody knows: their tests fail with nothing taken out`);
process.exitCode = noticed === total && total > 0 ? 0 : 1;
