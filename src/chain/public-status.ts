// The contract of recovery: what a failure becomes before anyone outside sees it. The rules are in middleware/recovery/recovery.ts.
import type { Metadata } from "@grpc/grpc-js";
import type { StatusErrorDetail } from "../grpc/error-details.ts";
import type { CallContext } from "./context.ts";

/** Where a failure came from, which decides how far its words are trusted. */
export type FailureSource =
  /** Thrown or rejected by the handler, one of its listeners or its stream. */
  | "thrown"
  /** Given by the handler on purpose: `callback(error)` or `call.emit("error", error)`. */
  | "given"
  /** Thrown by a middleware. */
  | "layer";

/** What leaves the server, and what stays for the log. */
export interface PublicStatus {
  readonly code: number;
  readonly details: string;
  readonly errorDetails?: readonly StatusErrorDetail[];
  readonly metadata?: Metadata;
  /** For the log only. */
  readonly cause?: unknown;
  /** For the log only: why it ended, where there is no error that tells. */
  readonly reason?: string;
  /** For the log only: what whoever wrote the handler can do about it. */
  readonly hint?: string;
  readonly errorId?: string;
}

export type Recovery = (failure: unknown, source: FailureSource, call: CallContext) => PublicStatus;
