// The one place that counts a call's time: its deadline, and how long its status may wait for a caller who does not read.
import { performance } from "node:perf_hooks";
import { maxTimerMs } from "../config/timer.ts";
import type { Call } from "./context.ts";

/**
 * Node keeps a list of timers for each duration, and hardly two calls have the same time left. So a timer waits for a
 * multiple of this, and then for the rest: most calls have long ended by then.
 */
const sharedTimerMs = 256;
/** How long a status may wait for a caller who does not read, where the call has no deadline left to bound it. */
const lingerMs = 10_000;

export interface TimedCall {
  /** The time is up: the call's, or that of its status. */
  onTimeUp(): void;
}

export class CallDeadline {
  readonly #call: TimedCall;
  readonly #context: Call;
  /** By the monotonic clock: a jump of the wall clock ends nothing. */
  readonly #startedAt: number = performance.now();
  #armedFor: number = Number.POSITIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined = undefined;

  /** `context` has just been made: what comes between its look at the clock and ours makes a call end late, never early. */
  constructor(call: TimedCall, context: Call) {
    this.#call = call;
    this.#context = context;
  }

  get elapsedMs(): number {
    return performance.now() - this.#startedAt;
  }

  get msLeft(): number {
    return this.#context.deadline - this.#context.startedAt - this.elapsedMs;
  }

  /** Counts down to the context's deadline, where that came nearer. */
  arm(): void {
    const { deadline } = this.#context;
    if (deadline >= this.#armedFor) return;
    this.#armedFor = deadline;
    this.#wait(this.msLeft);
  }

  /** The status was sent: until the stream is closed something must be able to cut it. */
  linger(): void {
    this.#timer ??= setTimeout(timeUp, lingerMs, this);
  }

  clear(): void {
    clearTimeout(this.#timer);
  }

  #wait(msLeft: number): void {
    clearTimeout(this.#timer);
    const ms = Math.min(Math.max(Math.ceil(msLeft), 0), maxTimerMs);
    this.#timer = setTimeout(timeUp, ms < sharedTimerMs ? ms : ms - (ms % sharedTimerMs), this);
  }

  /** For the timer. */
  onTimer(): void {
    this.#timer = undefined;
    const { msLeft } = this;
    // Not where a lingering status has no deadline.
    if (msLeft > 0 && this.#armedFor !== Number.POSITIVE_INFINITY) this.#wait(msLeft);
    else this.#call.onTimeUp();
  }
}

function timeUp(deadline: CallDeadline): void {
  deadline.onTimer();
}
