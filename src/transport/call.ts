/**
 * What the chain stands on: a call as grpc-js publishes it to interceptors, and the little more that it does not tell.
 * `ServerCall` is one on our own server; `AttachedCall` is one on a server that somebody else made.
 */
import type { Metadata, ServerInterceptingCallInterface } from "@grpc/grpc-js";
import type { Peer } from "../grpc/peer.ts";
import type { Decompression } from "./decompression.ts";
import type { RequestHead } from "./request-head.ts";

/** grpc-js exports neither this interface nor `PartialStatusObject`. */
export interface InboundListener {
  onReceiveMetadata(metadata: Metadata): void;
  onReceiveMessage(message: unknown): void;
  onReceiveHalfClose(): void;
  onCancel(): void;
}

export interface PartialStatus {
  readonly code: number;
  readonly details: string;
  readonly metadata?: Metadata | null | undefined;
}

/** Why a request cannot be read any further, in the words that its caller is told. */
export interface RequestFailure {
  readonly code: number;
  readonly details: string;
  /** For the log. */
  readonly cause?: unknown;
}

export interface CallListener extends InboundListener {
  /** Reset by the caller, or lost with its connection, before it had a status. At most once. */
  onCancel(): void;
  /** The request breaks the framing or a limit. Nothing was sent; nothing more of it is read. */
  onRequestFailure(failure: RequestFailure): void;
  /** A message of the handler's, or its trailers, cannot be sent. Nothing was sent. */
  onResponseFailure(error: unknown): void;
  /** grpc-js ended a call of its own server by itself. The status has left. */
  onEndedBelow(status: PartialStatus): void;
  /** Once, at the very end: the stream is closed. */
  onClosed(): void;
}

export interface TransportCall
  extends Omit<ServerInterceptingCallInterface, "start" | "sendStatus" | "getDeadline"> {
  /** The connection's other end. */
  readonly peer: Peer;
  readonly head: RequestHead;
  /** Did the caller finish its request (END_STREAM), and was all of it read? */
  readonly requestEnded: boolean;
  /** Where the caller compresses: when its messages are decompressed. */
  readonly decompression: Decompression | undefined;
  /** Of all messages so far, without framing, compressed where they were. */
  readonly receivedBytes: number;
  readonly sentBytes: number;
  /** After `onCancel`: was it the caller's own word, and not the loss of the connection? */
  readonly resetByCaller: boolean;
  readonly closed: boolean;
  /** After `onClosed`: did the status leave whole? */
  readonly delivered: boolean;
  start(listener: CallListener): void;
  /** `callback` is called in any case: once HTTP/2 has room for more, or nothing can be sent any more. */
  sendMessage(message: unknown, callback: () => void): void;
  sendStatus(status: PartialStatus): void;
  /** Another limit for the size of a request message than the server's. To be set before the first `startRead`. */
  limitReceived(maxBytes: number): void;
  /** Resets the stream: nobody reads what it still holds. */
  cut(): void;
}
