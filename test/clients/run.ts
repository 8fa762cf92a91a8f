// Runs a foreign program. What it starts in turn ends with it, and it ends with the process that ran it.
import type { Buffer } from "node:buffer";
import { type ChildProcess, spawn } from "node:child_process";

export interface RunOptions {
  /** After this the program is killed and the run is a failure, in milliseconds. */
  readonly timeoutMs: number;
  /** Default: that of this process. */
  readonly cwd?: string;
  /** In addition to the environment of this process. Default: none. */
  readonly env?: NodeJS.ProcessEnv;
}

export interface RunResult {
  /** The exit code; undefined where it was killed. */
  readonly code: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
  /** Why it has no code. */
  readonly killed?: "timeout" | "signal";
}

/**
 * The program in a process group of its own. A reader of a pipe from here waits beside it: when this process is gone, in
 * whatever way, the pipe ends, and the reader kills the group.
 */
const supervised = `
exec 3<&0
"$@" 3<&- </dev/null &
program=$!
{ read _ <&3; kill -9 -$$; } >/dev/null 2>&1 &
reader=$!
wait $program
code=$?
kill -9 $reader
exit $code
`;

/** Keeps the newest of an output that may be endless. */
const maxOutput = 4 * 1024 * 1024;

/** Runs a program to its end. An exit code other than 0 is a result, not an error. */
export async function run(
  command: string,
  args: readonly string[],
  { timeoutMs, cwd, env }: RunOptions,
): Promise<RunResult> {
  const child = spawn("sh", ["-c", supervised, "sh", command, ...args], {
    ...(cwd === undefined ? {} : { cwd }),
    env: { ...process.env, ...env },
    detached: true,
    stdio: ["pipe", "pipe", "pipe"],
  });
  const stdout = newest(child.stdout);
  const stderr = newest(child.stderr);
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    killGroup(child);
  }, timeoutMs);
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (...how) => resolve(how));
  }).finally(() => clearTimeout(timer));
  return {
    code: code ?? undefined,
    stdout: stdout(),
    stderr: stderr(),
    ...(timedOut ? { killed: "timeout" as const } : signal === null ? {} : { killed: "signal" as const }),
  };
}

/** Runs a program that must succeed; its standard output. */
export async function runWell(
  command: string,
  args: readonly string[],
  options: RunOptions,
): Promise<string> {
  const result = await run(command, args, options);
  if (result.code === 0) return result.stdout;
  throw new Error(`${[command, ...args].join(" ")}\n${told(result)}`);
}

/** A result in words, for the message of a failed expectation. */
export function told({ code, killed, stdout, stderr }: RunResult): string {
  return `${killed ?? `exit code ${code}`}\n${stdout.slice(-3000)}\n${stderr.slice(-3000)}`.trim();
}

function newest(stream: NodeJS.ReadableStream): () => string {
  let text = "";
  stream.on("data", (chunk: Buffer) => {
    text = (text + chunk.toString("utf8")).slice(-maxOutput);
  });
  return () => text;
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch {
    // It has ended by itself.
  }
}
