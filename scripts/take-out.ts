/**
 * Takes each protection out of a copy of the sources, one at a time, and runs the tests that are there for it: they must
 * fail. `npm run take-out` does all of them, `npm run take-out -- A1 C3` those whose requirement is named.
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
import { type Removal, removals } from "./removals.ts";

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

function takeOut(copy: string, removal: Removal): void {
  const path = join(copy, removal.file);
  const source = readFileSync(path, "utf8");
  if (source.split(removal.find).length !== 2) {
    throw new Error(
      `${removal.what}: ${removal.file} does not hold this text exactly once:\n${removal.find}`,
    );
  }
  writeFileSync(
    path,
    source.replace(removal.find, () => removal.replace),
  );
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
        env: { ...process.env, TESTS_WITHOUT_BUILD: "1" },
        stdio: "ignore",
        timeout: 180_000,
      },
    );
    child.once("error", reject);
    child.once("exit", () => {
      if (!existsSync(report)) return reject(new Error(`no test ran: ${tests.join(", ")}`));
      const { numTotalTests, success } = JSON.parse(readFileSync(report, "utf8")) as Report;
      if (numTotalTests === 0) return reject(new Error(`no test ran: ${tests.join(", ")}`));
      resolve(!success);
    });
  });
}

interface Report {
  readonly numTotalTests: number;
  readonly success: boolean;
}

async function check(removal: Removal): Promise<boolean> {
  const copy = copySources();
  try {
    takeOut(copy, removal);
    const noticed = await testsFail(copy, removal.tests);
    console.log(
      `${noticed ? "noticed " : "UNSEEN  "} ${removal.requirement.padEnd(4)} without ${removal.what}`,
    );
    return noticed;
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

const named = process.argv.slice(2);
const queue = removals.filter(({ requirement }) => named.length === 0 || named.includes(requirement));
let unseen = 0;
async function work(): Promise<void> {
  for (let removal = queue.shift(); removal !== undefined; removal = queue.shift()) {
    if (!(await check(removal))) unseen += 1;
  }
}
const total = queue.length;
await Promise.all([work(), work()]);
console.log(`\n${total - unseen} of ${total} removals were noticed by their tests`);
process.exitCode = unseen === 0 && total > 0 ? 0 : 1;
