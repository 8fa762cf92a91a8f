// gRPC's framing of messages (gRPC over HTTP/2, "Length-Prefixed-Message"), for frames that hold exactly one.
import { Buffer } from "node:buffer";

/** A flag and the length. */
export const framingBytes = 5;
/** What grpc-js's decoder calls `ReadState.NO_DATA`. */
export const betweenMessages = 0;

export interface Decoder {
  readonly readState: number;
  /** -1: any length. */
  readonly maxReadMessageLength: number;
}

/**
 * The message that the frame is, with its framing; undefined where the frame is anything else. It is copied, as grpc-js
 * does: the frame may be a piece of a large buffer.
 */
export function wholeMessage(
  { readState, maxReadMessageLength: most }: Decoder,
  data: Buffer,
): Buffer | undefined {
  if (readState !== betweenMessages || data.length <= framingBytes) return undefined;
  const bytes = data.readUInt32BE(1);
  if (bytes + framingBytes !== data.length || (most !== -1 && bytes > most)) return undefined;
  const message = Buffer.allocUnsafe(data.length);
  data.copy(message);
  return message;
}
