// Length-prefixed messages (gRPC over HTTP/2, "Length-Prefixed-Message"): a byte that says whether it is compressed, four
// for the length, the message.
import { Buffer } from "node:buffer";

export const prefixBytes = 5;
/** What a message that has only begun is given at first, however long it says it will be. */
const firstBytes = 4096;

export type FramingError = "flag" | "length";

/** Puts messages together from what arrives. Takes linear time, and no more memory than twice what has arrived, or 4 KiB where that is more. */
export class MessageFraming {
  readonly #limit: { readonly maxReceivedBytes: number };
  readonly #prefix: Buffer = Buffer.allocUnsafe(prefixBytes);
  #prefixLength = 0;
  /** Undefined between messages. */
  #message: Buffer | undefined = undefined;
  #length = 0;
  #received = 0;

  constructor(limit: { readonly maxReceivedBytes: number }) {
    this.#limit = limit;
  }

  /** What the prefix of the last message says. */
  get length(): number {
    return this.#length;
  }

  /** Has a message begun that is not complete? */
  get isWithinMessage(): boolean {
    return this.#message !== undefined || this.#prefixLength > 0;
  }

  /** Hands on each message that is complete with these bytes. Of an error nothing can be read any more. */
  take(bytes: Buffer, onMessage: (message: Buffer, compressed: boolean) => void): FramingError | undefined {
    let at = 0;
    while (at < bytes.length) {
      if (this.#message === undefined) {
        const copied = bytes.copy(this.#prefix, this.#prefixLength, at);
        this.#prefixLength += copied;
        at += copied;
        if (this.#prefixLength < prefixBytes) return undefined;
        this.#length = this.#prefix.readUInt32BE(1);
        if (this.#flag > 1) return "flag";
        if (this.#length > this.#limit.maxReceivedBytes) return "length";
        this.#received = 0;
        // Not the memory of the bytes that came: they may be a piece of a large buffer, which a small message would keep alive.
        // Twice what is there: a message of one DATA frame arrives in two, because its prefix takes room.
        this.#message = Buffer.allocUnsafe(
          Math.min(this.#length, Math.max(2 * (bytes.length - at), firstBytes)),
        );
      }
      const copied = Math.min(bytes.length - at, this.#length - this.#received);
      const message = this.#withRoomFor(this.#message, this.#received + copied);
      bytes.copy(message, this.#received, at, at + copied);
      this.#received += copied;
      at += copied;
      if (this.#received < this.#length) {
        this.#message = message;
        return undefined;
      }
      this.#message = undefined;
      this.#prefixLength = 0;
      onMessage(message, this.#flag === 1);
    }
    return undefined;
  }

  get #flag(): number {
    return this.#prefix.readUInt8(0);
  }

  #withRoomFor(message: Buffer, bytes: number): Buffer {
    if (bytes <= message.length) return message;
    const larger = Buffer.allocUnsafe(Math.min(this.#length, Math.max(bytes, 2 * message.length)));
    message.copy(larger, 0, 0, this.#received);
    return larger;
  }
}

/** The message as it goes on the wire, not compressed. */
export function framed(message: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(prefixBytes + message.length);
  bytes.writeUInt8(0, 0);
  bytes.writeUInt32BE(message.length, 1);
  bytes.set(message, prefixBytes);
  return bytes;
}
