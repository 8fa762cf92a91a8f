/**
 * What an unexpected failure becomes. Only what somebody said on purpose reaches the caller: a `StatusError`, or a
 * value with an integer `code` of 1 to 16 and string `details` given to the callback, unless it is the error of an
 * outgoing call. Everything else, and every INTERNAL, UNKNOWN and DATA_LOSS, becomes a generic text with an error id;
 * the details go to the log beside the same id.
 */
import { status } from "@grpc/grpc-js";
import type { CallContext } from "../../chain/context.ts";
import type { FailureSource, PublicStatus } from "../../chain/public-status.ts";
import { isOutgoingCallError, isStatusShaped, StatusError } from "../../grpc/errors.ts";
import { internalErrorText, texts } from "../../grpc/status.ts";

export function recover(failure: unknown, source: FailureSource, call: CallContext): PublicStatus {
  if (failure instanceof StatusError) return onPurpose(failure, call);
  if (isOutgoingCallError(failure)) {
    return failure.code === status.UNAVAILABLE
      ? { code: status.UNAVAILABLE, details: texts.temporarilyUnavailable, cause: failure }
      : { ...unexpected(status.INTERNAL, failure, call), hint: outgoingAdvice };
  }
  if (source === "given" && isStatusShaped(failure)) return onPurpose(failure, call);
  const hint = adviceFor(failure);
  const internal = unexpected(status.INTERNAL, failure, call);
  return hint === undefined ? internal : { ...internal, hint };
}

/** For the log: what to do where a failure looks as if it was meant for the caller, and was not passed on. */
function adviceFor(failure: unknown): string | undefined {
  if (typeof failure !== "object" || failure === null) return undefined;
  const { code, details } = failure as { readonly code?: unknown; readonly details?: unknown };
  if (
    typeof code !== "number" ||
    !Number.isInteger(code) ||
    code < status.CANCELLED ||
    code > status.UNAUTHENTICATED
  ) {
    return undefined;
  }
  if (typeof details !== "string" && isDriversOwn(failure)) return undefined;
  return (
    `code ${code} was not sent to the caller: only a StatusError is, or an error with code and string details given to the callback; ` +
    "throw new StatusError(code, text)"
  );
}

/** An error of a database or of the system, whose small numbers mean something else. */
function isDriversOwn(failure: object): boolean {
  return failure instanceof Error && (failure.name !== "Error" || "errno" in failure);
}

const outgoingAdvice =
  "the status of an outgoing call is not sent to the caller: its text was written for this service; to forward it, " +
  "throw StatusError.from(error), or give that to the callback";

type Said = Pick<StatusError, "code" | "details"> &
  Partial<Pick<StatusError, "errorDetails">> & { readonly metadata?: unknown };

function onPurpose(said: Said, call: CallContext): PublicStatus {
  if (isOurFault(said.code)) return unexpected(said.code, said, call);
  return {
    code: said.code,
    details: said.details,
    ...(said.errorDetails === undefined ? {} : { errorDetails: said.errorDetails }),
    ...(said.metadata === undefined
      ? {}
      : { metadata: said.metadata as NonNullable<PublicStatus["metadata"]> }),
    cause: said instanceof StatusError ? said.cause : undefined,
  };
}

function isOurFault(code: number): boolean {
  return code === status.INTERNAL || code === status.UNKNOWN || code === status.DATA_LOSS;
}

function unexpected(code: number, cause: unknown, call: CallContext): PublicStatus {
  return { code, details: internalErrorText(call.id), cause, errorId: call.id };
}
