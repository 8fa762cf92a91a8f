/**
 * One RPC behind the wall: all layers fused into one intercepting call. It is *checking* until every `onCall` hook said
 * yes, then *open* while messages pass `onRequest` and `onResponse`, then *ended* by the first status, whoever sent it.
 * After it ended no hook and no handler starts, and it holds nothing (C10 to C13).
 */

import type { Http2Session, ServerHttp2Stream } from "node:http2";
import { performance } from "node:perf_hooks";
import { Metadata, type ServerInterceptingCallInterface, status } from "@grpc/grpc-js";
import { Call } from "../call/context.ts";
import { encodeStatusDetails } from "../call/error-details.ts";
import { StatusError } from "../call/errors.ts";
import { isHealthProbe, streamsRequests, streamsResponses } from "../call/method.ts";
import { internalErrorText, texts } from "../call/status.ts";
import { isThenable } from "../call/thenable.ts";
import { longestTimerMs } from "../call/timer.ts";
import { CallAuthContext } from "./auth-context.ts";
import type { Middleware, Outcome } from "./middleware.ts";
import type { ChainServices, Plan } from "./plan.ts";
import type { FailureSource, PublicStatus } from "./recovery.ts";
import { type Connection, connectionOf } from "./seam/connection.ts";
import { decompressHere } from "./seam/decompression.ts";
import { type Inflation, inflationOf } from "./seam/inflation.ts";
import type { BaseCall, InboundListener, PartialStatus } from "./seam/inside.ts";
import { asAuthContext } from "./seam/interceptor.ts";
import { countMessageBytes, limitMessages } from "./seam/message-sizes.ts";
import { cleanMetadata, isEmptyMetadata, mostMetadataBytes } from "./seam/metadata.ts";
import { type BaseCallReceiver, interceptOwnStatuses, sendOn } from "./seam/own-statuses.ts";
import { forgetCall, sendAnswer } from "./seam/shorter-way.ts";
import { cutStream, endedByCaller, releaseStream } from "./seam/streams.ts";
import { UnaryCall } from "./seam/unary-call.ts";

const CHECKING = 0;
const OPEN = 1;
const ENDED = 2;
type State = typeof CHECKING | typeof OPEN | typeof ENDED;

type EndedBy = Outcome["endedBy"];

interface Ending {
  readonly status: PublicStatus;
  readonly endedBy: EndedBy;
  readonly layer: string | undefined;
}

/** A caller's header limit is often 8 KiB: a text beyond this would lose the whole status. */
const longestDetails = 1024;
/** The same text in bytes as `grpc-message` encodes them: three for each byte beyond ASCII. */
const longestEncodedDetails = 3 * longestDetails;
/** How long a status may wait for a caller who does not read, where the call has no deadline left to bound it. */
const lingerMs = 10_000;
/**
 * Node keeps a list of timers for each duration, and hardly two calls have the same time left. So a timer waits for a
 * multiple of this, and then for the rest: most calls have long ended by then.
 */
const sharedTimerMs = 256;
/** How much earlier than ours a caller's timer for the same deadline may end the call. */
const timersApartMs = 100;
/** A probe names a service. Strangers may send it, past every limit, so it holds no more than that. */
const largestProbeBytes = 1024;

export class SecuredCall implements ServerInterceptingCallInterface, InboundListener, BaseCallReceiver {
  readonly #chain: ChainServices;
  readonly #base: BaseCall;
  readonly #stream: ServerHttp2Stream;
  readonly #session: Http2Session | undefined;
  readonly #connection: Connection;
  /** By the monotonic clock, when the context was made. */
  #startedAt = 0;
  /** Present where the caller compresses. */
  readonly inflation: Inflation | undefined;
  /** Is the base call at work on a message of the handler's? What fails then is the handler's. */
  #sending = false;
  /** The call ended by the handler's own doing, but its stream did not: what writes there must hear of it. */
  #cutShort = false;
  #plan: Plan;
  #context: Call | undefined = undefined;
  #listener: InboundListener | undefined = undefined;
  #state: State = CHECKING;
  #entered = 0;
  /** grpc-js has the metadata. The handler's own code runs later, where its one message must come first. */
  #handlerStarted = false;
  #handlerRan = false;
  #heldBy: Middleware | undefined = undefined;
  /** The first message, which decided that a held handler may start; it is what the handler reads first. */
  #heldMessage: { readonly message: unknown } | undefined = undefined;
  #metadata: Metadata | undefined = undefined;
  #headersSent = false;
  #replied = false;
  #ending: Ending | undefined = undefined;
  #streamFailure: PublicStatus | undefined = undefined;
  #cancelForwarded = false;
  #handlerPending = false;
  #streamDestroyed = false;
  #deadlineTimer: NodeJS.Timeout | undefined = undefined;
  #armedFor: number = Number.POSITIVE_INFINITY;
  #checkTimer: NodeJS.Timeout | undefined = undefined;
  #authContext: CallAuthContext | undefined = undefined;
  #lateFailureReported = false;
  #receivedBytes: number | undefined = undefined;
  #sentBytes: number | undefined = undefined;

  constructor(chain: ChainServices, plan: Plan, base: BaseCall) {
    this.#chain = chain;
    this.#plan = plan;
    this.#base = base;
    this.#stream = base.stream;
    this.#session = base.stream.session;
    this.#connection = connectionOf(this.#session);
    interceptOwnStatuses(base, this);
    if (plan.maxReceiveMessageBytes !== undefined) limitMessages(base, plan.maxReceiveMessageBytes);
    if (base.incomingEncoding !== "identity") decompressHere(base);
    if (plan.countsBytes) this.#countBytes();
    this.inflation = inflationOf(base, { streamsRequests: streamsRequests(plan.method.kind) });
    if (isHealthProbe(plan.method)) limitMessages(base, largestProbeBytes);
  }

  #countBytes(): void {
    if (!countMessageBytes(this.#base)) return;
    this.#receivedBytes = 0;
    this.#sentBytes = 0;
  }

  /** Before the call starts: another interceptor of ours on the same server has layers of its own. */
  join(plan: (first: Plan) => Plan): void {
    const counted = this.#plan.countsBytes;
    this.#plan = plan(this.#plan);
    if (this.#plan.countsBytes && !counted) this.#countBytes();
    const { maxReceiveMessageBytes } = this.#plan;
    if (maxReceiveMessageBytes !== undefined) limitMessages(this.#base, maxReceiveMessageBytes);
  }

  /** The context of the call. There is one from the moment its metadata arrived, so in every handler and listener. */
  get context(): Call {
    if (this.#context === undefined) throw new Error("the call has no context before its metadata arrived");
    return this.#context;
  }

  get ended(): boolean {
    return this.#state === ENDED;
  }

  // --- from grpc-js's handler side -------------------------------------------------------------------------------

  start(listener: InboundListener): void {
    this.#listener = listener;
    this.#base.start(this);
  }

  startRead(): void {
    const held = this.#heldMessage;
    if (held === undefined) {
      this.#base.startRead();
      return;
    }
    this.#heldMessage = undefined;
    if (this.#state === OPEN) this.#listener?.onReceiveMessage(held.message);
  }

  sendMetadata(metadata: Metadata): void {
    if (this.#state === ENDED || this.#headersSent) return;
    this.#sendHeaders(metadata);
  }

  sendMessage(message: unknown, callback: () => void): void {
    this.#write(message, callback, sendOne);
  }

  /** `send` tells whether the callback was called or will be. */
  #write(message: unknown, callback: () => void, send: typeof sendOne): void {
    if (this.#state === ENDED) {
      process.nextTick(callback);
      return;
    }
    const hooks = this.#plan.onResponse;
    for (let i = 0; i < hooks.length; i++) {
      const layer = hooks[i] as Middleware;
      try {
        layer.onResponse?.(message, this.context);
      } catch (error) {
        if (this.#watcherFailed(layer, error)) continue;
        this.#refuse(layer, error);
        process.nextTick(callback);
        return;
      }
    }
    if (!this.#headersSent && this.#context?.takeResponseHeaders() !== undefined)
      this.#sendHeaders(undefined);
    this.#headersSent = true;
    this.#connection.handedOver = true;
    this.#sending = true;
    const sent = send(this.#base, message, callback);
    this.#sending = false;
    // It could not be sent, so the base call has forgotten who waits for that.
    if (!sent && this.ended) process.nextTick(callback);
  }

  sendStatus(sent: PartialStatus): void {
    if (this.#state === ENDED) return;
    if (!this.#handlerRan) {
      // grpc-js's word: a method without a request stream got no message, or more than one.
      const cause = new Error(`grpc-js: ${sent.details}`);
      this.#end({ code: sent.code, details: texts.oneMessageExpected, cause }, "transport", undefined);
    } else if (this.#streamFailure !== undefined) {
      this.#end(this.#streamFailure, "handler", undefined);
    } else if (sent.code === status.OK) {
      this.#end(succeeded(sent.metadata), "handler", undefined);
    } else {
      this.#end({ ...this.#recover(sent, "given"), ...trailersOf(sent.metadata) }, "handler", undefined);
    }
  }

  getPeer(): string {
    return this.#base.getPeer();
  }

  getDeadline(): number {
    return this.context.deadline;
  }

  getHost(): string {
    return this.#base.getHost();
  }

  getAuthContext(): ReturnType<ServerInterceptingCallInterface["getAuthContext"]> {
    this.#authContext ??= new CallAuthContext(this, this.#base);
    return asAuthContext(this.#authContext);
  }

  getConnectionInfo(): ReturnType<ServerInterceptingCallInterface["getConnectionInfo"]> {
    return this.#base.getConnectionInfo();
  }

  getMetricsRecorder(): ReturnType<ServerInterceptingCallInterface["getMetricsRecorder"]> {
    return this.#base.getMetricsRecorder();
  }

  // --- from the guard around the handler ---------------------------------------------------------------------------

  /** From here on what grpc-js's handler side says is the handler's word. */
  handlerRuns(): void {
    this.#handlerRan = true;
    // It has its one message. A stream's messages it reads by and by.
    if (!streamsRequests(this.#plan.method.kind)) this.inflation?.taken();
  }

  /** The handler's answer, whether by callback or by promise; only the first one counts. */
  reply(error: unknown, value: unknown, trailers: unknown): void {
    if (this.#replied) {
      this.#reportLate(new Error("the handler called its callback twice; the second call is ignored"));
      return;
    }
    this.#replied = true;
    if (error !== undefined && error !== null) {
      this.fail(error, "given", trailers);
      return;
    }
    const callback = (): void => {
      this.sendStatus({ code: status.OK, details: "OK", metadata: trailers as Metadata | null | undefined });
    };
    this.#write(value, callback, sendLast);
  }

  get replied(): boolean {
    return this.#replied;
  }

  /** The handler, one of its listeners, its promise or its stream failed. */
  fail(error: unknown, source: FailureSource, trailers?: unknown): void {
    if (this.#state === ENDED) {
      this.#reportLate(error);
      return;
    }
    if (this.#replied && source === "thrown") {
      // It answered first; the answer stands.
      this.#reportLate(error);
      return;
    }
    this.#replied = true;
    this.#cutShort =
      source === "thrown" && streamsResponses(this.#plan.method.kind) && !this.#streamDestroyed;
    this.#end({ ...this.#recover(error, source), ...trailersOf(trailers) }, "handler", undefined);
  }

  /** The handler's stream emitted an error; grpc-js ends it, after what was written has left, with the status noted here. */
  noteStreamFailure(error: unknown, source: FailureSource): void {
    if (this.#state === ENDED) this.#reportLate(error);
    else this.#streamFailure ??= this.#recover(error, source);
  }

  /**
   * The handler's stream was destroyed, so no status will come from it. The handler itself may still have a word: in the
   * callback of a failed `pipeline`, or after the `await` of one.
   */
  streamDestroyed(): void {
    if (this.#state === ENDED) return;
    this.#streamDestroyed = true;
    if (!this.#handlerPending) setImmediate(() => this.failStream());
  }

  /** Ends the call with what its stream failed of. */
  failStream(): void {
    if (this.#state === ENDED || this.#replied) return;
    if (this.#streamFailure !== undefined) this.#end(this.#streamFailure, "handler", undefined);
    else this.fail(new Error("the handler destroyed its call without a status"), "thrown");
  }

  /** The handler returned a promise: until it settles, the handler has not said its last word. */
  handlerPending(): void {
    this.#handlerPending = true;
  }

  handlerSettled(): void {
    this.#handlerPending = false;
    if (this.#streamDestroyed) this.failStream();
  }

  #reportLate(error: unknown): void {
    if (this.#lateFailureReported) return;
    this.#lateFailureReported = true;
    this.#chain.reportLateFailure(
      this.context,
      error,
      this.#ending?.endedBy === "handler" || this.#state !== ENDED,
    );
  }

  // --- from the base call ------------------------------------------------------------------------------------------

  onReceiveMetadata(metadata: Metadata): void {
    const { road, peerOf } = this.#chain;
    const arrival = road.arrivalOf(this.#base, metadata);
    const peer = road.peerOf(this.#session);
    this.#metadata = metadata;
    this.#context = new Call({
      method: this.#plan.method,
      peer: peerOf === undefined ? peer : peerOf(peer, arrival.forwardedCertificate, metadata),
      metadata,
      metadataBytes: arrival.metadataBytes,
      timeoutMs: arrival.timeoutMs,
      logger: this.#chain.logger,
      listeners: this.#chain,
    });
    // After the context looked at the wall clock: what comes in between makes a call end late, and never early.
    this.#startedAt = performance.now();
    this.#connection.calls += 1;
    const stream: OwnedStream = this.#stream;
    stream[callKey] = this;
    stream.on("close", onClose);
    this.#check(0);
  }

  onReceiveMessage(message: unknown): void {
    if (this.#state !== OPEN) return;
    this.#inspect(message, 0);
  }

  onReceiveHalfClose(): void {
    if (this.#state !== OPEN) return;
    if (this.#heldBy !== undefined) {
      this.#refuse(
        this.#heldBy,
        new StatusError(status.PERMISSION_DENIED, texts.permissionDenied, {
          cause: new Error("the stream ended before the first message that the rule decides on"),
        }),
      );
      return;
    }
    // The handler of a method with one request message starts here.
    if (!streamsRequests(this.#plan.method.kind) && !this.#confirmed(OPEN, this.onReceiveHalfClose)) return;
    this.#listener?.onReceiveHalfClose();
  }

  /** Fired when the stream closed, and also after any status that was sent. */
  onCancel(): void {
    if (this.#state !== ENDED) {
      const byCaller = endedByCaller(this.#stream, this.#session);
      if (byCaller) this.#finish(this.#cancelledByCaller(), "caller", undefined);
      else this.#finish(this.#chain.cutsCalls ? cutByShutdown : cancelled, "transport", undefined);
    } else {
      releaseStream(this.#base);
    }
    // A handler that answered a request which was all there has nothing left to cancel. A stream may still be reading.
    if (!this.#endedByHandler || !this.#base.receivedHalfClose) this.#tellHandler();
  }

  #cancelledByCaller(): PublicStatus {
    // The caller's own timer for the same deadline may be first.
    return this.#msLeft() < timersApartMs ? { ...cancelled, ...this.#unanswered() } : cancelled;
  }

  get #endedByHandler(): boolean {
    return this.#ending?.endedBy === "handler" && !this.#cutShort;
  }

  #tellHandler(): void {
    if (!this.#handlerStarted || this.#cancelForwarded) return;
    this.#cancelForwarded = true;
    this.#listener?.onCancel();
  }

  /** A status that the base call wanted to send by itself: sizes, compression, (de)serialization, a failed write. */
  onBaseStatus(sent: PartialStatus): void {
    // Also where nobody wants to know: an explanation that is left would be taken for that of another call.
    const explained = this.#chain.explain(sent);
    if (this.#state === ENDED) {
      // The status is on its way already; what could not be written any more is not worth another.
      return;
    }
    if (this.#context === undefined) {
      sendOn(this.#base, { code: status.INTERNAL, details: "internal error" });
      return;
    }
    this.#cutShort = this.#sending && !this.#replied;
    this.#end(this.#recover(explained, "grpc-js"), this.#sending ? "handler" : "transport", undefined);
  }

  onBytesReceived(bytes: number): void {
    if (this.#receivedBytes !== undefined) this.#receivedBytes += bytes;
  }

  onBytesSent(bytes: number): void {
    if (this.#sentBytes !== undefined) this.#sentBytes += bytes;
  }

  // --- checking ----------------------------------------------------------------------------------------------------

  #check(from: number): void {
    const { layers } = this.#plan;
    const context = this.context;
    for (let i = from; i < layers.length; i++) {
      this.#entered = i + 1;
      const layer = layers[i] as Middleware;
      if (layer.onCall === undefined) continue;
      let pending: void | Promise<void>;
      try {
        pending = layer.onCall(context);
      } catch (error) {
        if (this.#watcherFailed(layer, error)) continue;
        this.#refuse(layer, error);
        return;
      }
      if (!isThenable(pending)) continue;
      if (layer.watches === true) {
        pending.then(undefined, (error: unknown) => this.#watcherFailed(layer, error));
        continue;
      }
      this.#await(pending, layer, CHECKING, () => this.#check(i + 1));
      return;
    }
    this.#admit();
  }

  /** Waits for a hook, at most `checkTimeoutMs`. An answer that comes after the call ended is dropped. */
  #await(pending: Promise<void>, layer: Middleware, during: State, proceed: () => void): void {
    this.#armDeadline();
    clearTimeout(this.#checkTimer);
    this.#checkTimer = setTimeout(() => {
      this.#refuse(
        layer,
        new StatusError(status.UNAVAILABLE, texts.temporarilyUnavailable, {
          cause: new Error(`${layer.name} did not answer within ${this.#plan.checkTimeoutMs} ms`),
        }),
      );
    }, /* protection: check-timeout */ this.#plan.checkTimeoutMs);
    pending.then(
      () => {
        if (/* protection: late-answers */ this.#state !== during) return;
        clearTimeout(this.#checkTimer);
        proceed();
      },
      (error: unknown) => {
        if (this.#state !== during) return;
        this.#refuse(layer, error);
      },
    );
  }

  /**
   * Does what the layers said still hold? If one must decide anew it is waited for, and then `again` is called, which asks
   * all of them once more: between their word and what it allows nothing is waited for. False too where one refused.
   */
  #confirmed(
    during: State,
    again: (this: SecuredCall, message: unknown) => void,
    message?: unknown,
  ): boolean {
    const { confirming } = this.#plan;
    for (let i = 0; i < confirming.length; i++) {
      const layer = confirming[i] as Middleware;
      let pending: void | Promise<void>;
      try {
        pending = layer.confirm?.(this.context);
      } catch (error) {
        if (this.#watcherFailed(layer, error)) continue;
        this.#refuse(layer, error);
        return false;
      }
      if (!isThenable(pending)) continue;
      if (layer.watches === true) {
        pending.then(undefined, (error: unknown) => this.#watcherFailed(layer, error));
        continue;
      }
      this.#await(pending, layer, during, () => again.call(this, message));
      return false;
    }
    return true;
  }

  #admit(): void {
    const { method, holding } = this.#plan;
    if (!method.known) {
      this.#end({ code: status.UNIMPLEMENTED, details: texts.unknownMethod }, "layer", "method");
      return;
    }
    if (streamsRequests(method.kind) && !this.#confirmed(CHECKING, this.#admit)) return;
    this.#state = OPEN;
    this.#armDeadline();
    for (const layer of holding) {
      try {
        if (/* protection: held-handler */ layer.needsMessage?.(this.context) !== true) continue;
      } catch (error) {
        this.#refuse(layer, error);
        return;
      }
      this.#heldBy = layer;
      this.#base.startRead();
      return;
    }
    this.#startHandler();
  }

  #startHandler(): void {
    this.#handlerStarted = true;
    this.#listener?.onReceiveMetadata(this.#metadata as Metadata);
  }

  // --- messages ----------------------------------------------------------------------------------------------------

  #inspect(message: unknown, from: number): void {
    const hooks = this.#plan.onRequest;
    for (let i = from; i < hooks.length; i++) {
      const layer = hooks[i] as Middleware;
      let pending: void | Promise<void>;
      try {
        pending = layer.onRequest?.(message, this.context);
      } catch (error) {
        if (this.#watcherFailed(layer, error)) continue;
        this.#refuse(layer, error);
        return;
      }
      if (!isThenable(pending)) continue;
      if (layer.watches === true) {
        pending.then(undefined, (error: unknown) => this.#watcherFailed(layer, error));
        continue;
      }
      this.#await(pending, layer, OPEN, () => this.#inspect(message, i + 1));
      return;
    }
    this.#deliver(message);
  }

  #deliver(message: unknown): void {
    // protection: replaced-policy
    if (streamsRequests(this.#plan.method.kind) && !this.#confirmed(OPEN, this.#deliver, message)) return;
    this.inflation?.delivered();
    if (this.#heldBy !== undefined) {
      this.#heldBy = undefined;
      this.#heldMessage = { message };
      this.#startHandler();
      return;
    }
    this.#listener?.onReceiveMessage(message);
  }

  #sendHeaders(own: Metadata | undefined): void {
    const added = this.#context?.takeResponseHeaders();
    const headers = own === undefined ? new Metadata() : this.#clean(own);
    if (added !== undefined) headers?.merge(this.#clean(added) ?? new Metadata());
    this.#headersSent = true;
    this.#connection.handedOver = true;
    this.#base.sendMetadata(headers ?? new Metadata());
  }

  // --- the end -----------------------------------------------------------------------------------------------------

  #refuse(layer: Middleware | undefined, error: unknown): void {
    if (this.#state === ENDED) return;
    this.#end(this.#recover(error, "layer"), "layer", layer?.name);
  }

  #recover(failure: unknown, source: FailureSource): PublicStatus {
    try {
      return this.#chain.recovery(failure, source, this.context);
    } catch (error) {
      // An error whose getters throw, say. Nothing of it may leave.
      const { id } = this.context;
      return { code: status.INTERNAL, details: internalErrorText(id), cause: error, errorId: id };
    }
  }

  /** The one point that every status passes. The first one decides. */
  #end(sent: PublicStatus, endedBy: EndedBy, layer: string | undefined): void {
    if (this.#state === ENDED) return;
    this.#finish(sent, endedBy, layer);
    this.#send(sent);
    if (this.#endedByHandler || !this.#handlerStarted) return;
    // grpc-js tells the handler only once the trailers left, which a caller who does not read can hold up.
    process.nextTick(() => this.#tellHandler());
  }

  #finish(ended: PublicStatus, endedBy: EndedBy, layer: string | undefined): void {
    this.#state = ENDED;
    this.#ending = { status: ended, endedBy, layer };
    this.inflation?.stop();
    clearTimeout(this.#checkTimer);
    // A check that is still waiting for something can stop too, not only the handler.
    if (!this.#endedByHandler) this.#context?.abort(ended.details);
  }

  #send(sent: PublicStatus): void {
    this.#connection.handedOver = true;
    try {
      sendOn(this.#base, {
        code: sent.code,
        details: sendableDetails(sent.details),
        metadata: this.#statusMetadata(sent),
      });
    } catch (error) {
      // Nothing known gets here: metadata and text are clean. If something does, the caller must not be left waiting.
      this.#chain.reportLateFailure(this.context, error, true);
      cutStream(this.#stream);
      return;
    }
    // Until the stream is closed something must be able to cut it: a caller may stop reading what it was sent.
    if (this.#deadlineTimer === undefined && !this.#stream.closed)
      this.#deadlineTimer = setTimeout(cutStream, lingerMs, this.#stream);
  }

  #statusMetadata(sent: PublicStatus): Metadata | null {
    const own = sent.metadata === undefined ? undefined : this.#clean(sent.metadata);
    const added = this.#context?.takeTrailers();
    if (added === undefined && sent.errorDetails === undefined) return own ?? null;
    const trailers = new Metadata();
    if (own !== undefined) trailers.merge(own);
    if (added !== undefined) trailers.merge(this.#clean(added) ?? new Metadata());
    if (sent.errorDetails !== undefined && sent.errorDetails.length > 0) {
      const details = encodeStatusDetails(sent.code, sendableDetails(sent.details), sent.errorDetails);
      if (details.length <= mostMetadataBytes) trailers.set("grpc-status-details-bin", details);
      else this.#chain.reportDroppedMetadata(this.context, "grpc-status-details-bin");
    }
    return isEmptyMetadata(trailers) ? null : trailers;
  }

  #clean(metadata: unknown): Metadata | undefined {
    return cleanMetadata(metadata, (key) => this.#chain.reportDroppedMetadata(this.context, key));
  }

  /** For the stream's "close", which comes once. */
  onStreamClosed(): void {
    this.#connection.calls -= 1;
    if (this.#state !== ENDED) {
      // The base call tells it in its next tick; the outcome is the same, and must be known to the hooks below.
      this.onCancel();
    }
    clearTimeout(this.#deadlineTimer);
    const ending = this.#ending as Ending;
    const { code, details, cause, reason, hint, errorId } = ending.status;
    const outcome: { -readonly [Name in keyof Outcome]: Outcome[Name] } = {
      code,
      details,
      endedBy: ending.endedBy,
      delivered: this.#delivered(ending),
      durationMs: performance.now() - this.#startedAt,
    };
    // Most calls have none of these but the sizes.
    if (this.#receivedBytes !== undefined) outcome.receivedBytes = this.#receivedBytes;
    if (this.#sentBytes !== undefined) outcome.sentBytes = this.#sentBytes;
    if (ending.layer !== undefined) outcome.layer = ending.layer;
    if (cause !== undefined) outcome.cause = cause;
    if (reason !== undefined) outcome.reason = reason;
    if (hint !== undefined) outcome.hint = hint;
    if (errorId !== undefined) outcome.errorId = errorId;
    const { layers } = this.#plan;
    for (let i = this.#entered - 1; i >= 0; i--) {
      const layer = layers[i] as Middleware;
      if (layer.onEnd === undefined) continue;
      try {
        layer.onEnd(this.context, outcome);
      } catch (error) {
        this.#chain.reportLayerFailure(layer, error);
      }
    }
  }

  /** Our status left whole: its HEADERS or trailers were handed to HTTP/2, and the stream closed without an error. */
  #delivered(ending: Ending): boolean {
    if (ending.endedBy === "caller" || this.#stream.rstCode !== 0) return false;
    return this.#stream.sentTrailers !== undefined || this.#stream.sentHeaders?.["grpc-status"] !== undefined;
  }

  // --- time --------------------------------------------------------------------------------------------------------

  /** Counted on the monotonic clock from the call's arrival, so that a jump of the wall clock ends nothing. */
  #msLeft(): number {
    const context = this.context;
    return context.deadline - context.startedAt - (performance.now() - this.#startedAt);
  }

  #armDeadline(): void {
    const { deadline } = this.context;
    if (deadline >= this.#armedFor) return;
    this.#armedFor = deadline;
    this.#setDeadlineTimer(this.#msLeft());
  }

  #setDeadlineTimer(msLeft: number): void {
    clearTimeout(this.#deadlineTimer);
    const ms = Math.min(Math.max(Math.ceil(msLeft), 0), longestTimerMs);
    this.#deadlineTimer = setTimeout(
      onDeadlineTimer,
      ms < sharedTimerMs ? ms : ms - (ms % sharedTimerMs),
      this,
    );
  }

  /** For the timer. */
  onDeadline(): void {
    this.#deadlineTimer = undefined;
    const msLeft = this.#msLeft();
    if (msLeft > 0) {
      this.#setDeadlineTimer(msLeft);
      return;
    }
    if (this.#state === ENDED) {
      cutStream(this.#stream);
      return;
    }
    const { timeUp } = this.context;
    if (timeUp !== undefined) this.#end(this.#recover(timeUp.error, "layer"), "layer", timeUp.layer);
    else this.#end({ ...timeIsUp, ...this.#unanswered() }, "deadline", undefined);
  }

  /** What the handler had left undone, once its time was up. The one trace of a handler that never answers. */
  #unanswered(): Pick<PublicStatus, "reason" | "hint"> {
    const { method } = this.#plan;
    if (!this.#handlerRan || isHealthProbe(method)) return {};
    const streams = streamsResponses(method.kind);
    const unread = streamsRequests(method.kind) && !this.#base.receivedHalfClose;
    const reason =
      (streams ? "the handler had not ended its call" : "the handler had not answered") +
      (unread ? ", nor read the caller's stream to its end" : "");
    // While its promise is pending it is at work, and may only be slow.
    if (this.#handlerPending) return { reason };
    return { reason, hint: streams ? howToEnd : howToAnswer };
  }

  #watcherFailed(layer: Middleware, error: unknown): boolean {
    if (layer.watches !== true) return false;
    this.#chain.reportLayerFailure(layer, error);
    return true;
  }
}

/** The secured call that a handler's `call` stands for, however wrapped; undefined where it did not pass the wall. */
export function securedCallOf(handlerCall: unknown): SecuredCall | undefined {
  const owner = handlerCall instanceof UnaryCall ? handlerCall.call : CallAuthContext.ownerOf(handlerCall);
  return owner instanceof SecuredCall ? owner : undefined;
}

function sendOne(base: BaseCall, message: unknown, callback: () => void): boolean {
  // grpc-js's own way returns nothing.
  return (base.sendMessage(message, callback) as unknown) === true;
}

function sendLast(base: BaseCall, message: unknown, callback: () => void): boolean {
  return sendAnswer(base, message, callback) || sendOne(base, message, callback);
}

const callKey: unique symbol = Symbol("palisade.call");

/** A stream that knows its call, so that all streams can share one listener. */
type OwnedStream = ServerHttp2Stream & { [callKey]?: SecuredCall | undefined };

function onClose(this: OwnedStream): void {
  const call = this[callKey];
  // See `onClose` in base-call.ts: a stream that is over may live on.
  this[callKey] = undefined;
  forgetCall(this);
  call?.onStreamClosed();
}

function onDeadlineTimer(call: SecuredCall): void {
  call.onDeadline();
}

const cancelled: PublicStatus = Object.freeze({ code: status.CANCELLED, details: "cancelled" });
const cutByShutdown: PublicStatus = Object.freeze({
  ...cancelled,
  reason: "the server's shutdown cut it: it was still open after the grace time (graceMs)",
});
const timeIsUp: PublicStatus = Object.freeze({
  code: status.DEADLINE_EXCEEDED,
  details: texts.deadlineExceeded,
});

const howToAnswer =
  "if it was not only slow: its callback was not called, and what it returned was no promise of an answer; " +
  "make it async and return the answer, or call callback(null, answer)";
const howToEnd =
  "if more was not to come: end the stream with call.end(), or write the handler as an async generator, which ends it";

const plainSuccess: PublicStatus = Object.freeze({ code: status.OK, details: "OK" });

function succeeded(trailers: unknown): PublicStatus {
  return trailers === undefined || trailers === null
    ? plainSuccess
    : { ...plainSuccess, ...trailersOf(trailers) };
}

function trailersOf(metadata: unknown): { readonly metadata?: Metadata } {
  return metadata === undefined || metadata === null ? {} : { metadata: metadata as Metadata };
}

/** No character takes more than nine bytes in `grpc-message` for each of its UTF-16 units. */
const mostBytesPerUnit = 9;

/** `encodeURI` throws on a lone surrogate, inside an event of the stream. */
function sendableDetails(details: string): string {
  if (details.length * mostBytesPerUnit <= longestEncodedDetails) return details.toWellFormed();
  const whole = details.slice(0, longestDetails).toWellFormed();
  if (encodeURI(whole).length <= longestEncodedDetails)
    return whole.length === details.length ? whole : `${whole}…`;
  return `${whole.slice(0, longestEncodedDetails / mostBytesPerUnit).toWellFormed()}…`;
}
