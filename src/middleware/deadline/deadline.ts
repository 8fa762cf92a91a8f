// The deadline middleware: every call has an end, the caller's own or the server's, whichever comes first.
import { status } from "@grpc/grpc-js";
import { z } from "zod";
import { capDeadline } from "../../chain/context.ts";
import type { Middleware } from "../../chain/middleware.ts";
import { milliseconds, parseOptions } from "../../config/options.ts";
import { StatusError } from "../../grpc/errors.ts";
import { isHealthProbe } from "../../grpc/method.ts";
import { texts } from "../../grpc/status.ts";

export interface DeadlineOptions {
  /** Refuse calls that come without a deadline. Default: false. */
  readonly required?: boolean | undefined;
  /** The longest that a unary call may take, in milliseconds. Default: 60,000. */
  readonly maxUnaryMs?: number | undefined;
  /** The longest that a call with a stream in either direction may take, in milliseconds. Default: 3,600,000. */
  readonly maxStreamMs?: number | undefined;
  /** The longest that the chain waits for one check of a middleware, in milliseconds. Default: 5,000. */
  readonly checkTimeoutMs?: number | undefined;
}

/** The options with their defaults. */
export interface DeadlineLimits {
  readonly required: boolean;
  readonly maxUnaryMs: number;
  readonly maxStreamMs: number;
  readonly checkTimeoutMs: number;
}

/** The chain's middleware, with the time limit that whoever builds the chain hands on to it. */
export interface DeadlineMiddleware extends Middleware {
  readonly checkTimeoutMs: number;
}

/** The shape of `deadline`; the only place where its defaults stand. */
export const deadlineSchema: z.ZodType<DeadlineLimits, DeadlineOptions> = z.strictObject({
  required: z.boolean().default(false),
  maxUnaryMs: milliseconds.default(60_000),
  maxStreamMs: milliseconds.default(3_600_000),
  checkTimeoutMs: milliseconds.default(5000),
});

/**
 * Caps the deadline of every call, and gives one to calls that have none. Health probes need not bring one, but
 * end like all others; whoever watches watches again.
 *
 * Where `required`, a call without a deadline is INVALID_ARGUMENT `deadline required`. A `grpc-timeout` that the gRPC
 * specification does not allow is INVALID_ARGUMENT `malformed grpc-timeout`: it is not passed over as if none were sent.
 *
 * @throws {ConfigError} for bad options.
 */
export function deadline(options: DeadlineOptions = {}): DeadlineMiddleware {
  const { required, maxUnaryMs, maxStreamMs, checkTimeoutMs } = parseOptions(
    deadlineSchema,
    options,
    "deadline",
  );
  return Object.freeze<DeadlineMiddleware>({
    name: "deadline",
    checkTimeoutMs,
    onCall(call) {
      if (call.malformedTimeout) throw new StatusError(status.INVALID_ARGUMENT, texts.malformedTimeout);
      if (required && call.timeoutMs === undefined && !isHealthProbe(call.method)) {
        throw new StatusError(status.INVALID_ARGUMENT, texts.deadlineRequired);
      }
      capDeadline(call, call.startedAt + (call.method.kind === "unary" ? maxUnaryMs : maxStreamMs));
    },
  });
}
