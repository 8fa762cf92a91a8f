// No program outlives the test that ran it.
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { run } from "./run.ts";

/** Prints the process id of a program that is started in turn, and waits for longer than any test. */
const family = "sleep 600 & echo $!; wait";

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

describe("run", () => {
  it("gives the exit code and what was printed", async () => {
    const result = await run("sh", ["-c", "echo out; echo err >&2; exit 3"], { timeoutMs: 60_000 });
    expect(result).toEqual({ code: 3, stdout: "out\n", stderr: "err\n" });
  });

  it("kills a program that takes too long, with all that it started", async () => {
    const result = await run("sh", ["-c", family], { timeoutMs: 3000 });
    expect(result).toMatchObject({ code: undefined, killed: "timeout" });
    await expect.poll(() => isAlive(Number(result.stdout)), { timeout: 60_000 }).toBe(false);
  });

  it("kills a program, with all that it started, when the process that runs it is killed", async () => {
    const directory = await mkdtemp(join(tmpdir(), "palisade-run-"));
    const file = join(directory, "pid");
    const program = `
      import { run } from ${JSON.stringify(import.meta.resolve("./run.ts"))};
      await run("sh", ["-c", ${JSON.stringify(`(${family}) > ${file}`)}], { timeoutMs: 600_000 });
    `;
    const parent = spawn(
      process.execPath,
      ["--import", import.meta.resolve("tsx"), "--input-type=module", "--eval", program],
      { stdio: ["ignore", "ignore", "inherit"] },
    );
    const pidInFile = (): Promise<number> => readFile(file, "utf8").then(Number, () => 0);
    await expect.poll(pidInFile, { timeout: 60_000 }).toBeGreaterThan(0);
    const pid = await pidInFile();
    expect(isAlive(pid)).toBe(true);
    parent.kill("SIGKILL");
    await expect.poll(() => isAlive(pid), { timeout: 60_000 }).toBe(false);
    await rm(directory, { recursive: true });
  });
});
