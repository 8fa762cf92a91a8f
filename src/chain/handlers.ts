/**
 * What a handler may be (a callback as in grpc-js, a promise, or for response streams an async generator; C4), and the
 * guard around it (C3). Whatever a handler, its listeners, its promise or its stream do,
 * the process goes on and the caller gets a status.
 *
 * The guard gives the handler's call object its own `emit`: every listener runs inside it, so a throw is caught without
 * wrapping any listener, and Node's `captureRejections` reports those that are async functions.
 */
import { EventEmitter } from "node:events";
import type { Duplex, Readable, Writable } from "node:stream";
import type { UntypedHandleCall } from "@grpc/grpc-js";
import type { MethodKind } from "../call/method.ts";
import { isThenable } from "../call/thenable.ts";
import { currentContext, runInContext } from "./current-context.ts";
import { readWhenWanted } from "./handler-reads.ts";
import { captureRejections } from "./seam/streams.ts";
import { answersByItself } from "./seam/unary-call.ts";
import { type SecuredCall, securedCallOf } from "./secured-call.ts";

type HandlerCall = EventEmitter & object;
type Callback = (error: unknown, value?: unknown, trailers?: unknown) => void;
type Handler = (call: HandlerCall, callback?: Callback) => unknown;

const securedKey: unique symbol = Symbol("palisade.secured");

interface Guarded extends EventEmitter {
  readonly [securedKey]: SecuredCall;
}

/**
 * Puts the guard around a handler of the given kind. `written` is the handler before grpc-js bound it to its service: a
 * bound function does not tell how it was written.
 */
export function guardHandler(
  handler: UntypedHandleCall,
  kind: MethodKind,
  written: UntypedHandleCall = handler,
): UntypedHandleCall {
  const inner = handler as unknown as Handler;
  const answersByCallback = kind === "unary" || kind === "client_stream";
  const guarded = answersByCallback ? guardAnswering(inner, cannotCallBack(written)) : guardStreaming(inner);
  return guarded as unknown as UntypedHandleCall;
}

function guardAnswering(handler: Handler, neverCallsBack: boolean): Handler {
  // Declared with the call alone, or without anything, it can only answer by its promise.
  const promiseOnly = handler.length === 1 || neverCallsBack;
  return answersByItself(function guardedHandler(call: HandlerCall) {
    const secured = guardCall(call);
    const callback: Callback = (error, value, trailers) => secured.reply(error, value, trailers);
    let result: unknown;
    try {
      result = runInContext(secured.context, handler, call, callback);
    } catch (error) {
      secured.fail(error, "thrown");
      return;
    }
    // A handler that answers by its callback, as most do that grpc-js has taught.
    if (result === undefined) return;
    const fail = (error: unknown): void => secured.fail(error, "thrown");
    if (isGenerator(result)) {
      fail(
        new Error("the handler returned a generator, but its method has one answer; return a promise of it"),
      );
      return;
    }
    const waits = whenSettled(
      secured,
      result,
      (value) => {
        if (!secured.replied && (value !== undefined || promiseOnly))
          secured.reply(undefined, value, undefined);
        secured.handlerSettled();
      },
      fail,
    );
    if (neverCallsBack && !waits && !secured.replied && !secured.ended)
      fail(new Error("the handler returned a value, and not a promise of it; make it async"));
  });
}

/**
 * Is the callback out of the handler's reach? `length` alone does not tell: it is 0 for `(...args) => inner(...args)` too,
 * which wraps a handler that calls back, and 1 for `(call, ...rest)`. So its text must have a list of plain parameters, and
 * no `arguments`. What is only not understood is left alone.
 */
function cannotCallBack(handler: UntypedHandleCall): boolean {
  if (handler.length > 1) return false;
  const text = Function.prototype.toString.call(handler);
  return plainParameters.test(text) && !/\barguments\b|\[native code\]/.test(text);
}

/** `call =>`, `() =>`, `async ({ request }) =>`, `function (call)`, `name(call)`: neither rest nor default in it. */
const plainParameters = /^(?:async\s+)?(?:[\w$]+\s*=>|(?:function\b\s*)?[\w$]*\s*\([^().=]*\))/;

function guardStreaming(handler: Handler): Handler {
  return function guardedHandler(call) {
    const secured = guardCall(call);
    const stream = call as Duplex;
    const result = run(secured, handler, call, undefined, (error) => failAfterWrites(secured, stream, error));
    if (isGenerator(result)) {
      secured.handlerPending();
      runInContext(secured.context, sendAll, secured, stream, result);
      return;
    }
    whenSettled(
      secured,
      result,
      () => {
        secured.handlerSettled();
        if (secured.ended || !isAbandoned(stream)) return;
        secured.fail(
          new Error("the handler's promise settled, but it never ended its call: call.end() is missing"),
          "thrown",
        );
      },
      (error) => failAfterWrites(secured, stream, error),
    );
  };
}

type OnFailure = (error: unknown) => void;

/** Waits for what the handler returned, if it is something to wait for. Is it? */
function whenSettled(
  secured: SecuredCall,
  result: unknown,
  done: (value: unknown) => void,
  onFailure: OnFailure,
): boolean {
  try {
    if (!isThenable(result)) return false;
  } catch (error) {
    onFailure(error);
    return true;
  }
  secured.handlerPending();
  // A thenable may be anybody's: its `then` may throw, or call back twice.
  Promise.resolve(result).then((value) => {
    try {
      done(value);
    } catch (error) {
      onFailure(error);
    }
  }, onFailure);
  return true;
}

function run(
  secured: SecuredCall,
  handler: Handler,
  call: HandlerCall,
  callback: Callback | undefined,
  onFailure: OnFailure,
): unknown {
  try {
    return runInContext(secured.context, handler, call, callback);
  } catch (error) {
    onFailure(error);
    return undefined;
  }
}

/** What the handler wrote before it failed goes first: grpc-js sends the status noted here when the stream has finished. */
function failAfterWrites(secured: SecuredCall, stream: Duplex, error: unknown): void {
  if (secured.ended) {
    secured.fail(error, "thrown");
    return;
  }
  secured.noteStreamFailure(error, "thrown");
  if (stream.destroyed || stream.writableEnded) secured.failStream();
  else stream.end();
}

/**
 * Sends what a generator yields, no faster than the caller reads: what waits is bounded by the high water marks of the stream
 * and of HTTP/2's below it.
 * When the call ends, the generator is returned, so that its `finally` runs once it waits for nothing of its own (C4).
 */
async function sendAll(
  secured: SecuredCall,
  stream: Duplex,
  responses: AsyncGenerator<unknown>,
): Promise<void> {
  const giveUp = (): void => {
    responses.return(undefined).catch((error: unknown) => secured.fail(error, "thrown"));
  };
  stream.once("cancelled", giveUp);
  try {
    for (;;) {
      const { done, value } = await responses.next();
      if (done === true) break;
      if (secured.ended || stream.destroyed) {
        await responses.return(undefined);
        break;
      }
      if (!stream.write(value)) await drained(stream);
    }
    secured.handlerSettled();
    if (!secured.ended && !stream.destroyed) stream.end();
  } catch (error) {
    failAfterWrites(secured, stream, error);
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

function guardCall(call: HandlerCall): SecuredCall {
  const secured = securedCallOf(call);
  if (secured === undefined) throw new Error("a guarded handler was called past the chain");
  const open = call as HandlerCall & { [securedKey]?: SecuredCall };
  open[securedKey] = secured;
  secured.handlerRuns();
  const captured = captureRejections(call, onRejection);
  // protection: guarded-emit
  open.emit = captured ? guardedEmit : guardedEmitByHand;
  if ("write" in call) guardWrites(call as unknown as Writable);
  if ("iterator" in call) {
    guardLoops(call as unknown as Readable);
    if (secured.inflation !== undefined) readWhenWanted(call as unknown as Readable, secured.inflation);
  }
  return secured;
}

function onRejection(this: Guarded, error: unknown): void {
  this[securedKey].fail(error, "thrown");
}

function guardedEmit(this: Guarded, event: string | symbol, ...args: unknown[]): boolean {
  return emitGuarded(this, event, args, emitBase);
}

function emitBase(call: Guarded, event: string | symbol, args: unknown[]): boolean {
  return EventEmitter.prototype.emit.call(call, event, ...args);
}

/** For a Node without the switch that captureRejections needs. */
function guardedEmitByHand(this: Guarded, event: string | symbol, ...args: unknown[]): boolean {
  return emitGuarded(this, event, args, emitEach);
}

function emitEach(call: Guarded, event: string | symbol, args: unknown[]): boolean {
  const listeners = call.rawListeners(event);
  if (event === "error" && listeners.length === 0) throw args[0];
  for (const listener of listeners) {
    const result: unknown = Reflect.apply(listener, call, args);
    if (isThenable(result))
      result.then(undefined, (error: unknown) => call[securedKey].fail(error, "thrown"));
  }
  return listeners.length > 0;
}

type Emit = (call: Guarded, event: string | symbol, args: unknown[]) => boolean;

function emitGuarded(call: Guarded, event: string | symbol, args: unknown[], emit: Emit): boolean {
  const secured = call[securedKey];
  if (event === "error") secured.noteStreamFailure(args[0], "given");
  try {
    if (currentContext() === secured.context) return emit(call, event, args);
    return runInContext(secured.context, emit, call, event, args);
  } catch (error) {
    // Without a listener an emitter throws the error itself: the handler's word, not a listener's failure.
    if (event === "error" && call.listenerCount("error") === 0) secured.failStream();
    else secured.fail(error, "thrown");
    return true;
  } finally {
    if (event === "close") secured.streamDestroyed();
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
    if (typeof callback === "function") args[last] = guardedCallback(this[securedKey], callback);
    return Reflect.apply(writeOf(this), this, args) as boolean;
  };
}

function guardedCallback(secured: SecuredCall, callback: object): (...results: unknown[]) => void {
  return (...results) => {
    try {
      const result: unknown = runInContext(secured.context, () =>
        Reflect.apply(callback as (...args: unknown[]) => unknown, undefined, results),
      );
      if (isThenable(result)) result.then(undefined, (error: unknown) => secured.fail(error, "thrown"));
    } catch (error) {
      secured.fail(error, "thrown");
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
