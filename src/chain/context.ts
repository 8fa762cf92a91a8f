// What one RPC is, for middleware and handlers: the method, the peer, the verified principal, the time left.
import { randomUUID } from "node:crypto";
import { Metadata, type MetadataValue } from "@grpc/grpc-js";
import type { Context } from "@opentelemetry/api";
import type { Logger } from "pino";
import type { StatusError } from "../grpc/errors.ts";
import type { MethodInfo } from "../grpc/method.ts";
import type { Peer } from "../grpc/peer.ts";
import { guardListeners } from "./guarded-signal.ts";
import { type Identity, type Principal, sealed } from "./principal.ts";

/** The caller's metadata, to read. Every value in it is what the caller claims, nothing more. */
export interface ReadonlyMetadata {
  get(key: string): MetadataValue[];
  getMap(): Record<string, MetadataValue>;
}

/** What a handler sees of its call. */
export interface SecurityContext {
  readonly method: MethodInfo;
  readonly peer: Peer;
  /** The verified caller. Undefined for health probes, which carry no identity. */
  readonly principal?: Principal;
  /** The application that speaks for `principal`, where both were verified. */
  readonly actor?: Principal;
  /** The caller's `x-request-id` where it is short and plain, else one of ours. */
  readonly requestId: string;
  /** When the call ends at the latest, in milliseconds since the epoch; `Infinity` where nothing limits it. */
  readonly deadline: number;
  /** Aborted when the call ends before its handler did: cancelled, out of time, connection lost. */
  readonly signal: AbortSignal;
  /** A child logger that carries the request's id and the method. */
  readonly log: Logger;
  /** What a middleware kept for this call under `key`; undefined where none did. */
  get<T>(key: ContextKey<T>): T | undefined;
}

/** A key for `CallContext.get` and `set`: its type is the type of the value. */
export class ContextKey<T> {
  readonly name: string;
  /** Types only: what the key holds. */
  declare readonly holds: T;

  constructor(name: string) {
    this.name = name;
  }
}

/** Who allowed or denied, by which rule; kept for log and audit. */
export interface RecordedDecision {
  readonly effect: "allow" | "deny";
  readonly rule: string;
  readonly reason?: string;
  /** `false`: the policy asks that there be no audit record of it. Default: there is one. */
  readonly audit?: boolean;
  /** Of this one decision, in the authorizer's own log. */
  readonly id?: string;
}

/** What a middleware sees of a call. */
export interface CallContext extends SecurityContext {
  /** Unique for each call, ours alone: never taken from the caller. Error ids and audit records use it. */
  readonly id: string;
  readonly metadata: ReadonlyMetadata;
  /** Size of the caller's metadata as RFC 9113 section 10.5.1 counts: name + value + 32 for each field. */
  readonly metadataBytes: number;
  /** What the caller's `grpc-timeout` said, in milliseconds; undefined where it sent none. */
  readonly timeoutMs: number | undefined;
  /** The caller sent a `grpc-timeout` that the gRPC specification does not allow. */
  readonly malformedTimeout: boolean;
  /** When the call arrived, in milliseconds since the epoch. */
  readonly startedAt: number;
  /** Sent with the first response message or before it. */
  readonly responseHeaders: Metadata;
  /** Sent with the status. */
  readonly trailers: Metadata;
  /** The decision that let the call in or refused it, once there is one. */
  readonly decision: RecordedDecision | undefined;
  /** The W3C trace id of the call's span; without one that of the caller's `traceparent`, where it sent a valid one. */
  readonly traceId: string | undefined;
  /** Keeps `value` for this call: later hooks and the handler read it by the same key. */
  set<T>(key: ContextKey<T>, value: T): void;
}

/** What ends a call whose time is up, where that is not its deadline: the middleware that said so, and what the caller is told. */
export interface TimeUp {
  readonly layer: string;
  readonly error: StatusError;
}

/** For a middleware that learns later that a call may not go on. */
export interface CallEnder {
  readonly ended: boolean;
  /** Refuses the call, which may have been open for long; nothing happens where it has ended. */
  refuse(by: { readonly name: string }, error: unknown): void;
  /** The call's deadline came nearer. */
  onDeadline(): void;
}

/** Runs what a handler hung on its call's signal, in the call's context, and keeps what it throws or rejects with. */
export interface ListenerGuard {
  runListener(call: Call, listener: () => unknown): void;
}

/** What the chain knows of a call when it arrives. */
export interface CallArrival {
  readonly method: MethodInfo;
  readonly peer: Peer;
  readonly metadata: Metadata;
  readonly metadataBytes: number;
  /** The header fields as they came, `name, value, name, value`. Absent: only `metadata` tells. */
  readonly rawFields?: readonly string[] | undefined;
  readonly timeoutMs: number | undefined | "malformed";
  readonly logger: Logger;
  /** Absent: the signal's listeners run as they are. */
  readonly listeners?: ListenerGuard;
  /** Absent: only the chain ends the call. */
  readonly ender?: CallEnder;
}

const plainRequestId = /^[A-Za-z0-9][A-Za-z0-9._:/@+=-]{0,63}$/;
/** W3C Trace Context section 3.2: version, trace-id, parent-id, flags; an all-zero trace-id is invalid. */
const traceparent = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:$|-)/;

/** The context of one call. What it may never need (ids, logger, signal, own state) is made when first asked for. */
export class Call implements CallContext {
  readonly method: MethodInfo;
  readonly peer: Peer;
  readonly metadata: Metadata;
  readonly metadataBytes: number;
  /** For `rawFieldsOf`. */
  readonly rawFields: readonly string[] | undefined;
  readonly timeoutMs: number | undefined;
  readonly malformedTimeout: boolean;
  readonly startedAt: number;
  deadline: number;
  readonly ender: CallEnder | undefined;
  /** For the chain: why the call ends at `deadline`, where it is another reason than the deadline itself. */
  timeUp: TimeUp | undefined = undefined;
  declare principal?: Principal;
  declare actor?: Principal;
  decision: RecordedDecision | undefined = undefined;
  /** The OpenTelemetry context with the call's span, for everything that the handler does. */
  traceContext: Context | undefined = undefined;
  /** The scheme of the credential that was refused, `none` where none was recognized; for metrics. */
  refusedScheme: string | undefined = undefined;
  /** Null: there is none. */
  #traceId: string | null | undefined = undefined;
  readonly #listeners: ListenerGuard | undefined;
  #logger: Logger;
  #log: Logger | undefined = undefined;
  #id: string | undefined = undefined;
  #requestId: string | undefined = undefined;
  #responseHeaders: Metadata | undefined = undefined;
  #trailers: Metadata | undefined = undefined;
  #controller: AbortController | undefined = undefined;
  #abortReason: string | undefined = undefined;
  /** A key, its value, the next key and so on: middleware keep a handful, for which a map is slower and larger. */
  #state: unknown[] | undefined = undefined;

  constructor(arrival: CallArrival) {
    this.method = arrival.method;
    this.peer = arrival.peer;
    this.metadata = arrival.metadata;
    this.metadataBytes = arrival.metadataBytes;
    this.rawFields = arrival.rawFields;
    this.malformedTimeout = arrival.timeoutMs === "malformed";
    this.timeoutMs = arrival.timeoutMs === "malformed" ? undefined : arrival.timeoutMs;
    this.startedAt = Date.now();
    this.deadline = this.timeoutMs === undefined ? Number.POSITIVE_INFINITY : this.startedAt + this.timeoutMs;
    this.#logger = arrival.logger;
    this.#listeners = arrival.listeners;
    this.ender = arrival.ender;
  }

  get id(): string {
    this.#id ??= randomUUID();
    return this.#id;
  }

  get requestId(): string {
    this.#requestId ??= this.#acceptedRequestId() ?? this.id;
    return this.#requestId;
  }

  #acceptedRequestId(): string | undefined {
    const values = this.metadata.get("x-request-id");
    const sent = values[0];
    return values.length === 1 && typeof sent === "string" && plainRequestId.test(sent) ? sent : undefined;
  }

  get traceId(): string | undefined {
    if (this.#traceId === undefined) this.#traceId = this.#sentTraceId() ?? null;
    return this.#traceId ?? undefined;
  }

  #sentTraceId(): string | undefined {
    const sent = this.metadata.get("traceparent")[0];
    return typeof sent === "string" && sent.length <= 512 ? traceparent.exec(sent)?.[1] : undefined;
  }

  get log(): Logger {
    this.#log ??= this.#logger.child({ request_id: this.requestId, method: this.method.path });
    return this.#log;
  }

  get responseHeaders(): Metadata {
    this.#responseHeaders ??= new Metadata();
    return this.#responseHeaders;
  }

  get trailers(): Metadata {
    this.#trailers ??= new Metadata();
    return this.#trailers;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      const guard = this.#listeners;
      if (guard !== undefined)
        guardListeners(this.#controller.signal, (listener) => guard.runListener(this, listener));
      if (this.#abortReason !== undefined) this.#controller.abort(abortError(this.#abortReason));
    }
    return this.#controller.signal;
  }

  get<T>(key: ContextKey<T>): T | undefined {
    const state = this.#state;
    if (state === undefined) return undefined;
    for (let i = 0; i < state.length; i += 2) if (state[i] === key) return state[i + 1] as T;
    return undefined;
  }

  set<T>(key: ContextKey<T>, value: T): void {
    const state = this.#state;
    if (state === undefined) {
      this.#state = [key, value];
      return;
    }
    for (let i = 0; i < state.length; i += 2) {
      if (state[i] === key) {
        state[i + 1] = value;
        return;
      }
    }
    state.push(key, value);
  }

  /** For the chain: response headers that middleware set, or undefined where none did. */
  takeResponseHeaders(): Metadata | undefined {
    return this.#responseHeaders;
  }

  /** For the chain: trailers that middleware set, or undefined where none did. */
  takeTrailers(): Metadata | undefined {
    return this.#trailers;
  }

  /** For the tracing middleware: what the handler runs in, and the id that log and audit show. */
  traced(context: Context, traceId: string): void {
    this.traceContext = context;
    this.#traceId = traceId;
  }

  /** For the chain: the call is over for the handler. */
  abort(reason: string): void {
    this.#abortReason ??= reason;
    const controller = this.#controller;
    if (controller === undefined) return;
    const abort = (): void => controller.abort(abortError(reason));
    // In the call's context: the listeners of a signal that was made from this one are nobody's to guard but the process's.
    if (this.#listeners === undefined) abort();
    else this.#listeners.runListener(this, abort);
  }
}

/** The name that code which waits on an `AbortSignal` looks for. */
function abortError(reason: string): DOMException {
  return new DOMException(`the call ended: ${reason}`, "AbortError");
}

// What only our own middleware may change. Not exported to users: a principal is set by the authentication middleware alone.

export function setIdentity(context: CallContext, identity: Identity): void {
  const call = own(context);
  call.principal = sealed(identity.principal);
  if (identity.actor !== undefined) call.actor = sealed(identity.actor);
}

/**
 * Ends the call at `epochMs` at the latest. A deadline only ever comes nearer, and the nearest decides what the caller is
 * told: DEADLINE_EXCEEDED, or what `timeUp` says.
 */
export function capDeadline(context: CallContext, epochMs: number, timeUp?: TimeUp): void {
  const call = own(context);
  if (!(epochMs < call.deadline)) return;
  call.deadline = epochMs;
  call.timeUp = timeUp;
  call.ender?.onDeadline();
}

/** Whoever waited for an answer asks this before it keeps anything for the call. */
export function hasEnded(context: CallContext): boolean {
  return own(context).ender?.ended === true;
}

/** Refuses a call that was let in before: what let it in does not hold any more. */
export function endCall(context: CallContext, by: { readonly name: string }, error: StatusError): void {
  own(context).ender?.refuse(by, error);
}

export function recordDecision(context: CallContext, decision: RecordedDecision): void {
  own(context).decision = decision;
}

/**
 * The header fields as the caller sent them, `name, value, name, value`, one byte a character: with what middleware removed and
 * what `metadata` has joined. Undefined where only `metadata` tells: on a server that somebody else made.
 */
export function rawFieldsOf(context: CallContext): readonly string[] | undefined {
  return context instanceof Call ? context.rawFields : undefined;
}

/** The call has a span: `context` is current while its handler runs. */
export function setTrace(call: CallContext, context: Context, traceId: string): void {
  own(call).traced(context, traceId);
}

/** A credential was refused: the scheme of the authenticator that it was for. */
export function recordRefusedScheme(context: CallContext, scheme: string): void {
  own(context).refusedScheme = scheme;
}

/** Undefined where no credential was refused. */
export function refusedSchemeOf(context: CallContext): string | undefined {
  return own(context).refusedScheme;
}

/** Takes headers out of what the handler will see: nobody verified what they claim. */
export function removeMetadata(context: CallContext, key: string): void {
  own(context).metadata.remove(key);
}

function own(context: CallContext): Call {
  if (context instanceof Call) return context;
  throw new TypeError("this middleware was given a call that the chain did not make");
}
