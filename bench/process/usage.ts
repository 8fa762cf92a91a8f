// What a process has used.
import { readdirSync, readFileSync } from "node:fs";
import type { Memory } from "./protocol.ts";

/** User and system, all threads of this process. */
export function cpuMicroseconds(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

/**
 * The same of another process, from what the kernel counts for each of its threads in nanoseconds (proc(5), `schedstat`).
 * `/proc/<pid>/stat` counts in ticks of 10 ms, a tenth of what a turn takes. Linux alone.
 */
export function cpuMicrosecondsOf(pid: number): number {
  const threads = `/proc/${pid}/task`;
  const nanoseconds = readdirSync(threads).map((thread) =>
    Number(readFileSync(`${threads}/${thread}/schedstat`, "utf8").split(" ")[0]),
  );
  return nanoseconds.reduce((sum, value) => sum + value, 0) / 1_000;
}

/** Clears away what was used for a short time. Needs `--expose-gc`. */
export function collectYoungGarbage(): void {
  globalThis.gc?.({ type: "minor" });
}

/** Needs `--expose-gc`. */
export function memoryInUse(): Memory {
  // Twice: what the first collection finalizes, the second one frees.
  globalThis.gc?.();
  globalThis.gc?.();
  const { heapUsed, external, rss } = process.memoryUsage();
  return { heapBytes: heapUsed + external, residentBytes: rss };
}
