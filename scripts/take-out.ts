/**
 * Takes each protection out of a copy of the sources, one at a time, and runs the tests that are there for it: they must
 * fail. `npm run take-out` does all of them, `npm run take-out -- A1 signature` those whose requirement or id is named.
 */
import { execFileSync, spawn } from "node:child_process";
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
  const report = join(copy, "report.json");
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

async function check(protection: Protection): Promise<boolean> {
  const copy = copySources();
  try {
    takeOut(copy, protection);
    const noticed = await testsFail(copy, protection.tests);
    console.log(
      `${noticed ? "noticed " : "UNSEEN  "} ${protection.requirement.padEnd(4)} without ${protection.id}`,
    );
    return noticed;
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

const named = process.argv.slice(2);
const queue = protections.filter(
  ({ requirement, id }) => named.length === 0 || named.includes(requirement) || named.includes(id),
);
let unseen = 0;
async function work(): Promise<void> {
  for (let protection = queue.shift(); protection !== undefined; protection = queue.shift()) {
    if (!(await check(protection))) unseen += 1;
  }
}
const total = queue.length;
await Promise.all([work(), work()]);
console.log(
  `\nof ${total} protections, taken out one at a time, ${total - unseen} were noticed by their tests`,
);
process.exitCode = unseen === 0 && total > 0 ? 0 : 1;
