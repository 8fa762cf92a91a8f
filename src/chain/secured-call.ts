/**
 * One RPC behind the chain: all middleware fused into one intercepting call. It is *checking* until every `onCall` hook
 * said yes, then *open* while messages pass `onRequest` and `onResponse`, then *ended* by the first status, whoever sent
 * it. After it ended no hook and no handler starts, and it holds nothing.
 *
 * - A call is refused in `refuse`.
 * - A status leaves in `#end`.
 * - Time is counted in call-deadline.ts, hooks are asked in checks.ts, what the handler said is in handler-run.ts.
 */
import { type Metadata, type ServerInterceptingCallInterface, status } from "@grpc/grpc-js";
import { StatusError } from "../grpc/errors.ts";
import { isHealthProbe, streamsRequests, streamsResponses } from "../grpc/method.ts";
import { internalErrorText, texts } from "../grpc/status.ts";
import type {
  CallListener,
  InboundListener,
  PartialStatus,
  RequestFailure,
  TransportCall,
} from "../transport/call.ts";
import type { Decompression } from "../transport/decompression.ts";
import { CallAuthContext } from "./auth-context.ts";
import { CallDeadline, type TimedCall } from "./call-deadline.ts";
import { type CheckedCall, Checks, confirm, onCall, onRequest, type Phase } from "./checks.ts";
import { Call, type CallEnder } from "./context.ts";
import { type HandledCall, HandlerRun } from "./handler-run.ts";
import { forbidRenewedAttempt, leavingStatus, merged } from "./leaving-status.ts";
import type { Middleware, Outcome } from "./middleware.ts";
import type { ChainServices, Plan } from "./plan.ts";
import type { FailureSource, PublicStatus } from "./public-status.ts";

type EndedBy = Outcome["endedBy"];

interface Ending {
  readonly status: PublicStatus;
  readonly endedBy: EndedBy;
  readonly layer: string | undefined;
}

/** How much earlier than ours a caller's timer for the same deadline may end the call. */
const timersApartMs = 100;
/** A probe names a service. Unauthenticated callers may send it, past every limit, so its size is limited to this. */
const maxProbeBytes = 1024;

export class SecuredCall
  implements ServerInterceptingCallInterface, CallListener, CallEnder, CheckedCall, HandledCall, TimedCall
{
  readonly #chain: ChainServices;
  readonly #transport: TransportCall;
  #plan: Plan;
  readonly handler: HandlerRun;
  readonly #checks: Checks = new Checks(this);
  #context: Call | undefined = undefined;
  #deadline: CallDeadline | undefined = undefined;
  /** grpc-js's side of the handler. */
  #listener: InboundListener | undefined = undefined;
  #metadata: Metadata | undefined = undefined;
  phase: Phase = "checking";
  /** grpc-js has the metadata. The handler's own code runs later, where its one message must come first. */
  #handlerStarted = false;
  #handlerCancelled = false;
  #heldBy: Middleware | undefined = undefined;
  /** The first message, which decided that a held handler may start; it is what the handler reads first. */
  #heldMessage: { readonly message: unknown } | undefined = undefined;
  #headersSent = false;
  #ending: Ending | undefined = undefined;
  #authContext: CallAuthContext | undefined = undefined;
  #lateFailureReported = false;

  constructor(chain: ChainServices, plan: Plan, transport: TransportCall) {
    this.#chain = chain;
    this.#plan = plan;
    this.#transport = transport;
    this.handler = new HandlerRun(this, streamsResponses(plan.method.kind));
    this.#limitMessages();
  }

  /** Before the call starts: another interceptor of ours on the same server has middleware of its own. */
  join(plan: (first: Plan) => Plan): void {
    this.#plan = plan(this.#plan);
    this.#limitMessages();
  }

  #limitMessages(): void {
    const { method, maxReceiveMessageBytes } = this.#plan;
    if (isHealthProbe(method)) this.#transport.limitReceived(maxProbeBytes);
    else if (maxReceiveMessageBytes !== undefined) this.#transport.limitReceived(maxReceiveMessageBytes);
  }

  /** The context of the call. There is one from the moment its metadata arrived, so in every handler and listener. */
  get context(): Call {
    if (this.#context === undefined) throw new Error("the call has no context before its metadata arrived");
    return this.#context;
  }

  get ended(): boolean {
    return this.phase === "ended";
  }

  get decompression(): Decompression | undefined {
    return this.#transport.decompression;
  }

  // --- checking ----------------------------------------------------------------------------------------------------

  start(listener: InboundListener): void {
    this.#listener = listener;
    this.#transport.start(this);
  }

  onReceiveMetadata(metadata: Metadata): void {
    const { peerOf, logger } = this.#chain;
    const { head, peer } = this.#transport;
    const { method, chain, checkTimeoutMs } = this.#plan;
    this.#metadata = metadata;
    const context = new Call({
      method,
      peer: peerOf === undefined ? peer : peerOf(peer, head.forwardedCertificate, metadata),
      metadata,
      metadataBytes: head.metadataBytes,
      rawFields: head.rawFields,
      timeoutMs: head.timeoutMs,
      logger,
      listeners: this.#chain,
      ender: this,
    });
    this.#context = context;
    this.#deadline = new CallDeadline(this, context);
    this.#checks.ask(onCall, chain, checkTimeoutMs, () => this.#admit());
  }

  #admit(): void {
    const { method } = this.#plan;
    if (/* protection: unknown-methods */ !method.known)
      this.#end({ code: status.UNIMPLEMENTED, details: texts.unknownMethod }, "layer", "method");
    // No handler starts that has no time left.
    else if ((this.#deadline?.msLeft ?? 0) <= 0) this.onTimeUp();
    else if (streamsRequests(method.kind)) this.#confirm(() => this.#open());
    else this.#open();
  }

  /** Does what the middleware said still hold, now that it counts? */
  #confirm(then: (message: unknown) => void, message?: unknown): void {
    const { confirming, checkTimeoutMs } = this.#plan;
    this.#checks.ask(confirm, confirming, checkTimeoutMs, then, message);
  }

  #open(): void {
    this.phase = "open";
    this.#deadline?.arm();
    for (const middleware of this.#plan.holding) {
      try {
        if (/* protection: held-handler */ middleware.needsMessage?.(this.context) !== true) continue;
      } catch (error) {
        this.refuse(middleware, error);
        return;
      }
      this.#heldBy = middleware;
      this.#transport.startRead();
      return;
    }
    this.#startHandler();
  }

  #startHandler(): void {
    this.#handlerStarted = true;
    this.#listener?.onReceiveMetadata(this.#metadata as Metadata);
  }

  onWaiting(): void {
    this.#deadline?.arm();
  }

  /** While the call is checked, whoever has to wait arms it. */
  onDeadline(): void {
    if (this.phase === "open") this.#deadline?.arm();
  }

  /** Where a call is refused. */
  refuse(middleware: { readonly name: string }, error: unknown): void {
    if (!this.ended) this.#end(this.recover(error, "layer"), "layer", middleware.name);
  }

  reportObserver(middleware: Middleware, error: unknown): void {
    this.#chain.reportMiddlewareFailure(middleware, error);
  }

  // --- messages of the caller --------------------------------------------------------------------------------------

  startRead(): void {
    const held = this.#heldMessage;
    if (held === undefined) {
      this.#transport.startRead();
      return;
    }
    this.#heldMessage = undefined;
    if (this.phase === "open") this.#listener?.onReceiveMessage(held.message);
  }

  onReceiveMessage(message: unknown): void {
    if (this.phase !== "open") return;
    const { onRequest: chain, checkTimeoutMs, method } = this.#plan;
    this.#checks.ask(
      onRequest,
      chain,
      checkTimeoutMs,
      (passed) => {
        if (/* protection: replaced-policy */ streamsRequests(method.kind))
          this.#confirm((confirmed) => this.#deliver(confirmed), passed);
        else this.#deliver(passed);
      },
      message,
    );
  }

  #deliver(message: unknown): void {
    if (this.#heldBy === undefined) {
      this.#listener?.onReceiveMessage(message);
      return;
    }
    this.#heldBy = undefined;
    this.#heldMessage = { message };
    this.#startHandler();
  }

  onReceiveHalfClose(): void {
    if (this.phase !== "open") return;
    if (this.#heldBy !== undefined) {
      this.refuse(
        this.#heldBy,
        new StatusError(status.PERMISSION_DENIED, texts.permissionDenied, {
          cause: new Error("the stream ended before the first message, which the rule needs"),
        }),
      );
    } else if (streamsRequests(this.#plan.method.kind)) this.#listener?.onReceiveHalfClose();
    // The handler of a method with one request message starts here.
    else this.#confirm(() => this.#listener?.onReceiveHalfClose());
  }

  onRequestFailure({ code, details, cause }: RequestFailure): void {
    if (!this.ended) this.#end({ code, details, cause }, "transport", undefined);
  }

  // --- from the handler --------------------------------------------------------------------------------------------

  sendMetadata(metadata: Metadata): void {
    if (!this.ended && !this.#headersSent) this.#sendHeaders(metadata);
  }

  #sendHeaders(own: Metadata | undefined): void {
    this.#headersSent = true;
    this.#transport.sendMetadata(merged(this.#reportDropped, own, this.#context?.takeResponseHeaders()));
  }

  readonly #reportDropped = (key: string): void => this.#chain.reportDroppedMetadata(this.context, key);

  sendMessage(message: unknown, callback: () => void): void {
    for (const middleware of this.ended ? [] : this.#plan.onResponse) {
      try {
        middleware.onResponse?.(message, this.context);
      } catch (error) {
        if (middleware.observes === true) this.reportObserver(middleware, error);
        else this.refuse(middleware, error);
      }
      if (this.ended) break;
    }
    if (this.ended) {
      process.nextTick(callback);
      return;
    }
    if (!this.#headersSent && this.#context?.takeResponseHeaders() !== undefined)
      this.#sendHeaders(undefined);
    this.#headersSent = true;
    this.#transport.sendMessage(message, callback);
  }

  onResponseFailure(error: unknown): void {
    if (!this.ended) this.handler.unsendable(error);
    else this.#chain.reportFailureAfterEnd(this.context, error, true);
  }

  sendStatus(sent: PartialStatus): void {
    if (this.ended) return;
    if (this.handler.began) {
      this.handler.status(sent);
      return;
    }
    // grpc-js's word: a method without a request stream got no message, or more than one.
    const cause = new Error(`grpc-js: ${sent.details}`);
    this.#end({ code: sent.code, details: texts.oneMessageExpected, cause }, "transport", undefined);
  }

  /** From here on what grpc-js's handler side says is the handler's word. */
  handlerRuns(): void {
    this.handler.began = true;
    // It has its one message. A stream's messages it reads by and by.
    if (!streamsRequests(this.#plan.method.kind)) this.decompression?.taken();
  }

  endByHandler(sent: PublicStatus): void {
    this.#end(sent, "handler", undefined);
  }

  reportAfterEnd(error: unknown): void {
    if (this.#lateFailureReported) return;
    this.#lateFailureReported = true;
    const unexpected = this.#ending?.endedBy === "handler" || !this.ended;
    this.#chain.reportFailureAfterEnd(this.context, error, unexpected);
  }

  // --- the end -----------------------------------------------------------------------------------------------------

  recover(failure: unknown, source: FailureSource): PublicStatus {
    try {
      return this.#chain.recovery(failure, source, this.context);
    } catch (error) {
      // An error whose getters throw, say. Nothing of it may leave.
      const { id } = this.context;
      return { code: status.INTERNAL, details: internalErrorText(id), cause: error, errorId: id };
    }
  }

  /** Where a status leaves: every one passes here, and the first one decides. */
  #end(sent: PublicStatus, endedBy: EndedBy, layer: string | undefined): void {
    if (this.ended) return;
    this.#finish({ status: sent, endedBy, layer });
    const added = this.#addedTrailers(sent);
    try {
      this.#transport.sendStatus(leavingStatus(sent, added, this.#reportDropped));
      if (!this.#transport.closed) this.#deadline?.linger();
    } catch (error) {
      // Nothing known gets here: metadata and text are clean. If something does, the caller must not be left waiting.
      this.#chain.reportFailureAfterEnd(this.context, error, true);
      this.#transport.cut();
    }
    if (!this.#endedByHandler) process.nextTick(() => this.#cancelHandler());
  }

  #addedTrailers(sent: PublicStatus): Metadata | undefined {
    if (sent.code !== status.UNAUTHENTICATED || !this.handler.began) return this.#context?.takeTrailers();
    const { trailers } = this.context;
    forbidRenewedAttempt(sent, trailers);
    return trailers;
  }

  #finish(ending: Ending): void {
    this.phase = "ended";
    this.#ending = ending;
    this.#checks.stop();
    // A check that is still waiting for something can stop too, not only the handler.
    if (!this.#endedByHandler) this.#context?.abort(ending.status.details);
  }

  get #endedByHandler(): boolean {
    return this.#ending?.endedBy === "handler" && !this.handler.cutShort;
  }

  #cancelHandler(): void {
    if (!this.#handlerStarted || this.#handlerCancelled) return;
    this.#handlerCancelled = true;
    this.#listener?.onCancel();
  }

  /** Reset, or lost with its connection. */
  onCancel(): void {
    if (this.ended) return;
    if (this.#transport.resetByCaller) {
      // The caller's own timer for the same deadline may be first.
      const late = (this.#deadline?.msLeft ?? 0) < timersApartMs;
      const told = late ? { ...cancelled, ...this.#unanswered() } : cancelled;
      this.#finish({ status: told, endedBy: "caller", layer: undefined });
    } else {
      const lost = this.#chain.cutsCalls ? cutByShutdown : cancelled;
      this.#finish({ status: lost, endedBy: "transport", layer: undefined });
    }
    this.#cancelHandler();
  }

  onEndedBelow({ code, details }: PartialStatus): void {
    if (this.ended) return;
    const isTimeUp = code === status.DEADLINE_EXCEEDED;
    this.#finish({
      status: isTimeUp ? { code, details, ...this.#unanswered() } : { code, details },
      endedBy: isTimeUp ? "deadline" : "transport",
      layer: undefined,
    });
    this.#cancelHandler();
  }

  onTimeUp(): void {
    if (this.ended) {
      this.#transport.cut();
      return;
    }
    const { timeUp } = this.context;
    if (timeUp !== undefined) this.#end(this.recover(timeUp.error, "layer"), "layer", timeUp.layer);
    else this.#end({ ...timeIsUp, ...this.#unanswered() }, "deadline", undefined);
  }

  /** What the handler had left undone, once its time was up. The one trace of a handler that never answers. */
  #unanswered(): Pick<PublicStatus, "reason" | "hint"> {
    const { method } = this.#plan;
    if (!this.handler.began || isHealthProbe(method)) return {};
    const streams = streamsResponses(method.kind);
    const unread = streamsRequests(method.kind) && !this.#transport.requestEnded;
    const reason =
      (streams ? "the handler did not end the call" : "the handler did not answer") +
      (unread ? ", and did not read the caller's stream to its end" : "");
    // While its promise is pending it is at work, and may only be slow.
    if (this.handler.pending) return { reason };
    return { reason, hint: streams ? howToEnd : howToAnswer };
  }

  onClosed(): void {
    this.onCancel();
    this.#deadline?.clear();
    const { chain } = this.#plan;
    const outcome = this.#outcome(this.#ending as Ending);
    for (let i = this.#checks.entered - 1; i >= 0; i--) {
      const middleware = chain[i] as Middleware;
      try {
        middleware.onEnd?.(this.context, outcome);
      } catch (error) {
        this.reportObserver(middleware, error);
      }
    }
    // A handler that answered a request which was all there has nothing left to cancel. A stream may still be reading.
    if (!this.#transport.requestEnded) this.#cancelHandler();
  }

  #outcome({ status: { code, details, cause, reason, hint, errorId }, endedBy, layer }: Ending): Outcome {
    const { delivered, receivedBytes, sentBytes } = this.#transport;
    const outcome: { -readonly [Name in keyof Outcome]: Outcome[Name] } = {
      code,
      details,
      endedBy,
      delivered: endedBy !== "caller" && delivered,
      durationMs: this.#deadline?.elapsedMs ?? 0,
      receivedBytes,
      sentBytes,
    };
    // Most calls have none of these.
    if (layer !== undefined) outcome.layer = layer;
    if (cause !== undefined) outcome.cause = cause;
    if (reason !== undefined) outcome.reason = reason;
    if (hint !== undefined) outcome.hint = hint;
    if (errorId !== undefined) outcome.errorId = errorId;
    return outcome;
  }

  // --- what grpc-js's types ask of a call --------------------------------------------------------------------------

  getPeer(): string {
    return this.#transport.getPeer();
  }

  getDeadline(): number {
    return this.context.deadline;
  }

  getHost(): string {
    return this.#transport.getHost();
  }

  getAuthContext(): ReturnType<ServerInterceptingCallInterface["getAuthContext"]> {
    this.#authContext ??= new CallAuthContext(this, this.#transport);
    return this.#authContext as ReturnType<ServerInterceptingCallInterface["getAuthContext"]>;
  }

  getConnectionInfo(): ReturnType<ServerInterceptingCallInterface["getConnectionInfo"]> {
    return this.#transport.getConnectionInfo();
  }

  getMetricsRecorder(): ReturnType<ServerInterceptingCallInterface["getMetricsRecorder"]> {
    return this.#transport.getMetricsRecorder();
  }
}

/** The secured call that a handler's `call` stands for, however wrapped; undefined where it did not pass the chain. */
export function securedCallOf(handlerCall: unknown): SecuredCall | undefined {
  const owner = CallAuthContext.ownerOf(handlerCall);
  return owner instanceof SecuredCall ? owner : undefined;
}

const cancelled: PublicStatus = Object.freeze({ code: status.CANCELLED, details: "cancelled" });
const cutByShutdown: PublicStatus = Object.freeze({
  ...cancelled,
  reason: "the server was shut down, and the call was still open after graceMs",
});
const timeIsUp: PublicStatus = Object.freeze({
  code: status.DEADLINE_EXCEEDED,
  details: texts.deadlineExceeded,
});

const howToAnswer =
  "if the handler is not only slow: it neither called its callback nor returned a promise; " +
  "make it async and return the answer, or call callback(null, answer)";
const howToEnd =
  "if there is nothing more to send: end the stream with call.end(), or use an async generator, which ends it";
