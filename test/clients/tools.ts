// The foreign tools: fetched from their registries with pinned versions, built once, kept in a cache. What a machine cannot
// build is skipped, except where CI=true, where nothing is.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { join, resolve } from "node:path";

/** Git-ignored, as everything under `node_modules`. */
const cache = resolve("node_modules/.cache/palisade-clients");

/** How long an installation may take, for the test's hook that waits for it. */
export const installTimeoutMs = 600_000;

const said = new Set<string>();

/**
 * Can this machine run every one of these programs? Where it cannot, one line says so, and the caller skips its tests:
 * `describe.skipIf(lacks("go"))`. With CI=true that is an error instead.
 */
export function lacks(...programs: readonly string[]): boolean {
  const missing = programs.filter((program) => !isThere(program));
  if (missing.length === 0) return false;
  const message = `this machine has no ${missing.join(" and no ")}: the tests that need it are skipped`;
  if (process.env["CI"] === "true") throw new Error(`CI=true, and nothing may be skipped, but ${message}`);
  if (!said.has(message)) process.stderr.write(`${message}\n`);
  said.add(message);
  return true;
}

function isThere(program: string): boolean {
  try {
    execFileSync("sh", ["-c", 'command -v "$1"', "sh", program], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

export interface Tool {
  /** A name for the cache's folder. */
  readonly name: string;
  /** Everything that its making depends on: pinned versions, contents of source files. Another text, another build. */
  readonly pins: string;
  /** Makes it in an empty directory, which is given its final name when this is done. */
  make(directory: string): Promise<void>;
}

/** The directory that holds the tool, made now where no earlier run made it. */
export async function installed({ name, pins, make }: Tool): Promise<string> {
  const digest = createHash("sha256").update(pins).digest("hex").slice(0, 16);
  const directory = join(cache, `${name}-${digest}`);
  if (existsSync(directory)) return directory;
  await mkdir(cache, { recursive: true });
  await using _ = await lock(`${directory}.lock`);
  if (existsSync(directory)) return directory;
  // Of this process alone: a lock that was left behind may be broken by two at a time.
  const unfinished = `${directory}.unfinished-${process.pid}`;
  await rm(unfinished, { recursive: true, force: true });
  await mkdir(unfinished);
  await make(unfinished);
  await rename(unfinished, directory).catch(async (error: unknown) => {
    if (!existsSync(directory)) throw error;
    await rm(unfinished, { recursive: true });
  });
  return directory;
}

/** One process makes a tool, and others that need it wait. A lock whose process is gone is no lock. */
async function lock(path: string): Promise<AsyncDisposable> {
  for (;;) {
    try {
      const file = await open(path, "wx");
      await file.writeFile(String(process.pid));
      await file.close();
      return { [Symbol.asyncDispose]: () => rm(path, { force: true }) };
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
    }
    if (await isLeftBehind(path)) await rm(path, { force: true });
    else await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function isLeftBehind(path: string): Promise<boolean> {
  const pid = Number(await readFile(path, "utf8").catch(() => ""));
  if (pid === 0) return false;
  try {
    process.kill(pid, 0);
    return false;
  } catch {
    return true;
  }
}
