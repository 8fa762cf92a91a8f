/**
 * Makes the base call of a stream: the object that grpc-js makes of each stream for its interceptors to stand on. Ours has
 * the same fields and methods, and does without what nearly no call needs: metadata taken apart, a decoder's buffers, a
 * recorder of metrics, four questions to the socket, and a closure for each event.
 *
 * It is of the class of the base calls that grpc-js made before it (`learnFrom`), so it needs one that looks as those of
 * grpc-js 1.14.7 do, field by field; until then, and where anything is switched on that ours does not do (channelz,
 * GRPC_TRACE, metrics of single calls, interceptors of the credentials), grpc-js makes its own.
 */
import type { Buffer } from "node:buffer";
import type { IncomingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from "node:http2";
import {
  Metadata,
  type Server,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  type ServerMethodDefinition,
} from "@grpc/grpc-js";
import { incomingMetadata, knowsMetadata } from "./incoming-metadata.ts";
import { isHandlerType } from "./registered.ts";
import { runUnary } from "./unary-call.ts";
import { betweenMessages, wholeMessage } from "./whole-message.ts";

type ConnectionInfo = ReturnType<ServerInterceptingCallInterface["getConnectionInfo"]>;
type MetricsRecorder = ReturnType<ServerInterceptingCallInterface["getMetricsRecorder"]>;

interface RegisteredMethod {
  readonly func: unknown;
  readonly type: string;
  readonly path: string;
  readonly serialize: (value: unknown) => Buffer;
  readonly deserialize: (bytes: Buffer) => unknown;
}

interface ServerInside {
  readonly options: Readonly<Record<string, unknown>>;
  readonly interceptors: readonly ServerInterceptor[];
  readonly channelzEnabled: boolean;
  onStreamOpened(stream: ServerHttp2Stream): void;
  _retrieveHandler(path: string | undefined): RegisteredMethod | null;
  _runHandlerForCall(call: ServerInterceptingCallInterface, handler: RegisteredMethod): void;
}

/** The fields of `BaseServerInterceptingCall`, in the order in which grpc-js sets them. */
interface Fields {
  stream: ServerHttp2Stream;
  callEventTracker: object | null;
  handler: RegisteredMethod;
  listener: object | null;
  deadlineTimer: NodeJS.Timeout | null;
  deadline: number;
  maxSendMessageSize: number;
  maxReceiveMessageSize: number;
  cancelled: boolean;
  metadataSent: boolean;
  wantTrailers: boolean;
  cancelNotified: boolean;
  incomingEncoding: string;
  readQueue: object[];
  isReadPending: boolean;
  receivedHalfClose: boolean;
  streamEnded: boolean;
  metricsRecorder: MetricsRecorder | undefined;
  host: string | undefined;
  decoder: WholeMessages;
  metadata: Metadata;
  connectionInfo: ConnectionInfo | undefined;
  shouldSendMetrics: boolean;
  getConnectionInfo(): ConnectionInfo;
  getMetricsRecorder(): MetricsRecorder;
}

interface Methods {
  handleDataFrame(data: Buffer): void;
  handleEndEvent(): void;
  notifyOnCancel(): void;
}

type BaseCall = Fields & Methods & ServerInterceptingCallInterface;

interface StreamDecoder {
  readonly readState: number;
  write(data: Buffer): Buffer[];
}

/** What was learned of the base calls that grpc-js makes. */
interface Known {
  readonly make: new (
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    handler: RegisteredMethod,
    limits: MessageLimits,
  ) => BaseCall;
  readonly Decoder: new (mostBytes: number) => StreamDecoder;
  readonly Recorder: new () => MetricsRecorder;
}

interface MessageLimits {
  readonly maxSend: number;
  readonly maxReceive: number;
}

/** Once it is known it stays: calls that are under way need it. */
let known: Known | undefined;

const fieldNames = [
  "stream callEventTracker handler listener deadlineTimer deadline maxSendMessageSize maxReceiveMessageSize cancelled",
  "metadataSent wantTrailers cancelNotified incomingEncoding readQueue isReadPending receivedHalfClose streamEnded",
  "metricsRecorder host decoder metadata connectionInfo shouldSendMetrics",
].join(" ");

/** Looks at a base call that was just made, before anything was put on it. */
export function learnFrom(base: object): void {
  if (known !== undefined || !isFamiliar(base)) return;
  const { decoder, metricsRecorder } = base;
  known = {
    make: constructorOf(Object.getPrototypeOf(base) as object),
    Decoder: decoder.constructor as Known["Decoder"],
    Recorder: metricsRecorder.constructor as Known["Recorder"],
  };
}

/** Is this a base call with the fields that ours have, of the grpc-js that our own servers are of? */
export function isFamiliar(
  base: object,
): base is { readonly decoder: StreamDecoder; readonly metricsRecorder: object } {
  const { decoder, metadata, metricsRecorder } = base as Partial<Fields>;
  return (
    Object.keys(base).join(" ") === fieldNames &&
    metadata instanceof Metadata &&
    knowsMetadata() &&
    decoder?.readState === betweenMessages &&
    typeof decoder.write === "function" &&
    typeof metricsRecorder === "object"
  );
}

/** Of objects of grpc-js's own class, which its own constructor did not make. */
function constructorOf(prototype: object): Known["make"] {
  function OwnBaseCall(
    this: Fields,
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    handler: RegisteredMethod,
    { maxSend, maxReceive }: MessageLimits,
  ): void {
    this.stream = stream;
    this.callEventTracker = null;
    this.handler = handler;
    this.listener = null;
    this.deadlineTimer = null;
    this.deadline = Number.POSITIVE_INFINITY;
    this.maxSendMessageSize = maxSend;
    this.maxReceiveMessageSize = maxReceive;
    this.cancelled = false;
    this.metadataSent = false;
    this.wantTrailers = false;
    this.cancelNotified = false;
    this.incomingEncoding = encodingOf(headers);
    this.readQueue = [];
    this.isReadPending = false;
    this.receivedHalfClose = false;
    this.streamEnded = false;
    this.metricsRecorder = undefined;
    this.host = headers[":authority"] ?? headers.host;
    this.decoder = new WholeMessages(maxReceive);
    this.metadata = incomingMetadata(headers);
    this.connectionInfo = undefined;
    this.shouldSendMetrics = false;
    this.getConnectionInfo = connectionInfo;
    this.getMetricsRecorder = metricsRecorder;
  }
  OwnBaseCall.prototype = prototype;
  return OwnBaseCall as unknown as Known["make"];
}

/** Node joins several with commas, which is an encoding that nobody knows; grpc-js takes it for one too. */
function encodingOf(headers: IncomingHttpHeaders): string {
  const sent = headers["grpc-encoding"];
  return sent === undefined ? "identity" : String(sent);
}

/** Takes frames that are exactly one message, and leaves all others to a decoder of grpc-js. */
class WholeMessages implements StreamDecoder {
  maxReadMessageLength: number;
  #parts: StreamDecoder | undefined = undefined;

  constructor(mostBytes: number) {
    this.maxReadMessageLength = mostBytes;
  }

  get readState(): number {
    return this.#parts === undefined ? betweenMessages : this.#parts.readState;
  }

  write(data: Buffer): Buffer[] {
    const message = wholeMessage(this, data);
    if (message !== undefined) return [message];
    this.#parts ??= new (known as Known).Decoder(this.maxReadMessageLength);
    return this.#parts.write(data);
  }
}

/** Read when asked for: a connection that is gone by then has none. */
function connectionInfo(this: Fields): ConnectionInfo {
  if (this.connectionInfo === undefined) {
    const { session } = this.stream;
    const { localAddress, localPort, remoteAddress, remotePort } =
      session === undefined || session.destroyed
        ? ({} as Partial<ServerHttp2Session["socket"]>)
        : session.socket;
    this.connectionInfo = { localAddress, localPort, remoteAddress, remotePort };
  }
  return this.connectionInfo;
}

function metricsRecorder(this: Fields): MetricsRecorder {
  this.metricsRecorder ??= new (known as Known).Recorder();
  return this.metricsRecorder;
}

const baseKey: unique symbol = Symbol("palisade.base");

type BasedStream = ServerHttp2Stream & { [baseKey]?: BaseCall | undefined };

function onData(this: BasedStream, data: Buffer): void {
  this[baseKey]?.handleDataFrame(data);
}

function onEnd(this: BasedStream): void {
  this[baseKey]?.handleEndEvent();
}

/**
 * Lets go of the call. A stream that is over lives on for a while: the tables of Node's session hold it, each of them held by
 * the one before, until the old generation is collected. What it does not point to goes with the young one.
 */
function onClose(this: BasedStream): void {
  const base = this[baseKey];
  this[baseKey] = undefined;
  base?.notifyOnCancel();
}

/** Every error of a stream is followed by its "close". */
function onError(): void {}

/** Takes a stream, and begins its call. False where grpc-js has to. */
export type TakeStream = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => boolean;

/** For one port of a server: `credentials` are those that it was bound with. */
export function streamTaker(server: Server, credentials: unknown): TakeStream {
  const inside = server as unknown as ServerInside;
  if (!isPlain(inside, credentials)) return () => false;
  const limits: MessageLimits = {
    maxSend: limitOf(inside, "grpc.max_send_message_length", -1),
    maxReceive: limitOf(inside, "grpc.max_receive_message_length", 4 * 1024 * 1024),
  };
  return (stream, headers) => {
    if (known === undefined) return false;
    const handler = inside._retrieveHandler(headers[":path"]);
    if (handler === null || !isHandlerType(handler.type)) return false;
    stream.on("error", onError);
    inside.onStreamOpened(stream);
    const base = new known.make(stream, headers, handler, limits);
    (stream as BasedStream)[baseKey] = base;
    stream.on("close", onClose);
    // First, so that listening starts nothing that has to be stopped again.
    stream.pause();
    stream.on("data", onData);
    stream.on("end", onEnd);
    const { type, path, serialize, deserialize } = handler;
    const definition: ServerMethodDefinition<unknown, unknown> = {
      path,
      requestStream: type === "clientStream" || type === "bidi",
      responseStream: type === "serverStream" || type === "bidi",
      requestDeserialize: deserialize,
      responseSerialize: serialize,
    };
    let call: ServerInterceptingCallInterface = base;
    for (const intercept of inside.interceptors)
      call = intercept(definition, call as Parameters<ServerInterceptor>[1]);
    if (type !== "unary" || !runUnary(call, handler)) inside._runHandlerForCall(call, handler);
    return true;
  };
}

/** Is nothing switched on that only grpc-js's own way does? */
function isPlain(inside: Partial<ServerInside>, credentials: unknown): boolean {
  const { _getInterceptors: interceptors } = credentials as { readonly _getInterceptors?: unknown };
  const added: unknown = typeof interceptors === "function" ? interceptors.call(credentials) : undefined;
  return (
    inside.channelzEnabled === false &&
    Array.isArray(inside.interceptors) &&
    Array.isArray(added) &&
    added.length === 0 &&
    typeof inside.options === "object" &&
    !inside.options["grpc.server_call_metric_recording"] &&
    typeof inside.onStreamOpened === "function" &&
    typeof inside._retrieveHandler === "function" &&
    typeof inside._runHandlerForCall === "function" &&
    process.env["GRPC_TRACE"] === undefined &&
    process.env["GRPC_NODE_TRACE"] === undefined
  );
}

function limitOf(inside: ServerInside, option: string, otherwise: number): number {
  const limit = inside.options[option];
  return typeof limit === "number" ? limit : otherwise;
}
