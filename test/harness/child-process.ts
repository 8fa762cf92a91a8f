// Processes that tests start. None outlives its test run, however that ends: each leads a process group of its own, and
// beside it a shell waits on a pipe that only the parent holds. The pipe closes when the parent is gone, by SIGKILL too,
// and the shell then kills the group.
import { type ChildProcess, fork, type SpawnOptions, spawn } from "node:child_process";
import { once } from "node:events";
import { hangMs } from "./time.ts";

/** Reads the group's id, and whatever comes after it until the end. */
const watchdog = 'read -r group || exit; read -r _; kill -s KILL -- "-$group"';

function endWithParent(start: () => ChildProcess): ChildProcess {
  const watch = spawn("/bin/sh", ["-c", watchdog], { detached: true, stdio: ["pipe", "ignore", "ignore"] });
  watch.unref();
  const child = start();
  watch.stdin.on("error", () => {}).write(`${child.pid ?? ""}\n`);
  child.once("exit", () => {
    watch.kill("SIGKILL");
    // What it started and left.
    killGroup(child);
  });
  child.once("error", () => watch.kill("SIGKILL"));
  return child;
}

function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // Nobody is left in it.
  }
}

export interface Ended {
  /** Null where a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** What sent the signal: the time limit, or somebody else. */
  readonly killed?: "timeout" | "signal";
}

export interface RunOptions extends Pick<SpawnOptions, "cwd" | "env" | "uid" | "gid"> {
  /** After this it is killed, in milliseconds. Default: before the test's own limit, so that what it said is seen. */
  readonly timeoutMs?: number;
  /** Called with the standard output so far. */
  readonly onOutput?: (stdout: string, pid: number) => void;
}

/** The newest of an output that may be endless. */
const maxOutput = 4 * 1024 * 1024;

/** Runs a program to its end. A code other than 0 is a result, not an error. */
export function run(
  command: string,
  args: readonly string[],
  { onOutput, timeoutMs = 0.9 * hangMs, ...options }: RunOptions = {},
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = endWithParent(() =>
      spawn(command, args, { ...options, detached: true, stdio: ["ignore", "pipe", "pipe"] }),
    );
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      killGroup(child);
    }, timeoutMs);
    let stdout = "";
    let stderr = "";
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      stdout = (stdout + text).slice(-maxOutput);
      if (child.pid !== undefined) onOutput?.(stdout, child.pid);
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      stderr = (stderr + text).slice(-maxOutput);
    });
    child.once("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.once("close", (code) => {
      clearTimeout(timer);
      const killed = code === null ? ({ killed: timedOut ? "timeout" : "signal" } as const) : {};
      resolve({ code, stdout, stderr, ...killed });
    });
  });
}

/** Runs a program in this version of Node. */
export function runNode(args: readonly string[], options?: RunOptions): Promise<Ended> {
  return run(process.execPath, args, options);
}

/** Starts a program that runs until the returned function is called, or the test run ends. Its standard error is ours. */
export function startProgram(command: string, args: readonly string[]): () => void {
  const child = endWithParent(() =>
    spawn(command, args, { detached: true, stdio: ["ignore", "ignore", "inherit"] }),
  );
  return () => killGroup(child);
}

export interface Forked<First> {
  readonly process: ChildProcess;
  /** The first message that it sent. */
  readonly first: First;
  /** The end of its standard error. */
  said(): string;
}

/**
 * Starts a program that speaks over Node's channel between processes, and waits for its first message.
 * @throws Error where it ends before that.
 */
export async function forkProgram<First>(
  file: string,
  args: readonly string[],
  execArgv: readonly string[],
): Promise<Forked<First>> {
  const child = endWithParent(() =>
    fork(file, args, {
      execArgv: [...execArgv],
      detached: true,
      stdio: ["ignore", "ignore", "pipe", "ipc"],
    }),
  );
  let said = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    said = (said + text).slice(-4000);
  });
  const [first] = (await Promise.race([
    once(child, "message"),
    once(child, "close").then(() => Promise.reject(new Error(`${file} ended without a message: ${said}`))),
  ])) as [First];
  return { process: child, first, said: () => said };
}
