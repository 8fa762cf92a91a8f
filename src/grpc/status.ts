// gRPC status codes: their names, and the one table of what a caller is told (docs/public-api, "What a caller is told").
import { status } from "@grpc/grpc-js";

/** The public texts, each in one place. */
export const texts = {
  missingCredentials: "missing credentials",
  invalidCredentials: "invalid credentials",
  expiredCredentials: "expired credentials",
  permissionDenied: "permission denied",
  unknownMethod: "unknown method",
  rateLimitExceeded: "rate limit exceeded",
  tooManyCallsInFlight: "too many calls in flight",
  metadataTooLarge: "metadata too large",
  messageTooLarge: "message too large",
  deadlineRequired: "deadline required",
  malformedTimeout: "malformed grpc-timeout",
  deadlineExceeded: "deadline exceeded",
  invalidRequest: "invalid request",
  temporarilyUnavailable: "temporarily unavailable",
  malformedRequest: "malformed request message",
  unsupportedCompression: "unsupported compression",
  oneMessageExpected: "one request message expected",
} as const;

/** The text of an unexpected failure; the id is in the log line beside the cause. */
export function internalErrorText(id: string): string {
  return `internal error (id ${id})`;
}

/** The text of a status for which nothing better is known. */
export function publicText(code: status): string {
  switch (code) {
    case status.UNAUTHENTICATED:
      return texts.invalidCredentials;
    case status.PERMISSION_DENIED:
      return texts.permissionDenied;
    case status.DEADLINE_EXCEEDED:
      return texts.deadlineExceeded;
    case status.UNAVAILABLE:
      return texts.temporarilyUnavailable;
    case status.INTERNAL:
    case status.UNKNOWN:
    case status.DATA_LOSS:
      return "internal error";
    default:
      return statusName(code).toLowerCase().replaceAll("_", " ");
  }
}

/** `NOT_FOUND` for 5. A number that is no gRPC status is `UNKNOWN`, as the gRPC specification has it. */
export function statusName(code: number): string {
  return status[code] ?? "UNKNOWN";
}
