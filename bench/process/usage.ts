// What this process has used.
import type { Memory } from "./protocol.ts";

/** User and system, all threads of this process. */
export function cpuMicroseconds(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
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
