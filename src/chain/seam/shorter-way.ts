/**
 * A shorter way through grpc-js's base call for what nearly every call is: messages that come whole and uncompressed, a
 * status without metadata. grpc-js takes each message apart and together again, waits a promise for what is no promise,
 * and copies headers that are always the same. What is not that simple takes grpc-js's own way.
 *
 * Each function does what grpc-js 1.14.7 does in the same place, and relies on fields that it does not document:
 * `takesShorterWay` looks at them, and where one is missing every call takes grpc-js's way.
 */
import type { Buffer } from "node:buffer";
import { constants, type OutgoingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import { type Metadata, status } from "@grpc/grpc-js";
import { betweenMessages, framingBytes, wholeMessage } from "./whole-message.ts";

interface QueueEntry {
  type: "COMPRESSED" | "READABLE" | "HALF_CLOSE";
  readonly compressedMessage: Buffer;
  parsedMessage: unknown;
}

interface Decoder {
  readState: number;
  maxReadMessageLength: number;
  write(data: Buffer): Buffer[];
}

interface OpenCall {
  readonly stream: ServerHttp2Stream;
  readonly handler: { readonly deserialize: (bytes: Buffer) => unknown };
  readonly decoder: Decoder;
  readonly listener: { onReceiveMessage(message: unknown): void; onReceiveHalfClose(): void } | null;
  readonly maxSendMessageSize: number;
  readonly readQueue: QueueEntry[];
  isReadPending: boolean;
  cancelled: boolean;
  cancelNotified: boolean;
  metadataSent: boolean;
  wantTrailers: boolean;
  shouldSendMetrics: boolean;
  /** Null where channelz is off. */
  readonly callEventTracker: object | null;
  [shorterKey]?: true;
  /** What waits until the one message of a call has left. */
  [answeredKey]?: (() => void) | undefined;
  receivedHalfClose: boolean;
  handleDataFrame(data: Buffer): void;
  handleEndEvent(): void;
  maybeSendMetadata(): void;
  serializeMessage(message: unknown): Buffer;
  sendMessage(message: unknown, callback: () => void): unknown;
  decompressMessage(message: Buffer, encoding: string): Buffer | Promise<Buffer>;
  decompressAndMaybePush(entry: QueueEntry): unknown;
  maybePushNextMessage(): void;
  checkCancelled(): boolean;
  notifyOnCancel(): void;
  sendStatus(sent: { readonly code: status; readonly details: string }): void;
}

const shorterKey: unique symbol = Symbol("palisade.shorter");
const answeredKey: unique symbol = Symbol("palisade.answered");

/** Is this base call one that the functions below know? Asked of the first one of its class. */
export function takesShorterWay(base: object): boolean {
  const call = base as Partial<OpenCall>;
  return (
    call.decoder?.readState === betweenMessages &&
    typeof call.decoder.write === "function" &&
    typeof call.metadataSent === "boolean" &&
    typeof call.wantTrailers === "boolean" &&
    typeof call.shouldSendMetrics === "boolean" &&
    typeof call.isReadPending === "boolean" &&
    typeof call.cancelled === "boolean" &&
    typeof call.cancelNotified === "boolean" &&
    typeof call.maxSendMessageSize === "number" &&
    Array.isArray(call.readQueue) &&
    call.listener !== undefined &&
    call.callEventTracker !== undefined &&
    typeof call.handleDataFrame === "function" &&
    typeof call.handleEndEvent === "function" &&
    typeof call.serializeMessage === "function" &&
    typeof call.sendMessage === "function" &&
    typeof call.maybeSendMetadata === "function" &&
    typeof call.decompressAndMaybePush === "function" &&
    typeof call.maybePushNextMessage === "function" &&
    typeof call.checkCancelled === "function" &&
    typeof call.notifyOnCancel === "function"
  );
}

/** For a call that was not started. */
export function takeShorterWayIn(base: object): void {
  const call = base as OpenCall;
  // Ours does so by itself.
  if (Object.hasOwn(call.decoder, "readState")) call.decoder.write = readWhole;
  call.handleDataFrame = readFrame;
  call.handleEndEvent = readEnd;
  call.decompressAndMaybePush = pushUncompressed;
  call.maybeSendMetadata = sendPlainHeaders;
  // Where channelz counts messages, grpc-js's own way tells it.
  if (call.callEventTracker === null) call.sendMessage = sendAhead;
  call[shorterKey] = true;
}

function readWhole(this: Decoder, data: Buffer): Buffer[] {
  const message = wholeMessage(this, data);
  return message === undefined ? (Object.getPrototypeOf(this) as Decoder).write.call(this, data) : [message];
}

/**
 * grpc-js pauses the stream at each message, and resumes it when the reader asks for the next. Most readers ask while they
 * are told: for them the stream need not stop.
 */
function readFrame(this: OpenCall, data: Buffer): void {
  if (this.checkCancelled()) return;
  let messages: readonly Buffer[];
  try {
    messages = this.decoder.write(data);
  } catch (error) {
    this.sendStatus({ code: status.RESOURCE_EXHAUSTED, details: (error as Error).message });
    return;
  }
  for (const message of messages) {
    // It was told its end by one of them: nobody reads the others.
    if (this.cancelled) return;
    if (this.isReadPending && this.readQueue.length === 0 && this.listener !== null && message[0] === 0) {
      const read = deserialized(this, message);
      if (read === unreadable) continue;
      this.isReadPending = false;
      this.listener.onReceiveMessage(read);
    } else {
      const entry: QueueEntry = { type: "COMPRESSED", compressedMessage: message, parsedMessage: null };
      this.readQueue.push(entry);
      this.decompressAndMaybePush(entry);
    }
  }
  // A call that was told its end lets what is left flow past, so that its stream can close.
  if (messages.length === 0 || this.cancelled) return;
  // What is to be inflated waits in the queue while somebody waits for it.
  if (!this.isReadPending || this.readQueue.length > 0) this.stream.pause();
}

/** Tells the end of the request to whoever waits for it; for all others it has its place in the queue. */
function readEnd(this: OpenCall): void {
  const { listener } = this;
  if (!this.isReadPending || this.readQueue.length > 0 || listener === null) {
    (Object.getPrototypeOf(this) as OpenCall).handleEndEvent.call(this);
    return;
  }
  this.receivedHalfClose = true;
  this.isReadPending = false;
  listener.onReceiveHalfClose();
}

const unreadable: unique symbol = Symbol("unreadable");

/** Of a message that is not compressed. `unreadable` where the call has been told so. */
function deserialized(call: OpenCall, message: Buffer): unknown {
  const contents = call.decompressMessage(message, "identity");
  try {
    return call.handler.deserialize(contents as Buffer);
  } catch {
    call.sendStatus({ code: status.INTERNAL, details: "Error deserializing request" });
    return unreadable;
  }
}

function pushUncompressed(this: OpenCall, entry: QueueEntry): unknown {
  const { compressedMessage: message } = entry;
  if (entry.type !== "COMPRESSED" || message[0] === 1)
    return (Object.getPrototypeOf(this) as OpenCall).decompressAndMaybePush.call(this, entry);
  const read = deserialized(this, message);
  if (read === unreadable) return undefined;
  entry.parsedMessage = read;
  entry.type = "READABLE";
  this.maybePushNextMessage();
  return undefined;
}

/** As grpc-js has them in front of every response. */
const responseHeaders: OutgoingHttpHeaders = Object.freeze({
  [constants.HTTP2_HEADER_STATUS]: constants.HTTP_STATUS_OK,
  [constants.HTTP2_HEADER_CONTENT_TYPE]: "application/grpc+proto",
  "grpc-accept-encoding": "identity,deflate,gzip",
  "grpc-encoding": "identity",
});
const responseOptions = Object.freeze({ waitForTrailers: true });
const okTrailers: OutgoingHttpHeaders = Object.freeze({ "grpc-status": status.OK, "grpc-message": "OK" });

/** Response headers without anything of the service's own. */
function sendPlainHeaders(this: OpenCall): void {
  if (this.metadataSent || this.checkCancelled()) return;
  this.metadataSent = true;
  this.stream.respond(responseHeaders, responseOptions);
}

/** The message as it goes on the wire, behind its headers. Undefined where the call has been told that it cannot go. */
function serialized(call: OpenCall, message: unknown): Buffer | undefined {
  let bytes: Buffer;
  try {
    bytes = call.serializeMessage(message);
  } catch {
    call.sendStatus({ code: status.INTERNAL, details: "Error serializing response" });
    return undefined;
  }
  const { maxSendMessageSize: most } = call;
  if (most !== -1 && bytes.length - framingBytes > most) {
    const details = `Sent message larger than max (${bytes.length} vs. ${most})`;
    call.sendStatus({ code: status.RESOURCE_EXHAUSTED, details });
    return undefined;
  }
  call.maybeSendMetadata();
  return bytes;
}

function notWritten(call: OpenCall): void {
  call.sendStatus({ code: status.INTERNAL, details: "Internal server error" });
}

/**
 * grpc-js takes the next message when the last one was written, so each is a frame, a TLS record and a system call of its
 * own. Here the next one comes at once while HTTP/2's buffer has room (16 KiB), and what it holds leaves together. True
 * where the callback was called or will be.
 */
function sendAhead(this: OpenCall, message: unknown, callback: () => void): boolean {
  if (this.checkCancelled()) return false;
  const bytes = serialized(this, message);
  if (bytes === undefined) return false;
  let ahead = false;
  ahead = this.stream.write(bytes, (error) => {
    if (error) notWritten(this);
    else if (!ahead) callback();
  });
  if (ahead) callback();
  return true;
}

/**
 * Sends the one message of a call whose status follows at once: grpc-js would wait until it was written, and the trailers
 * would be a TLS record and a system call of their own. `callback` is called where they can go. False where that has to go
 * grpc-js's way.
 */
export function sendAnswer(base: object, message: unknown, callback: () => void): boolean {
  const call = base as OpenCall;
  if (call[shorterKey] !== true || call.callEventTracker !== null || call.wantTrailers) return false;
  if (call.checkCancelled()) return true;
  const bytes = serialized(call, message);
  if (bytes === undefined) return true;
  call[answeredKey] = callback;
  const stream: EndingStream = call.stream;
  stream[endingKey] = call;
  stream.on("wantTrailers", onTrailersDue);
  stream.write(bytes, (error) => {
    if (error) notWritten(call);
  });
  stream.end();
  return true;
}

function onTrailersDue(this: EndingStream): void {
  const call = this[endingKey];
  const answered = call?.[answeredKey];
  if (call === undefined || answered === undefined) return;
  call[answeredKey] = undefined;
  this[dueKey] = true;
  answered();
}

/** Ends the call with OK. False where that has to go grpc-js's way. */
export function sendPlainSuccess(
  base: object,
  {
    code,
    details,
    metadata,
  }: { readonly code: status; readonly details: string; readonly metadata?: Metadata | null | undefined },
): boolean {
  if (code !== status.OK || details !== "OK" || (metadata !== undefined && metadata !== null)) return false;
  const call = base as OpenCall;
  if (call[shorterKey] !== true || !call.metadataSent || call.wantTrailers) return false;
  if (call.shouldSendMetrics || call.callEventTracker !== null) return false;
  if (call.checkCancelled()) return true;
  call.wantTrailers = true;
  const stream: EndingStream = call.stream;
  stream[endingKey] = call;
  if (stream[dueKey] === true) {
    sendOkTrailers.call(stream);
    return true;
  }
  stream.on("wantTrailers", sendOkTrailers);
  stream.end();
  return true;
}

/** After grpc-js was given a status: where the stream asked for its trailers before, it will not ask again. */
export function sendDueTrailers(base: object): void {
  const { stream }: { readonly stream: EndingStream } = base as OpenCall;
  if (stream[dueKey] === true && stream.sentTrailers === undefined && !stream.destroyed)
    stream.emit("wantTrailers");
}

/** For a stream that is closed. */
export function forgetCall(stream: ServerHttp2Stream): void {
  const ended: EndingStream = stream;
  if (ended[endingKey] !== undefined) ended[endingKey] = undefined;
}

const endingKey: unique symbol = Symbol("palisade.ending");
const dueKey: unique symbol = Symbol("palisade.due");

type EndingStream = ServerHttp2Stream & { [endingKey]?: OpenCall | undefined; [dueKey]?: true };

function sendOkTrailers(this: EndingStream): void {
  this.sendTrailers(okTrailers);
  const call = this[endingKey];
  if (call === undefined) return;
  if (!call.receivedHalfClose) {
    call.notifyOnCancel();
    return;
  }
  // The request was all there and is answered: nothing is left to cancel, and nobody waits to be told.
  call.cancelNotified = true;
  call.cancelled = true;
}
