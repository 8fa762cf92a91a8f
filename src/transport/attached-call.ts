/**
 * A call on a server that somebody else made. grpc-js's own base call reads and writes; here it is told apart what it does
 * not tell, as far as its published interface and the two members of `BaseCallMembers` go. What that cannot have stands in
 * docs/integrations.md.
 */
import type { Http2Session, ServerHttp2Stream } from "node:http2";
import { TLSSocket } from "node:tls";
import { type Metadata, type ServerInterceptingCallInterface, status } from "@grpc/grpc-js";
import type { Peer, PeerCertificate } from "../grpc/peer.ts";
import { texts } from "../grpc/status.ts";
import type { CallListener, PartialStatus, TransportCall } from "./call.ts";
import { ConnectionPeer, connectionKey, type MarkedSession, unknownConnection } from "./connection.ts";
import type { BaseCallMembers, RegisteredHandler } from "./grpc-js.ts";
import type { RequestHead } from "./request-head.ts";
import { metadataSize } from "./response-metadata.ts";
import { cut, dropAfterReset, isOver, release, resetByCaller } from "./stream-end.ts";

export type CertificateOf = (socket: TLSSocket) => PeerCertificate | undefined;

interface Codec {
  readonly serialize: RegisteredHandler["serialize"];
  readonly deserialize: RegisteredHandler["deserialize"];
}

const codecs = new WeakMap<RegisteredHandler, Codec>();

/**
 * Takes the place of a registered handler's codec: grpc-js then hands on bytes, and is given bytes. The object belongs to
 * the registration, so one server's handlers are not another's.
 */
function takeCodec(handler: RegisteredHandler): void {
  if (codecs.has(handler)) return;
  codecs.set(handler, { serialize: handler.serialize, deserialize: handler.deserialize });
  handler.serialize = (bytes) => bytes as Buffer;
  handler.deserialize = (bytes) => bytes;
}

export class AttachedCall implements TransportCall {
  readonly #base: ServerInterceptingCallInterface;
  readonly #stream: ServerHttp2Stream;
  readonly #session: Http2Session | undefined;
  readonly #codec: Codec;
  readonly peer: Peer;
  #head: RequestHead | undefined = undefined;
  #listener: CallListener | undefined = undefined;
  #maxReceivedBytes = Number.POSITIVE_INFINITY;
  #statusSent = false;
  #cancelled = false;
  requestEnded = false;
  receivedBytes = 0;
  sentBytes = 0;
  readonly decompression = undefined;

  constructor(
    base: ServerInterceptingCallInterface,
    { stream, handler }: BaseCallMembers,
    certificateOf: CertificateOf,
  ) {
    takeCodec(handler);
    this.#base = base;
    this.#stream = stream;
    this.#session = stream.session;
    this.#codec = codecs.get(handler) as Codec;
    this.peer = peerOf(stream.session, certificateOf);
  }

  get head(): RequestHead {
    if (this.#head === undefined) throw new Error("a call has no head before its metadata arrived");
    return this.#head;
  }

  get resetByCaller(): boolean {
    return resetByCaller(this.#stream, this.#session);
  }

  get closed(): boolean {
    return isOver(this.#stream);
  }

  get delivered(): boolean {
    return this.#stream.rstCode === 0 && this.#sent !== undefined;
  }

  /** The status as it left, whoever sent it. */
  get #sent(): PartialStatus | undefined {
    const { sentTrailers, sentHeaders } = this.#stream;
    const fields = sentTrailers ?? sentHeaders;
    const code = fields?.["grpc-status"];
    if (code === undefined) return undefined;
    return { code: Number(code), details: String(fields?.["grpc-message"] ?? "") };
  }

  limitReceived(maxBytes: number): void {
    this.#maxReceivedBytes = maxBytes;
  }

  start(listener: CallListener): void {
    this.#listener = listener;
    const stream = this.#stream;
    if (stream.aborted) dropAfterReset(stream);
    else stream.once("aborted", () => dropAfterReset(stream));
    stream.once("close", () => {
      this.#cancel();
      listener.onClosed();
    });
    this.#base.start({
      onReceiveMetadata: (metadata: Metadata) => {
        this.#head = this.#readHead(metadata);
        listener.onReceiveMetadata(metadata);
      },
      onReceiveMessage: (bytes: Buffer) => this.#receive(bytes, listener),
      onReceiveHalfClose: () => {
        // A stream that was reset or lost ends too.
        if (this.#stream.aborted) return;
        this.requestEnded = true;
        listener.onReceiveHalfClose();
      },
      // Also after each status that left.
      onCancel: () => this.#cancel(),
    });
  }

  #receive(bytes: Buffer, listener: CallListener): void {
    this.receivedBytes += bytes.length;
    if (bytes.length > this.#maxReceivedBytes) {
      listener.onRequestFailure({ code: status.RESOURCE_EXHAUSTED, details: texts.messageTooLarge });
      return;
    }
    let message: unknown;
    try {
      message = this.#codec.deserialize(bytes);
    } catch (cause) {
      listener.onRequestFailure({ code: status.INTERNAL, details: texts.malformedRequest, cause });
      return;
    }
    listener.onReceiveMessage(message);
  }

  #cancel(): void {
    if (this.#statusSent || this.#cancelled) return;
    this.#cancelled = true;
    const sent = this.#sent;
    if (sent === undefined) this.#listener?.onCancel();
    else this.#listener?.onEndedBelow(sent);
  }

  /** The metadata as grpc-js hands it on (without pseudo-header fields), and the deadline as grpc-js read it. */
  #readHead(metadata: Metadata): RequestHead {
    const deadline = Number(this.#base.getDeadline());
    const metadataBytes = metadataSize(metadata);
    // Nobody here knows who its sender is.
    metadata.remove("x-forwarded-client-cert");
    return {
      metadataBytes,
      timeoutMs: Number.isFinite(deadline) ? Math.max(0, deadline - Date.now()) : undefined,
      forwardedCertificate: undefined,
      rawFields: undefined,
    };
  }

  startRead(): void {
    this.#base.startRead();
  }

  sendMetadata(metadata: Metadata): void {
    this.#base.sendMetadata(metadata);
  }

  sendMessage(message: unknown, callback: () => void): void {
    let bytes: Buffer | undefined;
    try {
      if (!this.closed && !this.#statusSent) bytes = this.#codec.serialize(message);
    } catch (error) {
      this.#listener?.onResponseFailure(error);
    }
    if (bytes === undefined) {
      process.nextTick(callback);
      return;
    }
    this.sentBytes += bytes.length;
    this.#base.sendMessage(bytes, callback);
  }

  sendStatus(sent: PartialStatus): void {
    if (this.#statusSent || this.closed) return;
    this.#statusSent = true;
    this.#base.sendStatus({ ...sent, metadata: sent.metadata ?? null });
    if (!this.requestEnded) release(this.#stream);
  }

  cut(): void {
    cut(this.#stream);
  }

  getPeer(): string {
    return this.#base.getPeer();
  }

  getHost(): string {
    return this.#base.getHost();
  }

  getAuthContext(): ReturnType<ServerInterceptingCallInterface["getAuthContext"]> {
    return this.#base.getAuthContext();
  }

  getConnectionInfo(): ReturnType<ServerInterceptingCallInterface["getConnectionInfo"]> {
    return this.#base.getConnectionInfo();
  }

  getMetricsRecorder(): ReturnType<ServerInterceptingCallInterface["getMetricsRecorder"]> {
    return this.#base.getMetricsRecorder();
  }
}

/** Read once for each connection. */
function peerOf(session: Http2Session | undefined, certificateOf: CertificateOf): Peer {
  if (session === undefined || session.destroyed) return unknownConnection.peer;
  const marked = session as MarkedSession;
  const known = marked[connectionKey];
  if (known !== undefined) return known.peer;
  // Node's stand-in for the socket: what only reads passes through it.
  const { socket } = session;
  const certificate = socket instanceof TLSSocket ? certificateOf(socket) : undefined;
  const peer = new ConnectionPeer(socket, certificate);
  marked[connectionKey] = { peer, socket, calls: 0, handedOver: false, cut: false };
  return peer;
}
