// The time limits of tests. They end a test that hangs and say nothing of speed: a machine on which eight other processes
// compute does everything ten times slower, and its tests pass.

/** For a machine that is slower still, or, below 1, for a run that is expected to fail. */
const scale = Number(process.env["TEST_TIME_SCALE"] ?? 1);

/** How long a test waits for one thing that should happen: an answer, a log line, a file's change. */
export const waitMs = 60_000 * scale;

/** How long a test or a hook may take: the benchmark's takes half a minute on a machine that has nothing else to do. */
export const hangMs = 10 * waitMs;

/** A gRPC deadline for a call that should be answered. */
export function inTime(): number {
  return Date.now() + waitMs;
}

/**
 * Time for what has to end while something else is at work, such as a deadline within a handler. A busy machine may not
 * get as far as the handler in a short time, so that the deadline is over before anything was tested: then `attempt`
 * answers false, and is made again with four times as long.
 */
export async function withTimeEnough(
  firstMs: number,
  attempt: (ms: number) => Promise<boolean>,
): Promise<void> {
  for (let ms = firstMs; ms < waitMs; ms *= 4) if (await attempt(ms)) return;
  throw new Error(`it never got as far, in up to ${waitMs} ms`);
}
