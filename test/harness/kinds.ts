// A service with one method of each call kind, and one way to call them all, so that a test can say "for all four".
import { Buffer } from "node:buffer";
import type { EventEmitter } from "node:events";
import {
  type CallOptions,
  type Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientUnaryCall,
  type ClientWritableStream,
  Metadata,
  type ServiceDefinition,
  type ServiceError,
  type StatusObject,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import type { MethodKind } from "../../src/grpc/method.ts";
import { inTime } from "./time.ts";

export interface Note {
  readonly text: string;
}

export const kinds: readonly MethodKind[] = ["unary", "client_stream", "server_stream", "bidi_stream"];

export const paths: Readonly<Record<MethodKind, string>> = {
  unary: "/test.v1.Kinds/Unary",
  client_stream: "/test.v1.Kinds/ClientStream",
  server_stream: "/test.v1.Kinds/ServerStream",
  bidi_stream: "/test.v1.Kinds/BidiStream",
};

function encode(value: unknown): Buffer {
  if (value === undefined || value === null) throw new TypeError("there is no message to encode");
  return Buffer.from(JSON.stringify(value));
}

function decode(bytes: Buffer): Note {
  return bytes.length === 0 ? { text: "" } : (JSON.parse(bytes.toString("utf8")) as Note);
}

function definition(path: string, kind: MethodKind): ServiceDefinition[string] {
  return {
    path,
    requestStream: kind === "client_stream" || kind === "bidi_stream",
    responseStream: kind === "server_stream" || kind === "bidi_stream",
    requestSerialize: encode,
    requestDeserialize: decode,
    responseSerialize: encode,
    responseDeserialize: decode,
  };
}

export const kindsDefinition: ServiceDefinition = {
  unary: definition(paths.unary, "unary"),
  clientStream: definition(paths.client_stream, "client_stream"),
  serverStream: definition(paths.server_stream, "server_stream"),
  bidiStream: definition(paths.bidi_stream, "bidi_stream"),
};

/** Handlers that answer: echo, join, repeat three times, echo each. They count how often they started. */
export function goodHandlers(started: MethodKind[] = []): UntypedServiceImplementation {
  return {
    unary(call: { request: Note }, callback: (error: null, value: Note) => void) {
      started.push("unary");
      callback(null, { text: call.request.text });
    },
    clientStream(
      call: AsyncIterable<Note> & NodeJS.EventEmitter,
      callback: (error: null, value: Note) => void,
    ) {
      started.push("client_stream");
      const texts: string[] = [];
      call.on("data", (note: Note) => texts.push(note.text));
      call.on("end", () => callback(null, { text: texts.join(",") }));
    },
    serverStream(call: { request: Note; write(note: Note): void; end(): void }) {
      started.push("server_stream");
      for (let i = 0; i < 3; i++) call.write({ text: call.request.text });
      call.end();
    },
    bidiStream(call: NodeJS.EventEmitter & { write(note: Note): void; end(): void }) {
      started.push("bidi_stream");
      call.on("data", (note: Note) => call.write(note));
      call.on("end", () => call.end());
    },
  } as unknown as UntypedServiceImplementation;
}

export interface Result {
  readonly code: status;
  readonly name: string;
  readonly details: string;
  readonly messages: readonly Note[];
  readonly headers: Metadata | undefined;
  readonly trailers: Metadata;
}

export type AnyClientCall =
  | ClientUnaryCall
  | ClientReadableStream<Note>
  | ClientWritableStream<Note>
  | ClientDuplexStream<Note, Note>;

export interface InvokeOptions {
  readonly metadata?: Metadata | Readonly<Record<string, string>>;
  readonly messages?: readonly Note[];
  /** Leave the request stream open, where there is one. */
  readonly keepOpen?: boolean;
  readonly path?: string;
  readonly call?: CallOptions;
  /** Told of the call object as soon as there is one. */
  readonly onCall?: (call: AnyClientCall) => void;
  readonly onMessage?: (note: Note, call: AnyClientCall) => void;
}

/** Makes a call and waits for its status, whatever it is. The deadline only keeps a failing test from hanging. */
export function invoke(client: Client, kind: MethodKind, options: InvokeOptions = {}): Promise<Result> {
  const path = options.path ?? paths[kind];
  const metadata = toMetadata(options.metadata);
  const messages = options.messages ?? [{ text: "hello" }];
  const callOptions: CallOptions = { deadline: inTime(), ...options.call };
  return new Promise((resolve) => {
    const received: Note[] = [];
    let headers: Metadata | undefined;
    const done = (ended: StatusObject): void =>
      resolve({
        code: ended.code,
        name: status[ended.code] ?? String(ended.code),
        // The text that stands for OK in tests: on the wire there is none.
        details: ended.code === status.OK ? "OK" : ended.details,
        messages: received,
        headers,
        trailers: ended.metadata,
      });
    const ignore = (_error: ServiceError | null, value?: Note): void => {
      if (value !== undefined) received.push(value);
    };
    const first = messages[0] ?? { text: "" };
    let call: AnyClientCall;
    switch (kind) {
      case "unary":
        call = client.makeUnaryRequest(path, encode, decode, first, metadata, callOptions, ignore);
        break;
      case "client_stream":
        call = client.makeClientStreamRequest(path, encode, decode, metadata, callOptions, ignore);
        break;
      case "server_stream":
        call = client.makeServerStreamRequest(path, encode, decode, first, metadata, callOptions);
        break;
      case "bidi_stream":
        call = client.makeBidiStreamRequest(path, encode, decode, metadata, callOptions);
        break;
    }
    const events: EventEmitter = call;
    events.on("metadata", (sent: Metadata) => {
      headers = sent;
    });
    events.on("status", done);
    events.on("error", () => {});
    if (kind === "server_stream" || kind === "bidi_stream") {
      events.on("data", (note: Note) => {
        received.push(note);
        options.onMessage?.(note, call);
      });
    }
    if ("write" in call) {
      for (const note of messages) call.write(note);
      if (options.keepOpen !== true) call.end();
    }
    options.onCall?.(call);
  });
}

export function toMetadata(from: InvokeOptions["metadata"]): Metadata {
  if (from instanceof Metadata) return from;
  const metadata = new Metadata();
  for (const [key, value] of Object.entries(from ?? {})) metadata.add(key, value);
  return metadata;
}
