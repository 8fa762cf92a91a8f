// What stands inside grpc-js, as far as we rely on it: types that it does not export.
import type { Buffer } from "node:buffer";
import type { Http2SecureServer, Http2Server, ServerHttp2Stream } from "node:http2";
import type { Metadata, ServerInterceptingCallInterface, UntypedHandleCall } from "@grpc/grpc-js";

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

/** What stands behind an interceptor's call: the base call, with the fields that we use of it. */
export interface BaseCall extends ServerInterceptingCallInterface {
  readonly stream: ServerHttp2Stream;
  readonly handler: RegisteredHandler;
  deadlineTimer: NodeJS.Timeout | null;
  receivedHalfClose: boolean;
  maxReceiveMessageSize: number;
  readonly incomingEncoding: string;
  readonly decoder: { maxReadMessageLength: number };
  decompressMessage(message: Buffer, encoding: string): Buffer | Promise<Buffer>;
  sendStatus(status: PartialStatus): void;
}

/** One intercepting call of ours, as grpc-js wants it: it is handed to `_runHandlerForCall`, which only calls methods. */
export type OwnInterceptingCall = ServerInterceptingCallInterface;

export type GrpcHandlerType = "unary" | "clientStream" | "serverStream" | "bidi";

export interface RegisteredHandler {
  func: UntypedHandleCall;
  readonly serialize: (value: unknown) => Buffer;
  readonly deserialize: (bytes: Buffer) => unknown;
  readonly type: GrpcHandlerType;
  readonly path: string;
}

export interface ServerInside {
  createHttp2Server(credentials: unknown): Http2Server | Http2SecureServer;
  _retrieveHandler(path: string): RegisteredHandler | null;
  readonly commonServerOptions: Record<string, unknown>;
}
