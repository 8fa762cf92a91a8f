/**
 * What a handler has said so far, by whichever of its ways: its callback, its promise, its stream, a throw. The guard tells
 * it here; the first word counts, and becomes the call's status.
 */
import { type Metadata, status } from "@grpc/grpc-js";
import type { PartialStatus } from "../transport/call.ts";
import type { Decompression } from "../transport/decompression.ts";
import type { Call } from "./context.ts";
import type { FailureSource, PublicStatus } from "./public-status.ts";

/** The call that the handler runs for. */
export interface HandledCall {
  readonly context: Call;
  readonly ended: boolean;
  readonly decompression: Decompression | undefined;
  recover(failure: unknown, source: FailureSource): PublicStatus;
  /** The handler ends the call. */
  endByHandler(sent: PublicStatus): void;
  sendMessage(message: unknown, callback: () => void): void;
  /** The handler failed when it was too late to tell the caller. */
  reportAfterEnd(error: unknown): void;
}

export class HandlerRun {
  readonly #call: HandledCall;
  readonly #streamsResponses: boolean;
  /** The handler's own code has begun. */
  began = false;
  /** The handler has answered, or failed. */
  replied = false;
  /** It returned a promise that has not settled: it has not said its last word. */
  pending = false;
  /** Its call ended by its own doing, but its stream did not: what writes there must hear of it. */
  cutShort = false;
  #streamDestroyed = false;
  #streamFailure: PublicStatus | undefined = undefined;

  constructor(call: HandledCall, streamsResponses: boolean) {
    this.#call = call;
    this.#streamsResponses = streamsResponses;
  }

  get context(): Call {
    return this.#call.context;
  }

  get ended(): boolean {
    return this.#call.ended;
  }

  get decompression(): Decompression | undefined {
    return this.#call.decompression;
  }

  /** The handler's answer, whether by callback or by promise; only the first one counts. */
  reply(error: unknown, value: unknown, trailers: unknown): void {
    if (this.replied) {
      this.#call.reportAfterEnd(
        new Error("the handler called its callback twice; the second call is ignored"),
      );
      return;
    }
    this.replied = true;
    if (error !== undefined && error !== null) {
      this.fail(error, "given", trailers);
      return;
    }
    // The status goes right behind its message, however long that takes to leave: the trailers leave with its end.
    this.#call.sendMessage(value, nothing);
    this.#call.endByHandler(succeeded(trailers));
  }

  /** The handler, one of its listeners, its promise or its stream failed. */
  fail(error: unknown, source: FailureSource, trailers?: unknown): void {
    // Where it answered first, the answer stands.
    if (this.#call.ended || (this.replied && source === "thrown")) {
      this.#call.reportAfterEnd(error);
      return;
    }
    this.replied = true;
    this.cutShort = source === "thrown" && this.#streamsResponses && !this.#streamDestroyed;
    this.#call.endByHandler({ ...this.#call.recover(error, source), ...trailersOf(trailers) });
  }

  /** A status from grpc-js's side of the handler: it was given one, or its stream has finished. */
  status(sent: PartialStatus): void {
    if (this.#streamFailure !== undefined) this.#call.endByHandler(this.#streamFailure);
    else if (sent.code === status.OK) this.#call.endByHandler(succeeded(sent.metadata));
    else this.#call.endByHandler({ ...this.#call.recover(sent, "given"), ...trailersOf(sent.metadata) });
  }

  /** One of its messages cannot be sent. */
  unsendable(error: unknown): void {
    this.cutShort = !this.replied;
    this.#call.endByHandler(this.#call.recover(error, "thrown"));
  }

  /** Its stream emitted an error; grpc-js ends it, after what was written has left, with the status noted here. */
  noteStreamFailure(error: unknown, source: FailureSource): void {
    if (this.#call.ended) this.#call.reportAfterEnd(error);
    else this.#streamFailure ??= this.#call.recover(error, source);
  }

  /**
   * Its stream was destroyed, so no status will come from it. The handler itself may still have a word: in the
   * callback of a failed `pipeline`, or after the `await` of one.
   */
  streamDestroyed(): void {
    if (this.#call.ended) return;
    this.#streamDestroyed = true;
    if (!this.pending) setImmediate(() => this.failStream());
  }

  /** Ends the call with what its stream failed of. */
  failStream(): void {
    if (this.#call.ended || this.replied) return;
    if (this.#streamFailure !== undefined) this.#call.endByHandler(this.#streamFailure);
    else this.fail(new Error("the handler destroyed its call without a status"), "thrown");
  }

  settled(): void {
    this.pending = false;
    if (this.#streamDestroyed) this.failStream();
  }
}

function nothing(): void {}

const plainSuccess: PublicStatus = Object.freeze({ code: status.OK, details: "OK" });

function succeeded(trailers: unknown): PublicStatus {
  return trailers === undefined || trailers === null
    ? plainSuccess
    : { ...plainSuccess, ...trailersOf(trailers) };
}

function trailersOf(metadata: unknown): { readonly metadata?: Metadata } {
  return metadata === undefined || metadata === null ? {} : { metadata: metadata as Metadata };
}
