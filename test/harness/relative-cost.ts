// What a piece of work costs beside another. Compared is processor time, not time: on a busy machine the longer work is
// interrupted more often than the shorter.
import { expect } from "vitest";
import { cpuMs } from "./cpu-time.ts";

/** The least of several: what it takes when nothing comes in between. */
function leastMs(work: () => unknown): number {
  let least = Number.POSITIVE_INFINITY;
  for (let turn = 0; turn < 7; turn++) {
    const before = cpuMs();
    work();
    least = Math.min(least, cpuMs() - before);
  }
  return Math.max(least, 0.01);
}

/** `work` takes at most so many times as long as `other`. */
export function expectRelativeCost(work: () => unknown, other: () => unknown, atMost: number): void {
  let times = Number.POSITIVE_INFINITY;
  // Measured again where it looks wrong: only work that costs too much does so each time.
  for (let turn = 0; turn < 5 && times > atMost; turn++) {
    const beside = leastMs(other);
    times = leastMs(work) / beside;
  }
  expect(times, "times as long").toBeLessThanOrEqual(atMost);
}
