// When a call's compressed messages are decompressed: one after another, where somebody waits for them, where there is room.
import type { Buffer } from "node:buffer";
import zlib from "node:zlib";
import { DecompressionBudget, type Room } from "./decompression-budget.ts";

/** Decompressed messages of the whole process that no handler has taken yet. */
export const decompressionBudget: DecompressionBudget = new DecompressionBudget(64 * 1024 * 1024);

/** Deflate (RFC 1951) writes at most 258 bytes for two bits. */
const maxExpansion = 1032;
/** What a decompressor takes while it is at work: its window, its tables, the piece that it writes to. */
const decompressorBytes = 64 * 1024;

export type Compression = "gzip" | "deflate";

type Decompress = (
  message: Buffer,
  options: zlib.ZlibOptions,
  done: (error: Error | null, contents: Buffer) => void,
) => void;

const decompress: Readonly<Record<Compression, Decompress>> = {
  gzip: (message, options, done) => zlib.gunzip(message, options, done),
  deflate: (message, options, done) => zlib.inflate(message, options, done),
};

export function isCompression(encoding: string): encoding is Compression {
  return Object.hasOwn(decompress, encoding);
}

/** The reader at the end of the call: a handler's stream. */
export interface MessageReader {
  /** Does it wait for a message, having read all that it was given? */
  readonly waits: boolean;
}

export interface DecompressionOptions {
  readonly encoding: Compression;
  /** Shares of the budget are by connection. */
  readonly connection: object;
  readonly limit: { readonly maxReceivedBytes: number };
  /** Without a reader that tells: is the next message waited for? */
  isWaitedFor(): boolean;
  /** The contents of the message that was asked for are there, or an error is. */
  onReady(): void;
}

export type Contents = { readonly bytes: Buffer } | { readonly error: Error; readonly tooLarge: boolean };

/**
 * A frame of sixteen kilobytes may hold a thousand messages that are megabytes each once decompressed. So a message is
 * decompressed when
 * - the compressed one before it was taken by the handler, whatever came uncompressed in between;
 * - somebody waits for it: the handler of a request stream reads; or the request of a method with one message is whole, so
 *   that its handler starts with it;
 * - the budget of all calls has room for the most that it can be.
 */
export class Decompression {
  readonly #options: DecompressionOptions;
  #reader: MessageReader | undefined = undefined;
  /** Of the message that is next to be decompressed, is being decompressed, or was not taken yet. */
  #room: Room | undefined = undefined;
  #contents: Contents | undefined = undefined;
  #working = false;
  /** Of each message that was handed on and that the handler has not taken yet, in their order: was it compressed? */
  readonly #untaken: boolean[] = [];
  #stopped = false;

  constructor(options: DecompressionOptions) {
    this.#options = options;
  }

  /** Who reads from here on. Until then it is the chain itself. */
  set reader(reader: MessageReader) {
    this.#reader = reader;
  }

  /**
   * What is in the next compressed message, once it is there; undefined until then. Each message is asked for again and
   * again until it is there, and no other in between.
   */
  contentsOf(message: Buffer): Contents | undefined {
    const contents = this.#contents;
    if (contents !== undefined) {
      this.#contents = undefined;
      return contents;
    }
    if (this.#stopped || this.#room !== undefined || !this.#isWaitedFor()) return undefined;
    this.#room = decompressionBudget.ask(this.#options.connection, this.#maxBytes(message), (room) =>
      this.#begin(message, room),
    );
    return undefined;
  }

  #isWaitedFor(): boolean {
    return this.#reader?.waits ?? this.#options.isWaitedFor();
  }

  #maxBytes(message: Buffer): number {
    // The pieces, and the whole that they are put together to.
    return (
      decompressorBytes + 2 * Math.min(this.#options.limit.maxReceivedBytes, message.length * maxExpansion)
    );
  }

  #begin(message: Buffer, room: Room): void {
    this.#working = true;
    const { encoding, limit } = this.#options;
    const maxOutputLength = Math.max(limit.maxReceivedBytes, 1);
    // grpc-js before 1.14.4 does not listen for errors of its own decompressor: one message that is not what it says ends
    // the process.
    decompress[encoding](message, { maxOutputLength }, (error, bytes) => {
      this.#working = false;
      // Its bytes were there until now, though nobody waited for them any more.
      if (this.#stopped) {
        room.release();
        return;
      }
      if (error === null) room.keep(bytes.length);
      this.#contents =
        error === null
          ? { bytes }
          : { error, tooLarge: "code" in error && error.code === "ERR_BUFFER_TOO_LARGE" };
      this.#options.onReady();
    });
  }

  /** A message was handed on, in the order in which they came. */
  handedOn({ compressed }: { readonly compressed: boolean }): void {
    this.#untaken.push(compressed);
  }

  /** The handler has taken the next of the messages that were handed on. */
  taken(): void {
    if (this.#untaken.shift() === true) {
      this.#room?.release();
      this.#room = undefined;
    }
    this.next();
  }

  /** To be called when the reader begins to wait. */
  next(): void {
    if (!this.#stopped && this.#room === undefined) this.#options.onReady();
  }

  /** The call ended: what waits is never decompressed. */
  stop(): void {
    this.#stopped = true;
    this.#contents = undefined;
    if (!this.#working) this.#room?.release();
  }
}
