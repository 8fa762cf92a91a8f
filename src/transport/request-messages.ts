/**
 * The messages of one request, as they come from its stream: put together, decompressed, decoded, and handed on one by one
 * as they are asked for. The stream stands still meanwhile, so that HTTP/2's flow control holds the caller back.
 */
import type { Buffer } from "node:buffer";
import type { ServerHttp2Stream } from "node:http2";
import { status } from "@grpc/grpc-js";
import { texts } from "../grpc/status.ts";
import type { CallListener, RequestFailure } from "./call.ts";
import { Decompression, isCompression } from "./decompression.ts";
import { MessageFraming } from "./message-framing.ts";

export interface RequestMessagesOptions {
  /** Does the caller send a stream of messages, or exactly one? */
  readonly streams: boolean;
  readonly decode: (bytes: Buffer) => unknown;
  /** `grpc-encoding`; what its messages that say so are compressed with. */
  readonly encoding: string;
  readonly maxReceivedBytes: number;
}

interface Message {
  readonly bytes: Buffer;
  readonly compressed: boolean;
}

/** The status-code document: what cannot be read of a request is INTERNAL. */
function malformed(cause: unknown): RequestFailure {
  return { code: status.INTERNAL, details: texts.malformedRequest, cause };
}

function tooLarge(cause: Error): RequestFailure {
  return { code: status.RESOURCE_EXHAUSTED, details: texts.messageTooLarge, cause };
}

const unknownEncoding: RequestFailure = {
  code: status.UNIMPLEMENTED,
  details: texts.unsupportedCompression,
};
const notNamed = "a message says that it is compressed, and its request names no encoding";

function notOne(cause: string): RequestFailure {
  return { code: status.UNIMPLEMENTED, details: texts.oneMessageExpected, cause: new Error(cause) };
}

export class RequestMessages {
  readonly #stream: ServerHttp2Stream;
  readonly #streams: boolean;
  readonly #decode: (bytes: Buffer) => unknown;
  readonly #encoding: string;
  readonly #framing: MessageFraming;
  readonly decompression: Decompression | undefined;
  #listener: CallListener | undefined = undefined;
  /** Complete, and not handed on yet. */
  readonly #waiting: Message[] = [];
  #count = 0;
  #asked = false;
  #handingOn = false;
  #ended = false;
  #failure: RequestFailure | undefined = undefined;
  /** The end or the failure was told, or nobody wants to know any more. */
  #over = false;
  maxReceivedBytes: number;
  receivedBytes = 0;

  constructor(
    stream: ServerHttp2Stream,
    { streams, decode, encoding, maxReceivedBytes }: RequestMessagesOptions,
  ) {
    this.#stream = stream;
    this.#streams = streams;
    this.#decode = decode;
    this.#encoding = encoding;
    this.maxReceivedBytes = maxReceivedBytes;
    this.#framing = new MessageFraming(this);
    this.decompression = isCompression(encoding)
      ? new Decompression({
          encoding,
          connection: stream.session ?? stream,
          limit: this,
          isWaitedFor: () => streams || this.#ended,
          onReady: () => this.#handOn(),
        })
      : undefined;
  }

  /** Did END_STREAM come, and was all before it read? A stream that was reset or lost has none. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Asks for one message, or the end. */
  ask(listener: CallListener): void {
    if (this.#over) return;
    this.#asked = true;
    this.#listener = listener;
    this.#handOn();
  }

  /** For the stream's "data". */
  onData(bytes: Buffer): void {
    if (this.#over || this.#failure !== undefined) return;
    const error = this.#framing.take(bytes, this.#arrived);
    if (error === "length")
      this.#fail(tooLarge(this.#larger(`a message of ${this.#framing.length} bytes is`)));
    else if (error === "flag") this.#fail(malformed(new Error("a flag byte that is neither 0 nor 1")));
    this.#handOn();
  }

  readonly #arrived = (bytes: Buffer, compressed: boolean): void => {
    this.#count += 1;
    this.receivedBytes += bytes.length;
    if (!this.#streams && this.#count > 1) this.#fail(notOne("more than one request message"));
    else if (this.#encoding !== "identity" && this.decompression === undefined) this.#fail(unknownEncoding);
    else if (compressed && this.decompression === undefined) this.#fail(malformed(new Error(notNamed)));
    else this.#waiting.push({ bytes, compressed });
  };

  /** For the stream's "end". */
  onEnd(): void {
    if (this.#over) return;
    this.#ended = true;
    if (this.#framing.isWithinMessage) this.#fail(malformed(new Error("the request ends within a message")));
    else if (!this.#streams && this.#count === 0) this.#fail(notOne("no request message"));
    this.#handOn();
  }

  #larger(what: string): Error {
    return new Error(`${what} larger than the limit of ${this.maxReceivedBytes}`);
  }

  /** Told behind the messages before it; of one message there is nothing to tell before. */
  #fail(failure: RequestFailure): void {
    this.#failure ??= failure;
    if (!this.#streams) this.#waiting.length = 0;
  }

  #handOn(): void {
    // Whoever is told asks for the next one; a loop takes less stack than a request may have messages.
    if (this.#handingOn) return;
    this.#handingOn = true;
    while (this.#asked && !this.#over && this.#handOnNext());
    this.#handingOn = false;
    this.#flow();
  }

  /** Was there something to hand on? */
  #handOnNext(): boolean {
    const next = this.#waiting[0];
    if (next === undefined) return this.#handOnEnd();
    let { bytes } = next;
    if (next.compressed) {
      const contents = this.decompression?.contentsOf(bytes);
      if (contents === undefined) return false;
      if ("error" in contents) {
        const { error } = contents;
        this.#end(
          contents.tooLarge ? tooLarge(this.#larger("what a message decompresses to is")) : malformed(error),
        );
        return true;
      }
      ({ bytes } = contents);
    }
    this.#waiting.shift();
    let message: unknown;
    try {
      message = this.#decode(bytes);
    } catch (cause) {
      this.#end(malformed(cause));
      return true;
    }
    this.#asked = false;
    this.decompression?.handedOn(next);
    this.#listener?.onReceiveMessage(message);
    return true;
  }

  #handOnEnd(): boolean {
    if (this.#failure !== undefined) this.#end(this.#failure);
    else if (this.#ended) {
      this.#over = true;
      this.#listener?.onReceiveHalfClose();
    } else return false;
    return true;
  }

  #end(failure: RequestFailure): void {
    this.#over = true;
    this.#listener?.onRequestFailure(failure);
  }

  #flow(): void {
    if (this.#ended) return;
    const stream = this.#stream;
    if (this.#wantsMore) {
      if (stream.readableFlowing !== true) stream.resume();
    } else if (stream.readableFlowing === true && !this.#over) stream.pause();
  }

  /** The one message of a method waits for the end of its request before it is decompressed. */
  get #wantsMore(): boolean {
    if (this.#over || this.#failure !== undefined) return true;
    return this.#asked && (this.#waiting.length === 0 || !this.#streams);
  }

  /** The call has its status: what still comes is thrown away, so that the stream can close. */
  stop(): void {
    this.#over = true;
    this.#waiting.length = 0;
    this.decompression?.stop();
    this.#stream.resume();
  }
}
