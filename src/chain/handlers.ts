/**
 * What a handler may be (a callback as in grpc-js, a promise, or for response streams an async generator), and the
 * guard around it. Whatever a handler, its listeners, its promise or its stream do,
 * the process goes on and the caller gets a status.
 *
 * The guard gives the handler's call object its own `emit`: every listener runs inside it, so that a throw or a rejection
 * is caught without wrapping any listener.
 */
import type { EventEmitter } from "node:events";
import type { Duplex, Readable, Writable } from "node:stream";
import type { UntypedHandleCall } from "@grpc/grpc-js";
import type { MethodKind } from "../grpc/method.ts";
import { currentContext, runInContext } from "./current-context.ts";
import { readWhenWanted } from "./handler-reads.ts";
import type { HandlerRun } from "./handler-run.ts";
import { securedCallOf } from "./secured-call.ts";
import { isThenable } from "./thenable.ts";

type HandlerCall = EventEmitter | Readable | Writable;
type Callback = (error: unknown, value?: unknown, trailers?: unknown) => void;
type Handler = (call: HandlerCall, callback?: Callback) => unknown;

const handlerKey: unique symbol = Symbol("palisade.handler");

interface Guarded extends EventEmitter {
  readonly [handlerKey]: HandlerRun;
}

/** Puts the guard around a handler of the given kind. */
export function guardHandler(handler: UntypedHandleCall, kind: MethodKind): UntypedHandleCall {
  const inner = handler as unknown as Handler;
  const answersByCallback = kind === "unary" || kind === "client_stream";
  const guarded = answersByCallback ? guardAnswering(inner) : guardStreaming(inner);
  return guarded as unknown as UntypedHandleCall;
}

function guardAnswering(handler: Handler): Handler {
  // Declared with the call alone it can only answer by its promise.
  const promiseOnly = handler.length === 1;
  return function guardedHandler(call: HandlerCall) {
    const run = guardCall(call);
    const callback: Callback = (error, value, trailers) => run.reply(error, value, trailers);
    let result: unknown;
    try {
      result = runInContext(run.context, handler, call, callback);
    } catch (error) {
      run.fail(error, "thrown");
      return;
    }
    // A handler that answers by its callback, as most do that grpc-js has taught.
    if (result === undefined) return;
    const fail = (error: unknown): void => run.fail(error, "thrown");
    if (isGenerator(result)) {
      fail(
        new Error("the handler returned a generator, but its method has a single response; return a promise"),
      );
      return;
    }
    whenSettled(
      run,
      result,
      (value) => {
        if (!run.replied && (value !== undefined || promiseOnly)) run.reply(undefined, value, undefined);
        run.settled();
      },
      fail,
    );
  };
}

function guardStreaming(handler: Handler): Handler {
  return function guardedHandler(call) {
    const run = guardCall(call);
    const stream = call as Duplex;
    const result = begin(run, handler, call, undefined, (error) => failAfterWrites(run, stream, error));
    if (isGenerator(result)) {
      run.pending = true;
      runInContext(run.context, sendAll, run, stream, result);
      return;
    }
    whenSettled(
      run,
      result,
      () => {
        run.settled();
        if (run.ended || !isAbandoned(stream)) return;
        run.fail(
          new Error("the handler's promise settled without ending the call: call.end() is missing"),
          "thrown",
        );
      },
      (error) => failAfterWrites(run, stream, error),
    );
  };
}

type OnFailure = (error: unknown) => void;

/** Waits for what the handler returned, if it is something to wait for. */
function whenSettled(
  run: HandlerRun,
  result: unknown,
  done: (value: unknown) => void,
  onFailure: OnFailure,
): void {
  try {
    if (!isThenable(result)) return;
  } catch (error) {
    onFailure(error);
    return;
  }
  run.pending = true;
  // A thenable may be anybody's: its `then` may throw, or call back twice.
  Promise.resolve(result).then((value) => {
    try {
      done(value);
    } catch (error) {
      onFailure(error);
    }
  }, onFailure);
}

function begin(
  run: HandlerRun,
  handler: Handler,
  call: HandlerCall,
  callback: Callback | undefined,
  onFailure: OnFailure,
): unknown {
  try {
    return runInContext(run.context, handler, call, callback);
  } catch (error) {
    onFailure(error);
    return undefined;
  }
}

/** What the handler wrote before it failed goes first: grpc-js sends the status noted here when the stream has finished. */
function failAfterWrites(run: HandlerRun, stream: Duplex, error: unknown): void {
  if (run.ended) {
    run.fail(error, "thrown");
    return;
  }
  run.noteStreamFailure(error, "thrown");
  if (stream.destroyed || stream.writableEnded) run.failStream();
  else stream.end();
}

/**
 * Sends what a generator yields, no faster than the caller reads: what waits is bounded by the high water marks of the stream
 * and of HTTP/2's below it.
 * When the call ends, the generator is returned, so that its `finally` runs once it waits for nothing of its own.
 */
async function sendAll(run: HandlerRun, stream: Duplex, responses: AsyncGenerator<unknown>): Promise<void> {
  const giveUp = (): void => {
    responses.return(undefined).catch((error: unknown) => run.fail(error, "thrown"));
  };
  stream.once("cancelled", giveUp);
  try {
    for (;;) {
      const { done, value } = await responses.next();
      if (done === true) break;
      if (run.ended || stream.destroyed) {
        await responses.return(undefined);
        break;
      }
      if (!stream.write(value)) await drained(stream);
    }
    run.settled();
    if (!run.ended && !stream.destroyed) stream.end();
  } catch (error) {
    failAfterWrites(run, stream, error);
  } finally {
    stream.off("cancelled", giveUp);
  }
}

function drained(stream: Duplex): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      stream.off("drain", done).off("close", done);
      resolve();
    };
    stream.on("drain", done).on("close", done);
    if (stream.destroyed) done();
  });
}

function isGenerator(value: unknown): value is AsyncGenerator<unknown> {
  return (
    typeof value === "object" &&
    value !== null &&
    Symbol.asyncIterator in value &&
    "next" in value &&
    "return" in value
  );
}

/** Can nothing end the stream any more? Nobody ended it, and nobody listens: no listener, no pipe, no open loop. */
function isAbandoned(call: Duplex): boolean {
  if (call.writableEnded) return false;
  return call.eventNames().every((event) => event === "error") && call.listenerCount("error") <= 1;
}

function guardCall(call: HandlerCall): HandlerRun {
  const secured = securedCallOf(call);
  if (secured === undefined) throw new Error("a guarded handler was called past the chain");
  const { handler } = secured;
  const open = call as HandlerCall & { [handlerKey]?: HandlerRun };
  open[handlerKey] = handler;
  secured.handlerRuns();
  // protection: guarded-emit
  open.emit = guardedEmit;
  if ("write" in call) guardWrites(call as unknown as Writable);
  if ("iterator" in call) {
    guardLoops(call as unknown as Readable);
    if (handler.decompression !== undefined)
      readWhenWanted(call as unknown as Readable, handler.decompression);
  }
  return handler;
}

function emitEach(call: Guarded, event: string | symbol, args: unknown[]): boolean {
  const listeners = call.rawListeners(event);
  if (event === "error" && listeners.length === 0) throw args[0];
  for (const listener of listeners) {
    const result: unknown = Reflect.apply(listener, call, args);
    if (isThenable(result))
      // protection: listener-rejections
      result.then(undefined, (error: unknown) => call[handlerKey].fail(error, "thrown"));
  }
  return listeners.length > 0;
}

function guardedEmit(this: Guarded, event: string | symbol, ...args: unknown[]): boolean {
  const run = this[handlerKey];
  if (event === "error") run.noteStreamFailure(args[0], "given");
  try {
    if (currentContext() === run.context) return emitEach(this, event, args);
    return runInContext(run.context, emitEach, this, event, args);
  } catch (error) {
    // Without a listener an emitter throws the error itself: the handler's word, not a listener's failure.
    if (event === "error" && this.listenerCount("error") === 0) run.failStream();
    else run.fail(error, "thrown");
    return true;
  } finally {
    if (event === "close") run.streamDestroyed();
  }
}

/** The callback of a `write` is no listener: Node calls it from a tick of its own, where a throw ends the process. */
function guardWrites(call: Writable): void {
  const { write } = call;
  // One function for all calls, unless somebody gave this one a `write` of its own.
  call.write = (
    Object.hasOwn(call, "write") ? guardedWrite(() => write) : guardedInherited
  ) as Writable["write"];
}

const guardedInherited = guardedWrite((call) => (Object.getPrototypeOf(call) as Writable).write);

function guardedWrite(writeOf: (call: Writable) => Writable["write"]) {
  return function guardedWrite(this: Writable & Guarded, ...args: unknown[]): boolean {
    const last = args.length - 1;
    const callback = args[last];
    if (typeof callback === "function") args[last] = guardedCallback(this[handlerKey], callback);
    return Reflect.apply(writeOf(this), this, args) as boolean;
  };
}

function guardedCallback(run: HandlerRun, callback: object): (...results: unknown[]) => void {
  return (...results) => {
    try {
      const result: unknown = runInContext(run.context, () =>
        Reflect.apply(callback as (...args: unknown[]) => unknown, undefined, results),
      );
      if (isThenable(result)) result.then(undefined, (error: unknown) => run.fail(error, "thrown"));
    } catch (error) {
      run.fail(error, "thrown");
    }
  };
}

/** Leaving a `for await` destroys the stream, and with it the only way to answer. Here it only ends the reading. */
function guardLoops(call: Readable): void {
  call[Symbol.asyncIterator] = readWithoutDestroying as Readable[typeof Symbol.asyncIterator];
}

function readWithoutDestroying(this: Readable): unknown {
  return this.iterator({ destroyOnReturn: false });
}
