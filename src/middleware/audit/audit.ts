// The audit middleware: one record for each call, refused ones included, handed to every sink without ever waiting for one.
import type { Logger } from "pino";
import { z } from "zod";
import { CallAggregation } from "../../chain/call-aggregation.ts";
import type { Middleware } from "../../chain/middleware.ts";
import { loggerSchema } from "../../config/logger-option.ts";
import { parseOptions } from "../../config/options.ts";
import { type AuditEntry, aggregatedEntry, auditEntry, isLeftOut } from "./audit-entry.ts";
import { type AuditFailure, AuditFailures } from "./audit-failures.ts";
import type { AuditSink } from "./audit-sink.ts";
import { SinkWriter } from "./sink-writer.ts";

export interface AuditOptions {
  /** Where the entries go: each sink gets every entry, at its own pace. At least one. */
  readonly sinks: readonly AuditSink[];
  /**
   * How many entries may wait for a sink in each of its two lanes: identified callers and anonymous ones. 10,000 of them
   * are about 10 MB. Default: 10,000.
   */
  readonly queueLimit?: number | undefined;
  /** Told when a sink fails or entries are lost, at most once in 10 s for each sink. What it throws is ignored. Default: nobody. */
  readonly onFailure?: ((failure: AuditFailure) => void) | undefined;
  /** Told the same, at `error`. */
  readonly logger: Logger;
}

/** The audit middleware, with what a shutdown needs. */
export interface AuditMiddleware extends Middleware {
  /** Settles when every entry added so far was written or given up. Never rejects. */
  flush(): Promise<void>;
  /**
   * Writes what waits, then closes the sinks; each of the two for at most `withinMs` (default: 5,000). What could not
   * be written is counted and reported. Call it after the last call has ended: later entries are lost. Never rejects.
   */
  close(withinMs?: number): Promise<void>;
}

const settings = {
  sinks: z
    .array(z.custom<AuditSink>(isSink, { error: "must be an audit sink: an object with a write function" }))
    .min(1, { error: "needs at least one sink, such as jsonLinesSink({ path })" }),
  queueLimit: z.int().min(2).max(1_000_000).default(10_000),
  onFailure: z
    .custom<(failure: AuditFailure) => void>((value) => typeof value === "function", {
      error: "must be a function",
    })
    .optional(),
};

/** What a server's `audit` option holds; the logger is the server's. */
export type AuditSettingsInput = Omit<AuditOptions, "logger">;
export type AuditSettings = AuditSettingsInput & { readonly queueLimit: number };

/** The shape of a server's `audit` option; the only place where its defaults stand. */
export const auditSchema: z.ZodType<AuditSettings> = z.strictObject(settings);

/** The shape of the middleware's options. */
export const auditMiddlewareSchema: z.ZodType<AuditSettings & Pick<AuditOptions, "logger">> = z.strictObject({
  ...settings,
  logger: loggerSchema,
});

/**
 * Records every call, at its end: `AuditEntry` says what. Repeated refusals are counted together: in 10 s the first 10
 * calls of one peer that end for one reason have an entry each, and the first 100 that a verified caller is refused for
 * one reason; one entry at the end of the 10 s has the `count` of the others. A call whose policy asks for no record
 * (`audit: false` of its decision) has none. It never fails or delays a call: entries wait in two
 * bounded lanes for each sink. Those of identified callers (verified, not anonymous) are lost only where their own lane
 * is full. The others share the second lane: it keeps entries up to half its limit, and while more come than the sink
 * takes it counts them together, by method, status, decision, rule and peer, in one entry with `count`, `firstTime` and
 * `lastTime`. What is lost is counted in `palisade.audit.dropped` (by `lane` and `reason`), logged, and told
 * `onFailure`.
 *
 * Entries are written in batches, gathered for up to 100 ms: a process that is killed can lose these. A process that
 * ends in order loses none, if it awaits `close()`.
 *
 * @example
 * const auditing = audit({ sinks: [jsonLinesSink({ path: "audit.jsonl" })], logger: pino() });
 *
 * @throws ConfigError for options that are wrong.
 */
export function audit(options: AuditOptions): AuditMiddleware {
  const { sinks, queueLimit, onFailure, logger } = parseOptions(auditMiddlewareSchema, options, "audit");
  const writers = sinks.map(
    (sink, index) =>
      new SinkWriter(
        sink,
        queueLimit,
        new AuditFailures(sink.name ?? `sink ${index + 1}`, logger, onFailure),
      ),
  );
  const add = (entry: AuditEntry): void => {
    for (const writer of writers) writer.add(entry);
  };
  const aggregation = new CallAggregation<AuditEntry>({
    describe: auditEntry,
    write: (leftOut) => add(aggregatedEntry(leftOut)),
  });
  return {
    name: "audit",
    observes: true,
    onEnd(call, outcome) {
      if (isLeftOut(call, outcome)) return;
      if (aggregation.admits(call, outcome)) add(auditEntry(call, outcome));
    },
    async flush() {
      aggregation.flush();
      await Promise.all(writers.map((writer) => writer.flush()));
    },
    async close(withinMs = 5_000) {
      aggregation.flush();
      await Promise.all(writers.map((writer) => writer.close(withinMs)));
    },
  };
}

function isSink(value: unknown): boolean {
  return typeof value === "object" && value !== null && typeof Reflect.get(value, "write") === "function";
}
