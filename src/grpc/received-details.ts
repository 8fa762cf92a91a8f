/**
 * Reads the structured error details of a call (`grpc-status-details-bin`, google.rpc.Status). They are what the other side
 * wrote, whoever that is.
 * Sources: google/rpc/status.proto and google/rpc/error_details.proto.
 */
import type { StatusErrorDetail } from "./error-details.ts";
import { StatusError } from "./errors.ts";
import { integerIn, messagesIn, textIn, wireFields } from "./wire-format.ts";

const key = "grpc-status-details-bin";

/** HTTP/2 headers of more than this no client of ours takes. */
const maxBytes = 65_536;

/**
 * The structured details of a call that failed: of the error that a client of grpc-js gets, or of a `StatusError`. In their order;
 * those of the same type may occur several times. A detail of another type, or one whose bytes are not of its type, is
 * `{ typeUrl, value }`. Empty where the error has none, where they cannot be read, or where they are larger than 64 KiB; never
 * throws.
 *
 * They come from the other side: `retryDelayMs` is from 0 to 2,147,483,647, the longest time that a timer waits, and `metadata` of
 * `google.rpc.ErrorInfo` is an object without a prototype. Their texts are not checked.
 *
 * @example
 * const retry = errorDetails(error).find((detail) => "type" in detail && detail.type === "google.rpc.RetryInfo");
 */
export function errorDetails(error: unknown): readonly StatusErrorDetail[] {
  if (error instanceof StatusError && error.errorDetails.length > 0) return error.errorDetails;
  try {
    const bytes = detailsOf(error);
    return bytes === undefined || bytes.byteLength > maxBytes ? [] : read(bytes);
  } catch {
    // An object that is no error of grpc-js, or bytes that are no google.rpc.Status.
    return [];
  }
}

function detailsOf(error: unknown): Uint8Array | undefined {
  if (typeof error !== "object" || error === null) return undefined;
  const { metadata }: { readonly metadata?: unknown } = error;
  if (typeof metadata !== "object" || metadata === null || !hasGet(metadata)) return undefined;
  const values = metadata.get(key);
  const first: unknown = Array.isArray(values) ? values[0] : undefined;
  return first instanceof Uint8Array ? first : undefined;
}

function hasGet(metadata: object): metadata is { get(name: string): unknown } {
  return typeof Reflect.get(metadata, "get") === "function";
}

function read(status: Uint8Array): readonly StatusErrorDetail[] {
  return messagesIn(wireFields(status), 3).map((any) => {
    const fields = wireFields(any);
    const typeUrl = textIn(fields, 1);
    const value = messagesIn(fields, 2).at(-1) ?? new Uint8Array();
    try {
      return typed(typeUrl, value) ?? { typeUrl, value };
    } catch {
      return { typeUrl, value };
    }
  });
}

/** Undefined for a type that is not known. The part after the last slash is the type's name (google/protobuf/any.proto). */
function typed(typeUrl: string, value: Uint8Array): StatusErrorDetail | undefined {
  const slash = typeUrl.lastIndexOf("/");
  const type = slash < 0 ? undefined : typeUrl.slice(slash + 1);
  switch (type) {
    case "google.rpc.RetryInfo": {
      const duration = wireFields(messagesIn(wireFields(value), 1).at(-1) ?? new Uint8Array());
      return { type, retryDelayMs: delayMs(integerIn(duration, 1), integerIn(duration, 2)) };
    }
    case "google.rpc.BadRequest":
      return {
        type,
        fieldViolations: pairs(value, 1).map(([field, description]) => ({ field, description })),
      };
    case "google.rpc.QuotaFailure":
      return {
        type,
        violations: pairs(value, 1).map(([subject, description]) => ({ subject, description })),
      };
    case "google.rpc.ErrorInfo": {
      const fields = wireFields(value);
      return {
        type,
        reason: textIn(fields, 1),
        domain: textIn(fields, 2),
        metadata: withoutPrototype(pairs(value, 3)),
      };
    }
    default:
      return undefined;
  }
}

/** A timer of Node's that is told to wait longer fires at once. */
const maxDelayMs = 2 ** 31 - 1;

function delayMs(seconds: bigint, nanos: bigint): number {
  const ms = Math.ceil(Number(seconds) * 1000 + Number(nanos) / 1_000_000);
  return Math.min(Math.max(0, ms), maxDelayMs);
}

/** Messages of two texts each. */
function pairs(value: Uint8Array, field: number): readonly (readonly [string, string])[] {
  return messagesIn(wireFields(value), field).map((message) => {
    const fields = wireFields(message);
    return [textIn(fields, 1), textIn(fields, 2)];
  });
}

/** A name such as `constructor` is then there only if it was sent. */
function withoutPrototype(entries: readonly (readonly [string, string])[]): Readonly<Record<string, string>> {
  const record: Record<string, string> = Object.create(null);
  for (const [name, value] of entries) record[name] = value;
  return record;
}
