/**
 * The contract of a middleware.
 *
 * The chain runs as an onion around the handler. For each call `onCall` hooks run in the order of the middleware, then
 * each inbound message passes all `onRequest` hooks before the handler sees it, each outbound message passes
 * `onResponse`, and when the HTTP/2 stream is finished `onEnd` hooks run once, in reverse order, for every middleware whose
 * `onCall` was entered.
 *
 * - A hook that throws, or whose promise rejects, refuses the call: a `StatusError` says what the caller is told,
 *   anything else is a bug and becomes INTERNAL with an error id. In a middleware with `observes: true` a failure is
 *   reported once and affects nothing.
 * - A hook that returns nothing costs no promise and no microtask. Return a promise only where you must wait; the
 *   chain waits for it (at most `checkTimeoutMs` in `onCall` and `onRequest`), and drops its answer if the call ended
 *   in the meantime.
 * - One middleware object serves every call at once: keep what belongs to a call in `call.set(key, value)`.
 */
import type { status } from "@grpc/grpc-js";
import type { MethodInfo } from "../grpc/method.ts";
import type { CallContext } from "./context.ts";

export interface Outcome {
  /** The status that left, or would have left: CANCELLED where the caller went away first. */
  readonly code: status;
  /** What the caller was told. */
  readonly details: string;
  /**
   * Who ended the call: the handler; a middleware that refused; the caller who cancelled; the deadline; or `transport`:
   * a lost connection, or a request that breaks the framing or a limit (a message too large, one that cannot be decoded).
   */
  readonly endedBy: "handler" | "layer" | "caller" | "deadline" | "transport";
  /** The middleware that refused. */
  readonly layer?: string;
  /** Did the status reach the caller's side of the stream? */
  readonly delivered: boolean;
  readonly durationMs: number;
  /** The sizes of all messages of the call, compressed where they were, without gRPC's five bytes of framing. */
  readonly receivedBytes: number;
  readonly sentBytes: number;
  /** What went wrong, for the log; never for the caller. */
  readonly cause?: unknown;
  /** Why the call ended, for the log, where `cause` does not tell: `the handler did not answer`. Never the caller's words. */
  readonly reason?: string;
  /** What whoever wrote the handler can do about it, for the log. */
  readonly hint?: string;
  /** The id in the caller's text, where the text is `internal error (id …)`. */
  readonly errorId?: string;
}

export interface Middleware {
  readonly name: string;
  /** `true` for a middleware that only looks: its failures never affect a call. */
  readonly observes?: boolean;
  /** Asked once for each method when the chain is built: does this middleware have a part in it? Default: yes. */
  appliesTo?(method: MethodInfo): boolean;
  /**
   * Asked after `onCall`, for methods with a request stream: does `onRequest` decide on the first message whether this
   * call may happen at all? The handler is then held until its first message has passed.
   */
  needsMessage?(call: CallContext): boolean;
  /** The metadata is here, no message yet. Throw to refuse. */
  onCall?(call: CallContext): void | Promise<void>;
  /** Each inbound message, in order. Throw to refuse. */
  onRequest?(message: unknown, call: CallContext): void | Promise<void>;
  /**
   * Asked right before the handler starts, and for streams of requests also right before each message reaches it: does what
   * `onCall` and `onRequest` said still hold? They may have been asked long before, while other middleware was waited for.
   * Return nothing if it does; the handler goes on at once. Throw to refuse. Return a promise where it must be decided anew:
   * it is waited for as those of `onCall` are, and then this is asked again.
   */
  confirm?(call: CallContext): void | Promise<void>;
  /** Each outbound message. */
  onResponse?(message: unknown, call: CallContext): void;
  /** Once, when the stream is finished. */
  onEnd?(call: CallContext, outcome: Outcome): void;
}
