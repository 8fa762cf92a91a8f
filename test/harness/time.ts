// The time limits of tests. They end a test that hangs and say nothing of speed: a machine on which eight other processes
// compute does everything ten times slower, and its tests pass.

/** For a machine that is slower still, or, below 1, for a run that is expected to fail. */
const scale = Number(process.env["TEST_TIME_SCALE"] ?? 1);

/** How long a test waits for one thing that should happen: an answer, a log line, a file's change. */
export const waitMs = 60_000 * scale;

/** How long a test, a hook or a process that it runs may take. */
export const hangMs = 3 * waitMs;

/** A gRPC deadline for a call that should be answered. */
export function inTime(): number {
  return Date.now() + waitMs;
}
