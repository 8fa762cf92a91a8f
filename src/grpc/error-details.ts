// Structured error details for callers: google.rpc.Status in `grpc-status-details-bin`, encoded by hand because
// a few small messages do not need a protobuf runtime on the error path.
// Sources: google/rpc/status.proto and google/rpc/error_details.proto.
import { Buffer } from "node:buffer";
import { bytesField, stringField, varintField } from "./wire-format.ts";

export type StatusErrorDetail =
  /** How long to wait before trying again. */
  | { readonly type: "google.rpc.RetryInfo"; readonly retryDelayMs: number }
  /** Which fields of the request are wrong, and why. */
  | {
      readonly type: "google.rpc.BadRequest";
      readonly fieldViolations: readonly { readonly field: string; readonly description: string }[];
    }
  /** Which limits were reached: `subject` says whose (`user:ada`, `project:7`), `description` which limit, and what to do. */
  | {
      readonly type: "google.rpc.QuotaFailure";
      readonly violations: readonly { readonly subject: string; readonly description: string }[];
    }
  /** A stable reason for programs: `reason` in UPPER_SNAKE_CASE, `domain` a service's name. */
  | {
      readonly type: "google.rpc.ErrorInfo";
      readonly reason: string;
      readonly domain: string;
      readonly metadata?: Readonly<Record<string, string>>;
    }
  /** Any other message, already encoded. */
  | { readonly typeUrl: string; readonly value: Uint8Array };

/** The longest `google.protobuf.Duration`: 10,000 years. */
const maxDurationMs = 315_576_000_000_000;

/** Encodes `google.rpc.Status { code, message, details }`. */
export function encodeStatusDetails(
  code: number,
  message: string,
  details: readonly StatusErrorDetail[],
): Buffer {
  return Buffer.concat([
    varintField(1, code),
    stringField(2, message),
    ...details.map((detail) => bytesField(3, encodeAny(detail))),
  ]);
}

function encodeAny(detail: StatusErrorDetail): Buffer {
  if ("typeUrl" in detail)
    return Buffer.concat([stringField(1, detail.typeUrl), bytesField(2, detail.value)]);
  return Buffer.concat([
    stringField(1, `type.googleapis.com/${detail.type}`),
    bytesField(2, encodeDetail(detail)),
  ]);
}

function encodeDetail(detail: Exclude<StatusErrorDetail, { typeUrl: string }>): Buffer {
  switch (detail.type) {
    case "google.rpc.RetryInfo": {
      const ms = Math.min(Math.max(0, Math.ceil(detail.retryDelayMs)) || 0, maxDurationMs);
      const duration = Buffer.concat([
        varintField(1, Math.floor(ms / 1000)),
        varintField(2, (ms % 1000) * 1_000_000),
      ]);
      return bytesField(1, duration);
    }
    case "google.rpc.BadRequest":
      return pairs(
        1,
        detail.fieldViolations.map(({ field, description }) => [field, description]),
      );
    case "google.rpc.QuotaFailure":
      return pairs(
        1,
        detail.violations.map(({ subject, description }) => [subject, description]),
      );
    case "google.rpc.ErrorInfo":
      return Buffer.concat([
        stringField(1, detail.reason),
        stringField(2, detail.domain),
        pairs(3, Object.entries(detail.metadata ?? {})),
      ]);
  }
}

/** Messages of two texts each. */
function pairs(field: number, texts: readonly (readonly [string, string])[]): Buffer {
  return Buffer.concat(
    texts.map(([first, second]) =>
      bytesField(field, Buffer.concat([stringField(1, first), stringField(2, second)])),
    ),
  );
}
