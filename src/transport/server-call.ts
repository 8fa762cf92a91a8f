/**
 * One call on one HTTP/2 stream, from the gRPC-over-HTTP/2 document ("Requests", "Responses") and on `node:http2` as Node
 * documents it. It is what grpc-js calls a base call: the end of the chain of interceptors that is next to the wire.
 */
import { Buffer } from "node:buffer";
import {
  constants,
  type Http2Session,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Stream,
} from "node:http2";
import { TLSSocket } from "node:tls";
import { Metadata, type ServerInterceptingCallInterface, status } from "@grpc/grpc-js";
import { StatusError } from "../grpc/errors.ts";
import type { Peer } from "../grpc/peer.ts";
import { texts } from "../grpc/status.ts";
import type { CallListener, PartialStatus, TransportCall } from "./call.ts";
import { type Connection, connectionOf } from "./connection.ts";
import type { Decompression } from "./decompression.ts";
import type { RegisteredHandler } from "./grpc-js.ts";
import { framed, prefixBytes } from "./message-framing.ts";
import type { RequestHead } from "./request-head.ts";
import { RequestMessages } from "./request-messages.ts";
import { cut, dropAfterReset, isOver, release, resetByCaller } from "./stream-end.ts";

type AuthContext = ReturnType<ServerInterceptingCallInterface["getAuthContext"]>;
type ConnectionInfo = ReturnType<ServerInterceptingCallInterface["getConnectionInfo"]>;
type MetricsRecorder = ReturnType<ServerInterceptingCallInterface["getMetricsRecorder"]>;

/** What the transport needs of a method. */
export interface TransportMethod extends Pick<RegisteredHandler, "serialize" | "deserialize"> {
  readonly streamsRequests: boolean;
}

export interface MessageLimits {
  readonly maxReceivedBytes: number;
  readonly maxSentBytes: number;
}

const responseHeaders: OutgoingHttpHeaders = Object.freeze({
  [constants.HTTP2_HEADER_STATUS]: constants.HTTP_STATUS_OK,
  [constants.HTTP2_HEADER_CONTENT_TYPE]: "application/grpc+proto",
  "grpc-encoding": "identity",
  "grpc-accept-encoding": "identity,deflate,gzip",
});
const withTrailers = Object.freeze({ waitForTrailers: true });

/** Call-Definition of the document: these are the transport's, and no metadata of the call. */
const ofTheTransport: readonly string[] = [
  "grpc-timeout",
  "grpc-encoding",
  "grpc-accept-encoding",
  "accept-encoding",
  "te",
  "content-type",
];

export class ServerCall implements TransportCall {
  readonly #stream: ServerHttp2Stream;
  readonly #session: Http2Session | undefined;
  readonly #connection: Connection;
  readonly #headers: IncomingHttpHeaders;
  readonly #method: TransportMethod;
  readonly #maxSentBytes: number;
  readonly #messages: RequestMessages;
  readonly head: RequestHead;
  #listener: CallListener | undefined = undefined;
  #headersSent = false;
  #trailers: OutgoingHttpHeaders | undefined = undefined;
  sentBytes = 0;

  constructor(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    {
      head,
      method,
      limits,
    }: { readonly head: RequestHead; readonly method: TransportMethod; readonly limits: MessageLimits },
  ) {
    this.#stream = stream;
    this.#session = stream.session;
    this.#connection = connectionOf(stream.session);
    this.#headers = headers;
    this.#method = method;
    this.#maxSentBytes = limits.maxSentBytes;
    this.head = head;
    this.#messages = new RequestMessages(stream, {
      streams: method.streamsRequests,
      decode: method.deserialize,
      // Node joins several with commas, which is an encoding that nobody knows.
      encoding: String(headers["grpc-encoding"] ?? "identity"),
      maxReceivedBytes: limits.maxReceivedBytes,
    });
    this.#connection.calls += 1;
    (stream as CallStream)[callKey] = this;
    // "end" comes unasked where there is nothing to read.
    stream.on("end", onEnd).on("aborted", onAborted).on("close", onClose);
  }

  get peer(): Peer {
    return this.#connection.peer;
  }

  get requestEnded(): boolean {
    return this.#messages.ended;
  }

  get decompression(): Decompression | undefined {
    return this.#messages.decompression;
  }

  get receivedBytes(): number {
    return this.#messages.receivedBytes;
  }

  get resetByCaller(): boolean {
    return resetByCaller(this.#stream, this.#session);
  }

  get closed(): boolean {
    return isOver(this.#stream);
  }

  get delivered(): boolean {
    if (this.#connection.cut) return false;
    const { rstCode, sentTrailers, sentHeaders } = this.#stream;
    return rstCode === 0 && (sentTrailers !== undefined || sentHeaders?.["grpc-status"] !== undefined);
  }

  limitReceived(maxBytes: number): void {
    this.#messages.maxReceivedBytes = maxBytes;
  }

  start(listener: CallListener): void {
    this.#listener = listener;
    const headers = this.#headers;
    for (const name of ofTheTransport) delete headers[name];
    listener.onReceiveMetadata(Metadata.fromHttp2Headers(headers));
  }

  startRead(): void {
    if (this.#listener === undefined || this.closed) return;
    const stream: CallStream = this.#stream;
    if (stream.readableFlowing === null) stream.on("data", onData);
    this.#messages.ask(this.#listener);
  }

  sendMetadata(metadata: Metadata): void {
    if (this.#headersSent || this.closed) return;
    this.#respond({ ...responseHeaders, ...fieldsOf(metadata) });
  }

  #respond(headers: OutgoingHttpHeaders): void {
    this.#connection.handedOver = true;
    this.#stream.respond(headers, withTrailers);
    this.#headersSent = true;
  }

  sendMessage(message: unknown, callback: () => void): void {
    const bytes = this.closed || this.#trailers !== undefined ? undefined : this.#encoded(message);
    if (bytes === undefined) {
      process.nextTick(callback);
      return;
    }
    if (!this.#headersSent) this.#respond(responseHeaders);
    this.#connection.handedOver = true;
    // While HTTP/2 has room (16 KiB) the next message may follow at once: what it holds leaves together, the status too.
    let hasRoom = false;
    hasRoom = this.#stream.write(bytes, () => {
      if (!hasRoom) callback();
    });
    if (hasRoom) callback();
  }

  #encoded(message: unknown): Buffer | undefined {
    let bytes: Buffer;
    try {
      bytes = framed(this.#method.serialize(message));
    } catch (error) {
      this.#listener?.onResponseFailure(
        message === undefined || message === null ? answeredNothing(error) : error,
      );
      return undefined;
    }
    const length = bytes.length - prefixBytes;
    if (length > this.#maxSentBytes) {
      this.#listener?.onResponseFailure(
        new StatusError(status.RESOURCE_EXHAUSTED, texts.messageTooLarge, {
          cause: new Error(`a response of ${length} bytes is larger than the limit of ${this.#maxSentBytes}`),
        }),
      );
      return undefined;
    }
    this.sentBytes += length;
    return bytes;
  }

  sendStatus({ code, details, metadata }: PartialStatus): void {
    if (this.closed || this.#trailers !== undefined) return;
    const trailers: OutgoingHttpHeaders = { "grpc-status": code };
    if (code !== status.OK) trailers["grpc-message"] = encodeURI(details);
    if (metadata !== undefined && metadata !== null) Object.assign(trailers, fieldsOf(metadata));
    this.#trailers = trailers;
    this.#connection.handedOver = true;
    this.#messages.stop();
    if (this.#headersSent) {
      this.#stream.on("wantTrailers", onWantTrailers);
      this.#stream.end();
    } else {
      this.#headersSent = true;
      this.#stream.respond({ ...responseHeaders, ...trailers }, { endStream: true });
      this.#release();
    }
  }

  /** For the stream's "wantTrailers". */
  onWantTrailers(): void {
    try {
      this.#stream.sendTrailers(this.#trailers ?? {});
    } catch (error) {
      // Nothing known gets here: trailers are clean. Thrown on, it would end the process.
      this.#listener?.onResponseFailure(error);
      this.cut();
      return;
    }
    this.#release();
  }

  #release(): void {
    if (!this.requestEnded) release(this.#stream);
  }

  cut(): void {
    cut(this.#stream);
  }

  /** For the stream's "data" and "end". */
  onData(bytes: Buffer): void {
    this.#messages.onData(bytes);
  }

  onEnd(): void {
    this.#messages.onEnd();
    dropAfterReset(this.#stream);
  }

  /** For the stream's "aborted": it is over, and its response was not. */
  onAborted(): void {
    // Before its "end", which a stream that was reset or lost has too.
    // protection: unfinished-requests
    this.#messages.stop();
    // Where the connection was lost, the session is not yet told so.
    process.nextTick(() => this.#listener?.onCancel());
    dropAfterReset(this.#stream);
  }

  /** For the stream's "close". */
  onClose(): void {
    this.#connection.calls -= 1;
    this.#messages.stop();
    this.#listener?.onClosed();
  }

  getPeer(): string {
    const { remoteAddress, remotePort } = this.getConnectionInfo();
    if (remoteAddress === undefined) return "unknown";
    return remotePort === undefined ? remoteAddress : `${remoteAddress}:${remotePort}`;
  }

  getHost(): string {
    return this.#headers[":authority"] ?? this.#headers.host ?? "";
  }

  getAuthContext(): AuthContext {
    const socket = this.#socket;
    if (!(socket instanceof TLSSocket)) return {};
    const certificate = socket.getPeerCertificate();
    return {
      transportSecurityType: "ssl",
      ...("raw" in certificate ? { sslPeerCertificate: certificate } : {}),
    };
  }

  getConnectionInfo(): ConnectionInfo {
    const { localAddress, localPort, remoteAddress, remotePort } = this.#socket ?? noSocket;
    return { localAddress, localPort, remoteAddress, remotePort };
  }

  /** Node's stand-in for the socket: what only reads passes through it. */
  get #socket(): Http2Session["socket"] | undefined {
    return this.#session === undefined || this.#session.destroyed ? undefined : this.#session.socket;
  }

  /** Metrics of single calls (ORCA) are not sent: `grpc.server_call_metric_recording` is refused in `channelOptions`. */
  getMetricsRecorder(): MetricsRecorder {
    return noMetrics as unknown as MetricsRecorder;
  }
}

const noSocket: Partial<Http2Session["socket"]> = {};

function nothing(): void {}

const noMetrics = Object.freeze({
  recordRequestCostMetric: nothing,
  recordUtilizationMetric: nothing,
  recordNamedMetric: nothing,
  recordCPUUtilizationMetric: nothing,
  recordMemoryUtilizationMetric: nothing,
  recordApplicationUtilizationMetric: nothing,
  recordQpsMetric: nothing,
  recordEpsMetric: nothing,
  serialize: () => Buffer.alloc(0),
});

function answeredNothing(cause: unknown): Error {
  return new Error(
    "the handler returned no answer; return it from an async handler, or call callback(null, answer)",
    { cause },
  );
}

/** The document, "Custom-Metadata": implementations send binary values without padding. */
function fieldsOf(metadata: Metadata): OutgoingHttpHeaders {
  const fields = metadata.toHttp2Headers();
  for (const [name, value] of Object.entries(fields)) {
    if (name.endsWith("-bin") && value !== undefined) fields[name] = [value].flat().map(unpadded);
  }
  return fields;
}

function unpadded(base64: string | number): string {
  return String(base64).replace(/={1,2}$/, "");
}

const callKey: unique symbol = Symbol("palisade.call");

/**
 * A stream that knows its call, so that all streams share their listeners. It lets go of it when it is closed: the tables
 * of Node's session keep a stream for a while, and what it does not point to is collected with the young generation.
 */
type CallStream = ServerHttp2Stream & { [callKey]?: ServerCall | undefined };

function onData(this: CallStream, bytes: Buffer): void {
  this[callKey]?.onData(bytes);
}

function onEnd(this: CallStream): void {
  this[callKey]?.onEnd();
}

function onAborted(this: CallStream): void {
  this[callKey]?.onAborted();
}

function onWantTrailers(this: CallStream): void {
  this[callKey]?.onWantTrailers();
}

function onClose(this: CallStream): void {
  const call = this[callKey];
  this[callKey] = undefined;
  call?.onClose();
}
