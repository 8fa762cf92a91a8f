/**
 * The guard for work that a handler left behind: a timer, or a promise that it neither returned nor awaited. The
 * guard around the handler cannot see these; what they throw reaches the process, which Node then ends.
 */

import { describeError } from "../observability/error-description.ts";
import { Call } from "./context.ts";
import { currentContext } from "./current-context.ts";

/** How many guards stand: several servers of one process may each ask for one. */
let standing = 0;

/**
 * Keeps the process alive when work that a handler left behind fails, and logs the failure with the call's id. Only
 * what belongs to a call is kept from ending the process: every other uncaught exception and unhandled rejection does
 * what it does without this guard. It is for the whole process, and on only where you ask for it: after a failure like
 * this, whatever that work held (a lock, a half-written file) is as the failure left it.
 *
 * An exception listener of your own (`uncaughtException`) still hears everything; with one for `unhandledRejection`
 * rejections are yours, and do not come here. Work begun by `queueMicrotask` belongs to no call on Node 20, and ends
 * the process as before.
 *
 * Returns a function that takes the guard away.
 *
 * @example
 * const remove = processGuard();
 */
export function processGuard(): () => void {
  standing += 1;
  if (standing === 1) process.on("uncaughtExceptionMonitor", onUncaught);
  let removed = false;
  return () => {
    if (removed) return;
    removed = true;
    standing -= 1;
    if (standing === 0) process.off("uncaughtExceptionMonitor", onUncaught);
  };
}

/**
 * Node tells monitors first, while the context of the failed work is still current, and then looks for listeners: one
 * that is added here is what keeps the process alive, for this one failure.
 */
function onUncaught(error: unknown, origin: string): void {
  const call = currentContext();
  if (!(call instanceof Call)) return;
  if (process.hasUncaughtExceptionCaptureCallback()) return;
  process.prependOnceListener("uncaughtException", goOn);
  try {
    call.log.error(
      { call_id: call.id, origin, err: describeError(error) },
      "background work of a handler failed; the process continues",
    );
  } catch {
    // A logger that throws here would end the process after all.
  }
}

function goOn(): void {}
