// What goes wrong with the audit itself: counted one by one, reported at most once per period, never thrown.
import type { Logger } from "pino";
import { describeError } from "../../observability/error-description.ts";
import { LazyInstruments } from "../../observability/instruments.ts";
import { type AuditEntry, type AuditLane, callsIn, laneOf } from "./audit-entry.ts";

/**
 * - `queue_full`: the sink is slower than the calls, and the lane of identified callers is full.
 * - `write_failed`: the sink refused the batch three times.
 * - `write_hangs`: the sink has not answered for 10 s. Nothing is lost yet.
 * - `closed`: the sink did not take the rest before the shutdown's end, or a call ended after it.
 */
export type AuditFailureReason = "queue_full" | "write_failed" | "write_hangs" | "closed";

export interface AuditFailure {
  /** The name of the sink. */
  readonly sink: string;
  /** What happened last. */
  readonly reason: AuditFailureReason;
  /** Calls whose entries this sink lost since the last report, by lane. */
  readonly dropped: Readonly<Record<AuditLane, number>>;
  /** What the sink threw last, where it threw. */
  readonly error?: unknown;
}

/** At most one report per sink in this time, in milliseconds. */
export const reportPeriodMs = 10_000;

const instruments = new LazyInstruments((meter) => ({
  dropped: meter.createCounter("palisade.audit.dropped", {
    unit: "{entry}",
    description: "Audit entries that a sink lost",
  }),
}));

/** The failures of one sink. */
export class AuditFailures {
  readonly #sink: string;
  readonly #logger: Logger;
  readonly #onFailure: ((failure: AuditFailure) => void) | undefined;
  #dropped: Record<AuditLane, number> = { identified: 0, anonymous: 0 };
  #reason: AuditFailureReason = "write_failed";
  #error: unknown = undefined;
  #pending = false;
  #period: NodeJS.Timeout | undefined = undefined;

  constructor(sink: string, logger: Logger, onFailure: ((failure: AuditFailure) => void) | undefined) {
    this.#sink = sink;
    this.#logger = logger;
    this.#onFailure = onFailure;
  }

  dropped(reason: AuditFailureReason, entries: readonly AuditEntry[], error?: unknown): void {
    for (const entry of entries) {
      const lane = laneOf(entry);
      const calls = callsIn(entry);
      this.#dropped[lane] += calls;
      instruments.use((counters) => counters.dropped.add(calls, { lane, reason }));
    }
    this.failed(reason, error);
  }

  failed(reason: AuditFailureReason, error?: unknown): void {
    this.#reason = reason;
    this.#error = error;
    this.#pending = true;
    if (this.#period === undefined) this.#report();
  }

  /** Reports what was held back, at shutdown. */
  flush(): void {
    clearTimeout(this.#period);
    this.#period = undefined;
    if (this.#pending) this.#report();
    clearTimeout(this.#period);
    this.#period = undefined;
  }

  #report(): void {
    const failure: AuditFailure = {
      sink: this.#sink,
      reason: this.#reason,
      dropped: this.#dropped,
      ...(this.#error === undefined ? undefined : { error: this.#error }),
    };
    this.#dropped = { identified: 0, anonymous: 0 };
    this.#error = undefined;
    this.#pending = false;
    this.#period = setTimeout(() => {
      this.#period = undefined;
      if (this.#pending) this.#report();
    }, reportPeriodMs).unref();
    this.#tell(failure);
  }

  #tell(failure: AuditFailure): void {
    try {
      const { sink, reason, dropped, error } = failure;
      const err = error === undefined ? undefined : describeError(error);
      this.#logger.error({ sink, reason, dropped, err }, "audit entries are not being written");
    } catch {
      // A logger that throws must not keep the report from onFailure.
    }
    try {
      const result: unknown = this.#onFailure?.(failure);
      // An async onFailure that rejects would end the process as an unhandled rejection.
      if (result instanceof Promise) result.catch(() => undefined);
    } catch {
      // The metric and the log line have it already.
    }
  }
}
