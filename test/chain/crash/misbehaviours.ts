// Everything a handler can do wrong (C3), each as a handler body for any of the four kinds. The first message's text
// says which one; `expected` says what the caller must be told.
import type { EventEmitter } from "node:events";
import { PassThrough, pipeline, Readable, Writable } from "node:stream";
import { Metadata, status } from "@grpc/grpc-js";
import { securityContext } from "../../../src/chain/current-context.ts";
import type { MethodKind } from "../../../src/grpc/method.ts";
import type { Note } from "../../harness/kinds.ts";

export interface HandlerCall extends EventEmitter {
  readonly request: Note;
  write(note: unknown, callback?: () => unknown): boolean;
  end(trailers?: unknown): void;
  destroy(error?: Error): void;
  sendMetadata(metadata: Metadata): void;
  [Symbol.asyncIterator](): AsyncIterator<Note>;
}

export type Callback = (error: unknown, value?: unknown, trailers?: unknown) => void;

export interface Misbehaviour {
  readonly kinds: readonly MethodKind[];
  /** The caller's status; INTERNAL where nothing else is said. `OK`: the failure comes after a whole answer. */
  readonly expected: "INTERNAL" | "OK" | "CANCELLED" | "any";
  /** Does the caller cancel once it has heard of the handler? */
  readonly cancel?: boolean;
  run(call: HandlerCall, callback: Callback, kind: MethodKind): unknown;
}

const all: readonly MethodKind[] = ["unary", "client_stream", "server_stream", "bidi_stream"];
const answering: readonly MethodKind[] = ["unary", "client_stream"];
const reading: readonly MethodKind[] = ["client_stream", "bidi_stream"];
const writing: readonly MethodKind[] = ["server_stream", "bidi_stream"];
const streams: readonly MethodKind[] = ["client_stream", "server_stream", "bidi_stream"];

class Boom extends Error {
  constructor() {
    super("boom: secret of the handler");
  }
}

function answer(call: HandlerCall, callback: Callback, kind: MethodKind): void {
  if (kind === "unary" || kind === "client_stream") callback(null, { text: "answer" });
  else {
    call.write({ text: "answer" });
    call.end();
  }
}

const boom = (): never => {
  throw new Boom();
};

const onAbort: Readonly<Record<string, (signal: AbortSignal) => void>> = {
  "throw in an abort listener": (signal) => signal.addEventListener("abort", boom),
  "reject in an abort listener": (signal) => signal.addEventListener("abort", async () => boom()),
  "throw in an abort listener that is an object": (signal) =>
    signal.addEventListener("abort", { handleEvent: boom } as never, { once: true }),
  "throw in onabort": (signal) => {
    signal.onabort = boom;
  },
  "reject in onabort": (signal) => {
    signal.onabort = async () => boom();
  },
  "return a thenable whose then throws from an abort listener": (signal) =>
    // biome-ignore lint/suspicious/noThenProperty: a listener that returns a thenable of its own is the misbehaviour
    signal.addEventListener("abort", () => ({ then: boom })),
};

const strange: Readonly<Record<string, () => unknown>> = {
  undefined: () => undefined,
  null: () => null,
  "a string": () => "boom",
  "a symbol": () => Symbol("boom"),
  "a bigint": () => 10n,
  "an object without prototype": () => Object.create(null),
  "an error whose getters throw": () =>
    Object.defineProperties(new Error("boom"), {
      message: {
        get: () => {
          throw new Boom();
        },
      },
      stack: {
        get: () => {
          throw new Boom();
        },
      },
      code: {
        get: () => {
          throw new Boom();
        },
      },
    }),
  "a proxy that throws": () =>
    new Proxy(
      {},
      {
        get() {
          throw new Boom();
        },
        has() {
          throw new Boom();
        },
        getPrototypeOf() {
          throw new Boom();
        },
      },
    ),
  "a revoked proxy": () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    return proxy;
  },
  "a circular error": () => {
    const error: Error & { self?: unknown } = new Error("boom", { cause: undefined });
    error.self = error;
    error.cause = error;
    return error;
  },
  "code without details": () => ({ code: 5, message: "secret" }),
  "a string code": () => Object.assign(new Error("secret"), { code: "23505", details: "secret" }),
  "a code beyond the codes": () => ({ code: 99, details: "secret" }),
  "code zero": () => ({ code: 0, details: "secret" }),
};

function badMetadata(key: string): Metadata {
  const metadata = new Metadata();
  metadata.set(key, "close");
  return metadata;
}

function twice(key: string): Metadata {
  const metadata = new Metadata();
  metadata.add(key, "1");
  metadata.add(key, "2");
  return metadata;
}

const surrogate = "lone \ud800 surrogate";

function failingIn(event: string, emitOf: (call: HandlerCall) => void): Record<string, Misbehaviour> {
  const listen =
    (fail: () => unknown): Misbehaviour["run"] =>
    (call) => {
      call.on(event, fail);
      emitOf(call);
    };
  return {
    [`throw in a ${event} listener`]: {
      kinds: reading,
      expected: "INTERNAL",
      run: listen(() => {
        throw new Boom();
      }),
    },
    [`reject in a ${event} listener`]: {
      kinds: reading,
      expected: "INTERNAL",
      run: listen(async () => {
        throw new Boom();
      }),
    },
    [`throw undefined in a ${event} listener`]: {
      kinds: reading,
      expected: "INTERNAL",
      run: listen(() => {
        throw undefined;
      }),
    },
  };
}

export const misbehaviours: Readonly<Record<string, Misbehaviour>> = {
  throw: {
    kinds: all,
    expected: "INTERNAL",
    run: () => {
      throw new Boom();
    },
  },
  reject: {
    kinds: all,
    expected: "INTERNAL",
    run: async () => {
      throw new Boom();
    },
  },
  "reject later": {
    kinds: all,
    expected: "INTERNAL",
    run: async () => {
      await new Promise((resolve) => setImmediate(resolve));
      throw new Boom();
    },
  },
  "return a thenable whose then throws": {
    kinds: all,
    expected: "INTERNAL",
    run: () => ({
      // biome-ignore lint/suspicious/noThenProperty: a handler that returns a thenable of its own is the misbehaviour
      then() {
        throw new Boom();
      },
    }),
  },
  ...Object.fromEntries(
    Object.entries(strange).flatMap(([name, make]): [string, Misbehaviour][] => [
      [
        `throw ${name}`,
        {
          kinds: all,
          expected: "INTERNAL",
          run: () => {
            throw make();
          },
        },
      ],
      [`reject with ${name}`, { kinds: all, expected: "INTERNAL", run: () => Promise.reject(make()) }],
      [
        `emit error ${name}`,
        {
          kinds: all,
          expected: "INTERNAL",
          run: (call) => {
            call.emit("error", make());
          },
        },
      ],
    ]),
  ),
  ...Object.fromEntries(
    Object.entries(strange)
      .filter(([name]) => name !== "undefined" && name !== "null")
      .map(([name, make]): [string, Misbehaviour] => [
        `give ${name} to the callback`,
        { kinds: answering, expected: "INTERNAL", run: (_call, callback) => callback(make()) },
      ]),
  ),
  ...failingIn("data", () => {}),
  ...failingIn("end", (call) => call.on("data", () => {})),
  ...failingIn("readable", () => {}),
  "throw in a listener after some messages": {
    kinds: ["bidi_stream"],
    expected: "INTERNAL",
    run: (call) => {
      call.on("data", (note) => {
        call.write(note);
        call.write(note);
        throw new Boom();
      });
    },
  },
  "throw in an own event's listener": {
    kinds: all,
    expected: "INTERNAL",
    run: (call) => {
      call.on("own", () => {
        throw new Boom();
      });
      call.emit("own");
    },
  },
  "throw in a cancelled listener": {
    kinds: all,
    expected: "CANCELLED",
    cancel: true,
    run: (call) => {
      call.on("cancelled", () => {
        throw new Boom();
      });
      call.sendMetadata(new Metadata());
    },
  },
  "reject in a cancelled listener": {
    kinds: all,
    expected: "CANCELLED",
    cancel: true,
    run: (call) => {
      call.on("cancelled", async () => {
        throw new Boom();
      });
      call.sendMetadata(new Metadata());
    },
  },
  ...Object.fromEntries(
    Object.entries(onAbort).map(([name, listen]): [string, Misbehaviour] => [
      name,
      {
        kinds: all,
        expected: "CANCELLED",
        cancel: true,
        run: (call) => {
          listen(securityContext(call).signal);
          call.sendMetadata(new Metadata());
        },
      },
    ]),
  ),
  "throw in an error listener": {
    kinds: all,
    expected: "INTERNAL",
    run: (call) => {
      call.on("error", () => {
        throw new Boom();
      });
      call.emit("error", new Boom());
    },
  },
  "reject in an error listener": {
    kinds: all,
    expected: "INTERNAL",
    run: (call, callback, kind) => {
      call.on("error", async () => {
        throw new Boom();
      });
      call.emit("error", new Boom());
      if (kind === "unary") callback(new Boom());
    },
  },
  "throw in close and finish listeners": {
    kinds: writing,
    expected: "OK",
    run: (call, callback, kind) => {
      call.on("close", () => {
        throw new Boom();
      });
      call.on("end", () => {});
      answer(call, callback, kind);
    },
  },
  "emit error": {
    kinds: all,
    expected: "INTERNAL",
    run: (call) => {
      call.emit("error", new Boom());
    },
  },
  "emit error after all listeners were removed": {
    kinds: all,
    expected: "INTERNAL",
    run: (call) => {
      call.removeAllListeners();
      call.emit("error", new Boom());
    },
  },
  "emit error twice": {
    kinds: streams,
    expected: "INTERNAL",
    run: (call) => {
      call.emit("error", new Boom());
      call.emit("error", new Boom());
    },
  },
  "destroy with an error": { kinds: streams, expected: "INTERNAL", run: (call) => call.destroy(new Boom()) },
  "destroy without one": { kinds: streams, expected: "INTERNAL", run: (call) => call.destroy() },
  "destroy after writing": {
    kinds: writing,
    expected: "INTERNAL",
    run: (call) => {
      call.write({ text: "some" });
      call.destroy(new Boom());
    },
  },
  "pipeline from a source that fails": {
    kinds: writing,
    expected: "INTERNAL",
    run: (call) => {
      const source = new Readable({
        objectMode: true,
        read() {
          this.destroy(new Boom());
        },
      });
      pipeline(source, call as unknown as Writable, () => {});
    },
  },
  "pipeline from a generator that throws later": {
    kinds: writing,
    expected: "INTERNAL",
    run: (call) => {
      async function* source(): AsyncGenerator<Note> {
        yield { text: "one" };
        throw new Boom();
      }
      pipeline(source, call as unknown as Writable, () => {});
    },
  },
  "pipeline into a sink that fails": {
    kinds: reading,
    expected: "INTERNAL",
    run: (call) => {
      const sink = new Writable({
        objectMode: true,
        write(_chunk, _encoding, done) {
          done(new Boom());
        },
      });
      pipeline(call as unknown as Readable, sink, () => {});
    },
  },
  "await a pipeline into a sink that fails": {
    kinds: reading,
    expected: "INTERNAL",
    run: async (call) => {
      const { pipeline: pipe } = await import("node:stream/promises");
      const sink = new Writable({
        objectMode: true,
        write(_chunk, _encoding, done) {
          done(new Boom());
        },
      });
      await pipe(call as unknown as Readable, sink);
    },
  },
  "pipe through a transform that throws": {
    kinds: ["bidi_stream"],
    expected: "INTERNAL",
    run: (call) => {
      const through = new PassThrough({
        objectMode: true,
        transform() {
          throw new Boom();
        },
      });
      pipeline(call as unknown as Readable, through, call as unknown as Writable, () => {});
    },
  },
  "leave a for await": {
    kinds: ["bidi_stream"],
    expected: "INTERNAL",
    run: async (call) => {
      for await (const _note of call as AsyncIterable<Note>) break;
    },
  },
  "leave a for await and answer all the same": {
    kinds: reading,
    expected: "OK",
    run: async (call, callback, kind) => {
      for await (const _note of call as AsyncIterable<Note>) break;
      answer(call, callback, kind);
    },
  },
  "throw inside a for await": {
    kinds: reading,
    expected: "INTERNAL",
    run: async (call) => {
      for await (const _note of call as AsyncIterable<Note>) throw new Boom();
    },
  },
  "settle without a status": { kinds: writing, expected: "INTERNAL", run: async () => {} },
  "settle without a status after writing": {
    kinds: writing,
    expected: "INTERNAL",
    run: async (call) => {
      call.write({ text: "some" });
    },
  },
  "throw in a generator": {
    kinds: writing,
    expected: "INTERNAL",
    // biome-ignore lint/correctness/useYield: a generator that fails before its first yield is the misbehaviour
    run: async function* () {
      throw new Boom();
    },
  },
  "throw in a generator after some messages": {
    kinds: writing,
    expected: "INTERNAL",
    run: async function* () {
      yield { text: "one" };
      yield { text: "two" };
      throw new Boom();
    },
  },
  "yield what cannot be encoded": {
    kinds: writing,
    expected: "INTERNAL",
    run: async function* () {
      yield { text: 1n };
    },
  },
  "yield null": {
    kinds: writing,
    expected: "INTERNAL",
    run: async function* () {
      yield null;
    },
  },
  "return a generator from a method with one answer": {
    kinds: answering,
    expected: "INTERNAL",
    run: async function* () {
      yield { text: "one" };
    },
  },
  "throw in a generator's finally when the caller cancels": {
    kinds: writing,
    expected: "CANCELLED",
    cancel: true,
    run: async function* () {
      try {
        for (;;) {
          yield { text: "more" };
          await new Promise((resolve) => setImmediate(resolve));
        }
      } finally {
        // biome-ignore lint/correctness/noUnsafeFinally: a generator whose finally throws is the misbehaviour
        throw new Boom();
      }
    },
  },
  "call back twice": {
    kinds: answering,
    expected: "OK",
    run: (_call, callback) => {
      callback(null, { text: "answer" });
      callback(null, { text: "answer" });
      callback(new Boom());
    },
  },
  "call back and throw": {
    kinds: answering,
    expected: "OK",
    run: (_call, callback) => {
      callback(null, { text: "answer" });
      throw new Boom();
    },
  },
  "call back and reject": {
    kinds: answering,
    expected: "OK",
    run: async (_call, callback) => {
      callback(null, { text: "answer" });
      throw new Boom();
    },
  },
  "end and throw": {
    kinds: writing,
    expected: "any",
    run: (call, callback, kind) => {
      answer(call, callback, kind);
      throw new Boom();
    },
  },
  "write after end": {
    kinds: writing,
    expected: "any",
    run: (call) => {
      call.end();
      call.write({ text: "late" });
    },
  },
  "write null": {
    kinds: writing,
    expected: "INTERNAL",
    run: (call) => {
      call.write(null);
    },
  },
  "end twice": {
    kinds: writing,
    expected: "OK",
    run: (call) => {
      call.end();
      call.end();
    },
  },
  "end with a function": { kinds: writing, expected: "OK", run: (call) => call.end(() => {}) },
  "throw in a write's callback": {
    kinds: writing,
    expected: "INTERNAL",
    run: (call) => {
      call.write({ text: "one" }, () => {
        throw new Boom();
      });
    },
  },
  "reject in a write's callback": {
    kinds: writing,
    expected: "INTERNAL",
    run: (call) => {
      call.write({ text: "one" }, async () => {
        throw new Boom();
      });
    },
  },
  ...Object.fromEntries(
    [
      "connection",
      "te",
      "upgrade",
      "grpc-status",
      "grpc-message",
      "content-type",
      "host",
      "http2-settings",
    ].flatMap((key): [string, Misbehaviour][] => [
      [
        `send metadata with ${key}`,
        {
          kinds: all,
          expected: "OK",
          run: (call, callback, kind) => {
            call.sendMetadata(badMetadata(key));
            answer(call, callback, kind);
          },
        },
      ],
      [
        `send trailers with ${key}`,
        {
          kinds: all,
          expected: "OK",
          run: (call, callback, kind) => {
            if (kind === "unary" || kind === "client_stream")
              callback(null, { text: "answer" }, badMetadata(key));
            else {
              call.write({ text: "answer" });
              call.end(badMetadata(key));
            }
          },
        },
      ],
    ]),
  ),
  "send a single-value header twice": {
    kinds: all,
    expected: "OK",
    run: (call, callback, kind) => {
      call.sendMetadata(twice("etag"));
      answer(call, callback, kind);
    },
  },
  "send a single-value trailer twice": {
    kinds: answering,
    expected: "OK",
    run: (_call, callback) => callback(null, { text: "answer" }, twice("retry-after")),
  },
  "send metadata that is none": {
    kinds: all,
    expected: "any",
    run: (call, callback, kind) => {
      call.sendMetadata({ key: "value" } as unknown as Metadata);
      answer(call, callback, kind);
    },
  },
  "fail with trailers that are none": {
    kinds: answering,
    expected: "INTERNAL",
    run: (_call, callback) => callback(new Boom(), undefined, { connection: "close" }),
  },
  "a lone surrogate in details": {
    kinds: all,
    expected: "any",
    run: (call, callback, kind) => {
      const error = { code: status.NOT_FOUND, details: surrogate };
      if (kind === "unary" || kind === "client_stream") callback(error);
      else call.emit("error", error);
    },
  },
  "a lone surrogate in details after headers were sent": {
    kinds: all,
    expected: "any",
    run: (call, callback, kind) => {
      call.sendMetadata(new Metadata());
      const error = { code: status.NOT_FOUND, details: surrogate };
      if (kind === "unary" || kind === "client_stream") callback(error);
      else {
        call.write({ text: "some" });
        call.emit("error", error);
      }
    },
  },
  "a megabyte of details": {
    kinds: answering,
    expected: "any",
    run: (_call, callback) => callback({ code: status.NOT_FOUND, details: "x".repeat(1_000_000) }),
  },
  "answer with nothing": {
    kinds: answering,
    expected: "INTERNAL",
    run: (_call, callback) => callback(null, undefined),
  },
  "answer with what cannot be encoded": {
    kinds: all,
    expected: "INTERNAL",
    run: (call, callback, kind) => {
      if (kind === "unary" || kind === "client_stream") callback(null, { text: 1n });
      else call.write({ text: 1n });
    },
  },
  "answer with more than a message may hold": {
    kinds: all,
    expected: "any",
    run: (call, callback, kind) => {
      const huge = { text: "x".repeat(5 * 1024 * 1024) };
      if (kind === "unary" || kind === "client_stream") callback(null, huge);
      else call.write(huge);
    },
  },
};
