// The errors that are thrown on purpose. Each says what was wrong, where, and what to do about it.

import type { Metadata } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import type { StatusErrorDetail } from "./error-details.ts";
import { publicText } from "./status.ts";

/**
 * Options that are wrong: thrown where they are handed in, before anything starts.
 * `problems` lists every mistake, each led by the path of the option (`rateLimit.perPeer.points: …`).
 */
export class ConfigError extends Error {
  readonly code = "ERR_PALISADE_CONFIG";
  readonly problems: readonly string[];

  constructor(problems: string | readonly string[], options?: ErrorOptions) {
    const list = typeof problems === "string" ? [problems] : problems;
    super(
      list.length === 1
        ? `${list[0]}`
        : `${list.length} problems:\n${list.map((p) => `  - ${p}`).join("\n")}`,
      options,
    );
    this.name = "ConfigError";
    this.problems = list;
  }
}

/** A policy that cannot be read, or does not fit the registered methods: thrown by `listen()`, with every problem in `problems`. */
export class PolicyError extends Error {
  readonly code = "ERR_PALISADE_POLICY";
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(
      `the authorization policy cannot be used; ${problems.length} problem(s):\n` +
        problems.map((p) => `  - ${p}`).join("\n"),
    );
    this.name = "PolicyError";
    this.problems = problems;
  }
}

/** What a caller may learn about its credential. The rest goes to the log. */
export type CredentialProblem = "missing" | "invalid" | "expired";

/**
 * A bad credential, thrown by an `Authenticator`. The caller learns `problem` and nothing more;
 * `message` is for the log and must not contain the credential itself.
 */
export class CredentialError extends Error {
  readonly code = "ERR_PALISADE_CREDENTIAL";
  readonly problem: CredentialProblem;

  constructor(problem: CredentialProblem, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "CredentialError";
    this.problem = problem;
  }
}

export interface StatusErrorOptions extends ErrorOptions {
  /** Structured details for the caller (`grpc-status-details-bin`, `google.rpc.Status`). Public. */
  readonly errorDetails?: readonly StatusErrorDetail[] | undefined;
  /** Trailers for the caller. Public. */
  readonly metadata?: Metadata | undefined;
}

/**
 * What a caller is told, said on purpose. `message` and `errorDetails` are public; `cause` is for the log only.
 * INTERNAL, UNKNOWN and DATA_LOSS are the exception: their text never leaves the server.
 *
 * @example
 * throw new StatusError(status.NOT_FOUND, "no such order");
 */
export class StatusError extends Error {
  readonly code: status;
  readonly details: string;
  readonly errorDetails: readonly StatusErrorDetail[];
  declare readonly metadata?: Metadata;

  constructor(code: status, message: string = publicText(code), options: StatusErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    if (!Number.isInteger(code) || code < status.CANCELLED || code > status.UNAUTHENTICATED) {
      throw new TypeError(
        `StatusError: code must be a gRPC status from 1 (CANCELLED) to 16 (UNAUTHENTICATED), got ${String(code)}`,
      );
    }
    this.name = "StatusError";
    this.code = code;
    this.details = message;
    this.errorDetails = options.errorDetails ?? [];
    if (options.metadata !== undefined) this.metadata = options.metadata;
  }

  /**
   * Passes an outgoing call's status on to the caller, on purpose: code, text and trailers as the other service
   * sent them. Without this an outgoing call's failure becomes INTERNAL (UNAVAILABLE stays), because its text was
   * written for this service, not for its callers.
   */
  static from(error: unknown): StatusError {
    if (error instanceof StatusError) return error;
    if (isStatusShaped(error)) {
      return new StatusError(error.code, error.details, {
        cause: error,
        ...(isMetadata(error.metadata) ? { metadata: error.metadata } : {}),
      });
    }
    return new StatusError(status.INTERNAL, publicText(status.INTERNAL), { cause: error });
  }
}

/** An error-like value that carries a gRPC status: an integer `code` from 1 to 16 and string `details`. */
export interface StatusShaped {
  readonly code: status;
  readonly details: string;
  readonly metadata?: unknown;
}

export function isStatusShaped(value: unknown): value is StatusShaped {
  if (typeof value !== "object" || value === null) return false;
  const { code, details } = value as { code?: unknown; details?: unknown };
  return (
    typeof code === "number" &&
    Number.isInteger(code) &&
    code >= status.CANCELLED &&
    code <= status.UNAUTHENTICATED &&
    typeof details === "string"
  );
}

/**
 * Is this the error of an outgoing grpc-js call? grpc-js builds them as an `Error` whose message is
 * "<code> <NAME>: <details>", which carries the received trailers, and whose stack leads to where the call was made.
 * Who catches one often puts words of its own into the message.
 */
export function isOutgoingCallError(value: unknown): value is Error & StatusShaped {
  if (!(value instanceof Error && isStatusShaped(value) && isMetadata((value as StatusShaped).metadata)))
    return false;
  const { code, details } = value as StatusShaped;
  return (
    value.message === `${code} ${status[code]}: ${details}` ||
    (typeof value.stack === "string" && value.stack.includes("\nfor call at\n"))
  );
}

function isMetadata(value: unknown): value is Metadata {
  return typeof value === "object" && value !== null && "getMap" in value && "toHttp2Headers" in value;
}
