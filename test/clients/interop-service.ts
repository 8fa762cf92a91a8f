// gRPC's interop service as its specification describes it (grpc/grpc, doc/interop-test-descriptions.md), in handlers
// that a secured server and a bare one run alike. Each server has handlers of its own, which count what came to them.
import { Buffer } from "node:buffer";
import { fileURLToPath } from "node:url";
import {
  loadPackageDefinition,
  Metadata,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceDefinition,
  type sendUnaryData,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

export const serviceName = "grpc.testing.TestService";

/** For clients that read proto files; the one to name is `test.proto`. */
export const protoDirectory: string = fileURLToPath(new URL("./protos/", import.meta.url));

/** What came to the handlers of one server, by method (`UnaryCall`). */
export interface Seen {
  /** Handlers that started. */
  readonly started: Readonly<Record<string, number>>;
  /** Calls that were cancelled while their handler ran. */
  readonly cancelled: Readonly<Record<string, number>>;
}

export const definition: ServiceDefinition = serviceDefinition();

function serviceDefinition(): ServiceDefinition {
  const { grpc } = loadPackageDefinition(
    loadSync("test.proto", { includeDirs: [protoDirectory], defaults: true, keepCase: true }),
  );
  const service: unknown = Reflect.get(Reflect.get(Object(grpc), "testing"), "TestService");
  return Reflect.get(Object(service), "service") as ServiceDefinition;
}

interface Payload {
  readonly body: Buffer;
}

interface EchoStatus {
  readonly code: number;
  readonly message: string;
}

interface SimpleRequest {
  readonly response_size: number;
  readonly response_status: EchoStatus | null;
}

interface InputRequest {
  readonly payload: Payload | null;
}

interface OutputRequest {
  readonly response_parameters: readonly { readonly size: number; readonly interval_us: number }[];
  readonly response_status: EchoStatus | null;
}

interface Response {
  readonly payload: { readonly type: "COMPRESSABLE"; readonly body: Buffer };
}

type OutputCall = ServerWritableStream<OutputRequest, Response> | ServerDuplexStream<OutputRequest, Response>;

/** The interop service's handlers, and what they saw. */
export class InteropService {
  #started: Record<string, number> = {};
  #cancelled: Record<string, number> = {};

  get seen(): Seen {
    return { started: { ...this.#started }, cancelled: { ...this.#cancelled } };
  }

  forget(): void {
    this.#started = {};
    this.#cancelled = {};
  }

  readonly handlers: UntypedServiceImplementation = {
    EmptyCall: (call: ServerUnaryCall<unknown, unknown>, callback: sendUnaryData<unknown>) => {
      this.#note("EmptyCall", call);
      reply(call, callback)(null, {});
    },

    UnaryCall: (call: ServerUnaryCall<SimpleRequest, Response>, callback: sendUnaryData<Response>) => {
      this.#note("UnaryCall", call);
      const trailers = echoMetadata(call);
      const failure = failureOf(call.request.response_status, trailers);
      if (failure === undefined) reply(call, callback)(null, response(call.request.response_size), trailers);
      else reply(call, callback)(failure);
    },

    StreamingOutputCall: async (call: ServerWritableStream<OutputRequest, Response>) => {
      this.#note("StreamingOutputCall", call);
      await answer(call, call.request);
      finish(call, call.request.response_status, new Metadata());
    },

    StreamingInputCall: (
      call: ServerReadableStream<InputRequest, unknown>,
      callback: sendUnaryData<unknown>,
    ) => {
      this.#note("StreamingInputCall", call);
      let size = 0;
      call.on("data", ({ payload }: InputRequest) => {
        size += payload?.body.length ?? 0;
      });
      call.on("end", () => reply(call, callback)(null, { aggregated_payload_size: size }));
    },

    FullDuplexCall: (call: ServerDuplexStream<OutputRequest, Response>) => {
      this.#note("FullDuplexCall", call);
      const trailers = echoMetadata(call);
      const ended = oneByOne(call, (request) => answer(call, request), hasFailure);
      void ended.then((failing) => finish(call, failing?.response_status ?? null, trailers));
    },

    HalfDuplexCall: (call: ServerDuplexStream<OutputRequest, Response>) => {
      this.#note("HalfDuplexCall", call);
      const requests: OutputRequest[] = [];
      call.on("data", (request: OutputRequest) => requests.push(request));
      call.on("end", async () => {
        for (const request of requests) await answer(call, request);
        finish(call, null, new Metadata());
      });
    },
  };

  #note(method: string, call: Cancellable): void {
    this.#started[method] = (this.#started[method] ?? 0) + 1;
    call.on("cancelled", () => {
      // A bare server says it at the end of each call, of those that were answered too.
      if (answered.has(call)) return;
      this.#cancelled[method] = (this.#cancelled[method] ?? 0) + 1;
    });
  }
}

interface Cancellable {
  on(event: "cancelled", listener: () => void): unknown;
}

/** Calls whose handler has given its last answer. */
const answered: WeakSet<Cancellable> = new WeakSet();

/** Answers a call that has one response. */
function reply<Message>(call: Cancellable, callback: sendUnaryData<Message>): sendUnaryData<Message> {
  return (...answer) => {
    answered.add(call);
    callback(...answer);
  };
}

const initialKey = "x-grpc-test-echo-initial";
const trailingKey = "x-grpc-test-echo-trailing-bin";

/** Sends back what the caller asks to have back: the one with the headers at once, the other to go with the trailers. */
function echoMetadata(
  call: ServerUnaryCall<SimpleRequest, Response> | ServerDuplexStream<OutputRequest, Response>,
): Metadata {
  const headers = new Metadata();
  const trailers = new Metadata();
  for (const value of call.metadata.get(initialKey)) headers.add(initialKey, value);
  for (const value of call.metadata.get(trailingKey)) trailers.add(trailingKey, value);
  if (headers.get(initialKey).length > 0) call.sendMetadata(headers);
  return trailers;
}

function response(size: number): Response {
  return { payload: { type: "COMPRESSABLE", body: Buffer.alloc(size) } };
}

function failureOf(
  status: EchoStatus | null,
  metadata: Metadata,
): { readonly code: number; readonly details: string; readonly metadata: Metadata } | undefined {
  if (status === null || status.code === 0) return undefined;
  return { code: status.code, details: status.message, metadata };
}

function finish(call: OutputCall, status: EchoStatus | null, trailers: Metadata): void {
  answered.add(call);
  const failure = failureOf(status, trailers);
  if (failure === undefined) call.end(trailers);
  else call.emit("error", failure);
}

async function answer(call: OutputCall, request: OutputRequest): Promise<void> {
  for (const { size, interval_us } of request.response_parameters) {
    if (interval_us > 0) await new Promise((resolve) => setTimeout(resolve, interval_us / 1000));
    if (call.cancelled) return;
    if (!call.write(response(size))) await drained(call);
  }
}

function drained(call: OutputCall): Promise<void> {
  const events = ["drain", "close", "cancelled", "error"];
  return new Promise((resolve) => {
    const done = (): void => {
      for (const event of events) call.off(event, done);
      resolve();
    };
    for (const event of events) call.on(event, done);
  });
}

/**
 * Handles requests in their order, one at a time, and no more of them after one that is the last. Iterating over a call of
 * grpc-js would destroy it at its end, and its answers with it.
 */
function oneByOne(
  call: ServerDuplexStream<OutputRequest, Response>,
  handle: (request: OutputRequest) => Promise<void>,
  isLast: (request: OutputRequest) => boolean,
): Promise<OutputRequest | undefined> {
  return new Promise((resolve) => {
    call.on("data", async (request: OutputRequest) => {
      call.pause();
      await handle(request);
      if (isLast(request)) resolve(request);
      else call.resume();
    });
    call.on("end", () => resolve(undefined));
  });
}

function hasFailure({ response_status }: OutputRequest): boolean {
  return response_status !== null && response_status.code !== 0;
}
