// One log line for each call, at its end: who called what, how it ended, how long it took.
import { status } from "@grpc/grpc-js";
import type { Level, Logger } from "pino";
import { z } from "zod";
import { CallAggregation, type LeftOut } from "../../chain/call-aggregation.ts";
import type { CallContext } from "../../chain/context.ts";
import { dryRunRefusalOf } from "../../chain/dry-run.ts";
import type { Middleware, Outcome } from "../../chain/middleware.ts";
import { loggerSchema } from "../../config/logger-option.ts";
import { parseOptions } from "../../config/options.ts";
import { statusName } from "../../grpc/status.ts";
import { describeError, type ErrorDescription } from "../../observability/error-description.ts";
import { roundedMs } from "../../observability/milliseconds.ts";
import { boundedText, maxTextLength, redactSecrets } from "../../observability/redaction.ts";

export interface LoggingOptions {
  /** Where the lines go. Bindings, formatters and redaction of this logger apply as usual. */
  readonly logger: Logger;
}

/** The shape of `logging`'s options. */
export const loggingSchema: z.ZodType<LoggingOptions> = z.strictObject({ logger: loggerSchema });

/** What a line says, in this order. A key that is not optional is in every line. */
interface CallLine {
  readonly method: string;
  readonly duration_ms: number;
  /** By name: `NOT_FOUND`. */
  readonly grpc_code: string;
  /** What the caller was told, where that is not OK; a handler's own words too, without what looks like a secret. */
  readonly details: string | undefined;
  /** The address of the caller's end of the connection. */
  readonly peer: string;
  /** The verified subject; null where nobody was verified. */
  readonly principal: string | null;
  /** How the principal was verified. */
  readonly scheme: string | undefined;
  /** The subject of the application that spoke for the principal. */
  readonly actor: string | undefined;
  readonly request_id: string;
  readonly trace_id: string | null;
  readonly call_id: string;
  /** Where it was not the handler. */
  readonly ended_by: Exclude<Outcome["endedBy"], "handler"> | undefined;
  /** The middleware that refused. */
  readonly layer: string | undefined;
  /** `false` where the status did not reach the caller. */
  readonly delivered: false | undefined;
  /** What a middleware that decides without enforcing would have answered: `authorization: permission denied`. */
  readonly dry_run_refusal: string | undefined;
  /** The rule that denied. */
  readonly rule: string | undefined;
  /** Why it denied; or why the call ended, where that is no refusal: `the handler did not answer`. */
  readonly reason: string | undefined;
  /** The authorizer's id of its decision, where it keeps a log of its own. */
  readonly decision_id: string | undefined;
  /** The id in the caller's `internal error (id …)`. */
  readonly error_id: string | undefined;
  readonly err: ErrorDescription | undefined;
  /** What whoever wrote the handler can do about it. */
  readonly hint: string | undefined;
}

/** What the line says that stands for several calls, in this order. */
interface LeftOutLine {
  /** Absent where they called several. */
  readonly method: string | undefined;
  readonly grpc_code: string;
  readonly details: string | undefined;
  /** `other` where too many callers came to be told apart. */
  readonly peer: string;
  readonly principal: string | null;
  readonly scheme: string | undefined;
  readonly ended_by: CallLine["ended_by"];
  readonly layer: string | undefined;
  readonly rule: string | undefined;
  /** How many calls had no line of their own. */
  readonly left_out: number;
  /** When the first and the last of them arrived: ISO 8601, UTC. */
  readonly first_time: string;
  readonly last_time: string;
}

/** The logging middleware, with what a shutdown needs. */
export interface LoggingMiddleware extends Middleware {
  /** Says now how many calls had no line of their own. */
  flush(): void;
}

/**
 * Logs one line for each call, at its end. Never metadata, never payloads; errors as `describeError` describes them.
 *
 * | level | for |
 * |---|---|
 * | `info` | OK, and what callers do wrong in the course of things: CANCELLED, INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION, ABORTED, OUT_OF_RANGE, UNIMPLEMENTED; every call that its caller cancelled |
 * | `warn` | what someone should look at if it grows: UNAUTHENTICATED, PERMISSION_DENIED, RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED; every failure that came from the connection or from what the caller sent (`ended_by: "transport"`) |
 * | `error` | our own failures: INTERNAL, UNKNOWN, DATA_LOSS, UNAVAILABLE |
 *
 * Only lines at `error` carry a stack.
 *
 * Repeated refusals are counted together: in 10 s the first 10 calls of one peer that end for one reason have a line
 * each, and the first 100 that a verified caller is refused for one reason. One line at the end of the 10 s has the
 * count of the others (`left_out`). Without a verified caller no more than 1,000 such lines are written in 10 s, and as
 * many peers and reasons are told apart; with one, 10,000. Throws `ConfigError` where `logger` is no pino logger.
 */
export function logging(options: LoggingOptions): LoggingMiddleware {
  const { logger } = parseOptions(loggingSchema, options, "logging");
  const aggregation = new CallAggregation<Described>({
    describe: (call, outcome) => {
      const level = levelOf(outcome);
      return { level, line: callLine(call, outcome, level) };
    },
    write: (leftOut) =>
      logger[leftOut.line.level](leftOutLine(leftOut), "repeated calls: one line with their count"),
  });
  return {
    name: "logging",
    observes: true,
    onEnd(call, outcome) {
      const level = levelOf(outcome);
      if (!logger.isLevelEnabled(level) || !aggregation.admits(call, outcome)) return;
      logger[level](callLine(call, outcome, level), "call ended");
    },
    flush: () => aggregation.flush(),
  };
}

interface Described {
  readonly level: Extract<Level, "info" | "warn" | "error">;
  readonly line: CallLine;
}

function leftOutLine({ line: { line }, ...leftOut }: LeftOut<Described>): LeftOutLine {
  const { count, firstAt, lastAt, method, shared } = leftOut;
  return {
    method: method === undefined ? undefined : line.method,
    grpc_code: line.grpc_code,
    details: shared ? undefined : line.details,
    peer: shared ? "other" : line.peer,
    principal: shared ? null : line.principal,
    scheme: shared ? undefined : line.scheme,
    ended_by: line.ended_by,
    layer: line.layer,
    rule: shared ? undefined : line.rule,
    left_out: count,
    first_time: new Date(firstAt).toISOString(),
    last_time: new Date(lastAt).toISOString(),
  };
}

function levelOf(outcome: Outcome): Extract<Level, "info" | "warn" | "error"> {
  if (outcome.endedBy === "caller") return "info";
  switch (outcome.code) {
    case status.OK:
    case status.CANCELLED:
    case status.INVALID_ARGUMENT:
    case status.NOT_FOUND:
    case status.ALREADY_EXISTS:
    case status.FAILED_PRECONDITION:
    case status.ABORTED:
    case status.OUT_OF_RANGE:
    case status.UNIMPLEMENTED:
      return "info";
    case status.UNAUTHENTICATED:
    case status.PERMISSION_DENIED:
    case status.RESOURCE_EXHAUSTED:
    case status.DEADLINE_EXCEEDED:
      return "warn";
    default:
      // A caller who sends garbage must not be able to raise the alarm.
      return outcome.endedBy === "transport" ? "info" : "error";
  }
}

function callLine(call: CallContext, outcome: Outcome, level: Level): CallLine {
  const { method, principal, actor } = call;
  const refusal = dryRunRefusalOf(call);
  const denial = call.decision?.effect === "deny" ? call.decision : undefined;
  return {
    method: method.known ? method.path : redactSecrets(method.path, maxTextLength),
    duration_ms: roundedMs(outcome.durationMs),
    grpc_code: statusName(outcome.code),
    details: outcome.code === status.OK ? undefined : redactSecrets(outcome.details, maxTextLength),
    peer: call.peer.address,
    principal: principal === undefined ? null : boundedText(principal.subject, maxTextLength),
    scheme: principal?.scheme,
    actor: actor === undefined ? undefined : boundedText(actor.subject, maxTextLength),
    request_id: call.requestId,
    trace_id: call.traceId ?? null,
    call_id: call.id,
    ended_by: outcome.endedBy === "handler" ? undefined : outcome.endedBy,
    layer: outcome.layer,
    delivered: outcome.delivered ? undefined : false,
    dry_run_refusal: refusal === undefined ? undefined : `${refusal.layer}: ${refusal.details}`,
    rule: denial?.rule === undefined ? undefined : redactSecrets(denial.rule, maxTextLength),
    reason:
      outcome.reason ??
      (denial?.reason === undefined ? undefined : redactSecrets(denial.reason, maxTextLength)),
    decision_id: call.decision?.id === undefined ? undefined : boundedText(call.decision.id, maxTextLength),
    error_id: outcome.errorId,
    err: outcome.cause === undefined ? undefined : describeError(outcome.cause, { stack: level === "error" }),
    hint: outcome.hint,
  };
}
