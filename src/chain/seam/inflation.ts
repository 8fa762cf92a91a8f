// When a call's compressed messages are inflated: one after another, where somebody waits for them, where there is room.
import type { Buffer } from "node:buffer";
import { InflationBudget, type Room } from "../inflation-budget.ts";
import { isCompression } from "./decompression.ts";
import type { BaseCall } from "./inside.ts";
import { framingBytes } from "./whole-message.ts";

/** Inflated messages of the whole process that no handler has taken yet. */
export const inflationBudget: InflationBudget = new InflationBudget(64 * 1024 * 1024);

/** Deflate (RFC 1951) writes at most 258 bytes for two bits. */
const mostPerByte = 1032;
/** What an inflater takes while it is at work: its window, its tables, the piece that it writes to. */
const inflaterBytes = 64 * 1024;

/** The reader at the end of the call: a handler's stream. */
export interface MessageReader {
  /** Does it wait for a message, having read all that it was given? */
  readonly waits: boolean;
}

interface Compressed {
  readonly message: Buffer;
  readonly encoding: string;
  readonly resolve: (inflated: Buffer) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * grpc-js inflates every message of a frame as it arrives, all at once, read or not, ended or not: sixteen kilobytes of
 * them are a thousand inflaters, or as many megabytes. Here a message is inflated when
 * - the compressed one before it was taken by the handler, whatever came uncompressed in between;
 * - somebody waits for it: the handler of a request stream reads; or the request of a method with one message is whole, so
 *   that its handler starts with it (a second message, too, ends the wait: the call is refused for it);
 * - the budget of all calls has room for the most that it can be.
 */
export class Inflation {
  readonly #base: BaseCall;
  readonly #inflate: BaseCall["decompressMessage"];
  readonly #connection: object;
  readonly #streamsRequests: boolean;
  readonly #waiting: Compressed[] = [];
  /** Of each message that was not delivered yet, in their order: was it compressed? */
  readonly #compressed: boolean[] = [];
  #arrived = 0;
  #reader: MessageReader | undefined = undefined;
  /** Of the one that is next to be inflated, is being inflated, or was not taken yet. */
  #room: Room | undefined = undefined;
  #inflating = false;
  /** Of each message that was delivered and that the handler has not taken yet, in their order: was it compressed? */
  readonly #untaken: boolean[] = [];
  #stopped = false;

  constructor(base: BaseCall, { streamsRequests }: { readonly streamsRequests: boolean }) {
    this.#base = base;
    this.#inflate = base.decompressMessage;
    this.#connection = base.stream.session ?? base;
    this.#streamsRequests = streamsRequests;
    base.decompressMessage = (message, encoding) => this.#arrive(message, encoding);
    if (!streamsRequests) base.stream.once("end", () => this.next());
  }

  #arrive(message: Buffer, encoding: string): Buffer | Promise<Buffer> {
    const compressed = isCompression(encoding);
    this.#compressed.push(compressed);
    this.#arrived += 1;
    if (!compressed) {
      this.next();
      return this.#inflate.call(this.#base, message, encoding);
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ message, encoding, resolve, reject });
      this.next();
      // The base call pauses the stream at each message, and so would not see the end of the request.
      if (!this.#streamsRequests) process.nextTick(() => this.#readOn());
    });
  }

  #readOn(): void {
    if (this.#stopped || this.#waiting.length === 0 || this.#requestIsWhole()) return;
    this.#base.stream.resume();
  }

  /** Who reads from here on. Until then it is the chain itself. */
  set reader(reader: MessageReader) {
    this.#reader = reader;
  }

  /** A message was delivered, in the order in which they came. */
  delivered(): void {
    this.#untaken.push(this.#compressed.shift() === true);
    // No handler starts with two messages, and the call is refused for the second one when that is inflated too.
    if (!this.#streamsRequests && this.#arrived > 1) this.taken();
  }

  /** The handler has taken the next of the messages that were delivered. */
  taken(): void {
    if (this.#untaken.shift() === true) {
      this.#room?.release();
      this.#room = undefined;
    }
    this.next();
  }

  /** Inflates the next message, where it is time: to be called when the reader begins to wait. */
  next(): void {
    if (this.#stopped || this.#room !== undefined || !this.#isWaitedFor()) return;
    const next = this.#waiting.shift();
    if (next === undefined) return;
    this.#room = inflationBudget.ask(this.#connection, this.#mostBytes(next), (room) =>
      this.#begin(next, room),
    );
  }

  #isWaitedFor(): boolean {
    return this.#streamsRequests ? (this.#reader?.waits ?? true) : this.#requestIsWhole();
  }

  /**
   * A second message is one too many: the call is refused for it. A request that was lost or reset ends too, and is not
   * whole: nobody waits for its message.
   */
  #requestIsWhole(): boolean {
    if (this.#base.stream.aborted) return false;
    return this.#base.receivedHalfClose || this.#arrived > 1;
  }

  #mostBytes({ message }: Compressed): number {
    const { maxReceiveMessageSize: limit } = this.#base;
    const most = (message.length - framingBytes) * mostPerByte;
    // The pieces, and the whole that they are put together to.
    return inflaterBytes + 2 * (limit === -1 ? most : Math.min(limit, most));
  }

  #begin({ message, encoding, resolve, reject }: Compressed, room: Room): void {
    this.#inflating = true;
    const done = (): boolean => {
      this.#inflating = false;
      // Its bytes were there until now, though nobody waited for them any more.
      if (this.#stopped) room.release();
      return !this.#stopped;
    };
    Promise.resolve(this.#inflate.call(this.#base, message, encoding)).then(
      (inflated) => {
        room.keep(inflated.length);
        if (done()) resolve(inflated);
      },
      (error: unknown) => {
        if (done()) reject(error);
      },
    );
  }

  /** The call ended: what waits is never inflated. */
  stop(): void {
    this.#stopped = true;
    this.#waiting.length = 0;
    this.#compressed.length = 0;
    if (!this.#inflating) this.#room?.release();
  }
}

/** Undefined where the caller does not compress. */
export function inflationOf(
  base: BaseCall,
  method: { readonly streamsRequests: boolean },
): Inflation | undefined {
  return base.incomingEncoding === "identity" ? undefined : new Inflation(base, method);
}
