/**
 * A shorter way through grpc-js's base call for what nearly every call is: messages that come whole and uncompressed, a
 * status without metadata. grpc-js takes each message apart and together again, waits a promise for what is no promise,
 * and copies headers that are always the same. What is not that simple takes grpc-js's own way.
 *
 * Each function does what grpc-js 1.14.7 does in the same place, and relies on fields that it does not document:
 * `takesShorterWay` looks at them, and where one is missing every call takes grpc-js's way.
 */
import { Buffer } from "node:buffer";
import { constants, type OutgoingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import { type Metadata, status } from "@grpc/grpc-js";

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
  metadataSent: boolean;
  wantTrailers: boolean;
  shouldSendMetrics: boolean;
  /** Null where channelz is off. */
  readonly callEventTracker: object | null;
  [shorterKey]?: true;
  maybeSendMetadata(): void;
  decompressMessage(message: Buffer, encoding: string): Buffer | Promise<Buffer>;
  decompressAndMaybePush(entry: QueueEntry): unknown;
  maybePushNextMessage(): void;
  checkCancelled(): boolean;
  notifyOnCancel(): void;
  sendStatus(sent: { readonly code: status; readonly details: string }): void;
}

const shorterKey: unique symbol = Symbol("palisade.shorter");

/** Is this base call one that the functions below know? Asked of the first one of its class. */
export function takesShorterWay(base: object): boolean {
  const call = base as Partial<OpenCall>;
  return (
    call.decoder?.readState === betweenMessages &&
    typeof call.decoder.write === "function" &&
    typeof call.metadataSent === "boolean" &&
    typeof call.wantTrailers === "boolean" &&
    typeof call.shouldSendMetrics === "boolean" &&
    call.callEventTracker !== undefined &&
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
  call.decoder.write = readWhole;
  call.decompressAndMaybePush = pushUncompressed;
  call.maybeSendMetadata = sendPlainHeaders;
  call[shorterKey] = true;
}

/** `ReadState.NO_DATA` */
const betweenMessages = 0;
/** gRPC over HTTP/2, "Length-Prefixed-Message": a flag and the length. */
const framingBytes = 5;

/** A frame that is exactly one message. It is copied, as grpc-js does: the frame may be a piece of a large buffer. */
function readWhole(this: Decoder, data: Buffer): Buffer[] {
  if (this.readState === betweenMessages && data.length > framingBytes) {
    const bytes = data.readUInt32BE(1);
    const { maxReadMessageLength: most } = this;
    if (bytes + framingBytes === data.length && (most === -1 || bytes <= most)) {
      const message = Buffer.allocUnsafe(data.length);
      data.copy(message);
      return [message];
    }
  }
  return (Object.getPrototypeOf(this) as Decoder).write.call(this, data);
}

function pushUncompressed(this: OpenCall, entry: QueueEntry): unknown {
  const { compressedMessage: message } = entry;
  if (entry.type !== "COMPRESSED" || message[0] === 1)
    return (Object.getPrototypeOf(this) as OpenCall).decompressAndMaybePush.call(this, entry);
  const contents = this.decompressMessage(message, "identity");
  try {
    entry.parsedMessage = this.handler.deserialize(contents as Buffer);
  } catch {
    this.sendStatus({ code: status.INTERNAL, details: "Error deserializing request" });
    return undefined;
  }
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
  stream.on("wantTrailers", sendOkTrailers);
  stream.end();
  return true;
}

const endingKey: unique symbol = Symbol("palisade.ending");

type EndingStream = ServerHttp2Stream & { [endingKey]?: OpenCall };

function sendOkTrailers(this: EndingStream): void {
  this.sendTrailers(okTrailers);
  this[endingKey]?.notifyOnCancel();
}
