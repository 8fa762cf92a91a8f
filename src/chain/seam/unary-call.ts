// Runs the handler of a unary method. grpc-js makes a writable stream for each of them, with trailers and a listener of its
// own, though a unary call is written through its callback alone; ours is the event emitter that its types promise.
import { EventEmitter } from "node:events";
import {
  type Metadata,
  type ServerInterceptingCallInterface,
  type ServerUnaryCall,
  status,
} from "@grpc/grpc-js";

/** What a unary handler is called with: grpc-js's `ServerUnaryCall`. */
export class UnaryCall extends EventEmitter {
  cancelled = false;
  readonly path: string;
  readonly call: ServerInterceptingCallInterface;
  readonly metadata: Metadata;
  readonly request: unknown;

  constructor(path: string, call: ServerInterceptingCallInterface, metadata: Metadata, request: unknown) {
    super();
    this.path = path;
    this.call = call;
    this.metadata = metadata;
    this.request = request;
  }

  getPath(): string {
    return this.path;
  }

  getPeer(): string {
    return this.call.getPeer();
  }

  getHost(): string {
    return this.call.getHost();
  }

  getDeadline(): ReturnType<ServerInterceptingCallInterface["getDeadline"]> {
    return this.call.getDeadline();
  }

  getAuthContext(): ReturnType<ServerInterceptingCallInterface["getAuthContext"]> {
    return this.call.getAuthContext();
  }

  getMetricsRecorder(): ReturnType<ServerInterceptingCallInterface["getMetricsRecorder"]> {
    return this.call.getMetricsRecorder();
  }

  sendMetadata(metadata: Metadata): void {
    this.call.sendMetadata(metadata);
  }
}

const answersKey: unique symbol = Symbol("palisade.answers");

/** Marks a handler that answers through its call, and has no use for grpc-js's callback. */
export function answersByItself<Handler extends object>(handler: Handler): Handler {
  return Object.assign(handler, { [answersKey]: true });
}

interface UnaryMethod {
  readonly path: string;
  readonly func: unknown;
}

type UnaryHandler = (call: ServerUnaryCall<unknown, unknown>) => void;

function isMarked(func: unknown): func is UnaryHandler {
  return typeof func === "function" && answersKey in func;
}

/** Starts the call, whose handler runs when its one message has come. False where grpc-js has to. */
export function runUnary(call: ServerInterceptingCallInterface, { path, func }: UnaryMethod): boolean {
  if (!isMarked(func)) return false;
  call.start(new UnaryRun(call, path, func) as Parameters<ServerInterceptingCallInterface["start"]>[0]);
  return true;
}

/** What grpc-js calls a listener. */
class UnaryRun {
  readonly #call: ServerInterceptingCallInterface;
  readonly #path: string;
  readonly #handler: UnaryHandler;
  #metadata: Metadata | undefined = undefined;
  #request: unknown = undefined;
  #received = false;
  #handlerCall: UnaryCall | undefined = undefined;

  constructor(call: ServerInterceptingCallInterface, path: string, handler: UnaryHandler) {
    this.#call = call;
    this.#path = path;
    this.#handler = handler;
  }

  onReceiveMetadata(metadata: Metadata): void {
    this.#metadata = metadata;
    this.#call.startRead();
  }

  onReceiveMessage(message: unknown): void {
    if (this.#received) {
      this.#refuse("more than one request message");
      return;
    }
    this.#received = true;
    this.#request = message;
    this.#call.startRead();
  }

  onReceiveHalfClose(): void {
    const metadata = this.#metadata;
    if (!this.#received || metadata === undefined) {
      this.#refuse("no request message");
      return;
    }
    const call = new UnaryCall(this.#path, this.#call, metadata, this.#request);
    this.#handlerCall = call;
    // A guarded handler does not throw.
    this.#handler(call as ServerUnaryCall<unknown, unknown>);
  }

  onCancel(): void {
    const call = this.#handlerCall;
    if (call === undefined) return;
    call.cancelled = true;
    call.emit("cancelled", "cancelled");
  }

  /** As grpc-js does; the chain says it in its own words. */
  #refuse(details: string): void {
    this.#call.sendStatus({
      code: status.UNIMPLEMENTED,
      details: `${this.#path}: ${details}`,
      metadata: null,
    });
  }
}
