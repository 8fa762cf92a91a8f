import { vi } from "vitest";
import type { Ended } from "../harness/child-process.ts";

/** Runs a command without a process, and keeps what it says. A throw is told as `palisade` tells it, with exit code 1. */
export async function runCommandHere(
  command: (args: string[]) => Promise<number>,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Pick<Ended, "code" | "stdout" | "stderr">> {
  const said = { stdout: "", stderr: "" };
  vi.spyOn(console, "log").mockImplementation((text) => {
    said.stdout += `${text}\n`;
  });
  vi.spyOn(console, "error").mockImplementation((text) => {
    said.stderr += `${text}\n`;
  });
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
  try {
    return { code: await command([...args]), ...said };
  } catch (error) {
    return { code: 1, stdout: said.stdout, stderr: `${said.stderr}${String(error)}` };
  } finally {
    vi.restoreAllMocks();
    vi.unstubAllEnvs();
  }
}
