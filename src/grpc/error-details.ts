// Structured error details for callers: google.rpc.Status in `grpc-status-details-bin`, encoded by hand because
// three small messages do not need a protobuf runtime on the error path.
// Sources: google/rpc/status.proto and google/rpc/error_details.proto; the protobuf wire format.
import { Buffer } from "node:buffer";

export type StatusErrorDetail =
  /** How long to wait before trying again. */
  | { readonly type: "google.rpc.RetryInfo"; readonly retryDelayMs: number }
  /** Which fields of the request are wrong, and why. */
  | {
      readonly type: "google.rpc.BadRequest";
      readonly fieldViolations: readonly { readonly field: string; readonly description: string }[];
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
      const ms = Math.max(0, Math.ceil(detail.retryDelayMs));
      const duration = Buffer.concat([
        varintField(1, Math.floor(ms / 1000)),
        varintField(2, (ms % 1000) * 1_000_000),
      ]);
      return bytesField(1, duration);
    }
    case "google.rpc.BadRequest":
      return Buffer.concat(
        detail.fieldViolations.map(({ field, description }) =>
          bytesField(1, Buffer.concat([stringField(1, field), stringField(2, description)])),
        ),
      );
    case "google.rpc.ErrorInfo":
      return Buffer.concat([
        stringField(1, detail.reason),
        stringField(2, detail.domain),
        ...Object.entries(detail.metadata ?? {}).map(([key, value]) =>
          bytesField(3, Buffer.concat([stringField(1, key), stringField(2, value)])),
        ),
      ]);
  }
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 0x80) {
    bytes.push((rest % 0x80) | 0x80);
    rest = Math.floor(rest / 0x80);
  }
  bytes.push(rest);
  return Buffer.from(bytes);
}

function varintField(field: number, value: number): Buffer {
  return value === 0 ? Buffer.alloc(0) : Buffer.concat([varint(field << 3), varint(value)]);
}

function bytesField(field: number, value: Uint8Array): Buffer {
  return Buffer.concat([varint((field << 3) | 2), varint(value.byteLength), value]);
}

function stringField(field: number, value: string): Buffer {
  return value === "" ? Buffer.alloc(0) : bytesField(field, Buffer.from(value.toWellFormed(), "utf8"));
}
