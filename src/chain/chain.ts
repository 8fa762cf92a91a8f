/**
 * How layers become one grpc-js interceptor. Made once at start; for each method the layers that have a part in it are
 * looked up once, so that a call only walks ready-made lists.
 */
import {
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  type ServerMethodDefinition,
  status,
} from "@grpc/grpc-js";
import type { Logger } from "pino";
import type { Call, CallContext } from "../call/context.ts";
import { describeError } from "../call/error-description.ts";
import { LogThrottle } from "../call/log-throttle.ts";
import { kindOf, type MethodInfo, methodInfo, streamsRequests } from "../call/method.ts";
import { runInContext } from "./current-context.ts";
import { guardHandler } from "./handlers.ts";
import type { Middleware } from "./middleware.ts";
import { type ChainServices, joinPlans, type PeerOf, type Plan } from "./plan.ts";
import type { Recovery } from "./recovery.ts";
import type { BaseCall, OwnInterceptingCall, PartialStatus } from "./seam/inside.ts";
import {
  asAttachedInterceptor,
  asInterceptor,
  guardRegistered,
  type HandlerGuards,
  refusingCall,
} from "./seam/interceptor.ts";
import { ownRoad, type Road } from "./seam/road.ts";
import { SecuredCall } from "./secured-call.ts";

export interface ChainOptions {
  /** In the order in which they run. */
  readonly layers: readonly Middleware[];
  readonly recovery: Recovery;
  /** How long one hook may take to answer. */
  readonly checkTimeoutMs: number;
  readonly logger: Logger;
  /** Default: the connection's peer. */
  readonly peerOf?: PeerOf | undefined;
  /** Where the chain stands on a server that somebody else made (C6). Absent: on our own. */
  readonly attached?: {
    readonly road: Road;
    /**
     * What a method is that was not prepared: `known`, because grpc-js asks interceptors only about registered methods;
     * or `unknown`, where a policy was checked against the prepared ones and says nothing of others. Such a chain lets
     * nothing through behind another one, whose word on the method and the peer would stand before its own.
     */
    readonly unprepared: "known" | "unknown";
  };
  /** The largest message of a method, where it is not the server's. Asked once for each method. */
  readonly maxReceiveMessageBytes?: ((method: MethodInfo) => number | undefined) | undefined;
}

/** What fails in every call is reported once in this time. */
const reportEveryMs = 60_000;
/** A path is printable ASCII (RFC 3986); what is not would reach logs and terminals. */
const notPrintable = /[^ -~]/g;
/** What of an unknown method's path is kept: a caller may send 8 KiB of it. */
const longestUnknownPath = 256;

export class Chain implements ChainServices {
  readonly #layers: readonly Middleware[];
  readonly #plans: Map<string, Plan> = new Map();
  /** Callers choose the paths of unknown methods, and with them how many problems there are (L10). */
  readonly #reports = new LogThrottle({ periodMs: reportEveryMs });
  readonly #joinedPlans: WeakMap<Plan, Plan> = new WeakMap();
  readonly #learns: boolean;
  #codecFailure: unknown = undefined;
  #cutsCalls = false;
  readonly road: Road;
  readonly recovery: Recovery;
  readonly #checkTimeoutMs: number;
  readonly logger: Logger;
  readonly peerOf: PeerOf | undefined;
  readonly #maxReceiveMessageBytes: ChainOptions["maxReceiveMessageBytes"];
  readonly interceptor: ServerInterceptor;

  constructor(options: ChainOptions) {
    this.#layers = options.layers;
    this.recovery = options.recovery;
    this.#checkTimeoutMs = options.checkTimeoutMs;
    this.logger = options.logger;
    this.peerOf = options.peerOf;
    this.#maxReceiveMessageBytes = options.maxReceiveMessageBytes;
    this.road = options.attached?.road ?? ownRoad;
    this.#learns = options.attached?.unprepared === "known";
    const onUnmade = (path: string, error: unknown): void =>
      this.#reportOnce(
        "unmade",
        { method: path, err: describeError(error) },
        "calls are refused: they could not be begun",
      );
    this.interceptor =
      options.attached === undefined
        ? asInterceptor(
            (definition, base) => new SecuredCall(this, this.#planFor(definition.path), base),
            onUnmade,
          )
        : asAttachedInterceptor((definition, call, base) => this.#attach(definition, call, base), onUnmade);
  }

  /**
   * On somebody else's server: next to the wire, or single layers behind another chain of ours; anywhere else nothing is
   * let through.
   */
  #attach(
    definition: ServerMethodDefinition<unknown, unknown>,
    call: ServerInterceptingCallInterface,
    base: BaseCall | undefined,
  ): OwnInterceptingCall {
    if (call instanceof SecuredCall) {
      if (!this.#learns) this.#reportNotFirst(definition.path);
      call.join((first) => this.#joined(first, definition));
      return call;
    }
    if (base === undefined) {
      this.#reportNotFirst(definition.path);
      return refusingCall(call, { code: status.INTERNAL, details: "internal error" });
    }
    guardRegistered(base, this.#guards);
    return new SecuredCall(this, this.#planAttached(definition), base);
  }

  readonly #guards: HandlerGuards = {
    handler: guardHandler,
    codec: (codec) => (value) => {
      try {
        return codec(value);
      } catch (error) {
        this.noteCodecFailure(error, value);
        throw error;
      }
    },
  };

  #planAttached({ path, requestStream, responseStream }: ServerMethodDefinition<unknown, unknown>): Plan {
    const prepared = this.#plans.get(path);
    if (prepared !== undefined) return prepared;
    if (!this.#learns) {
      this.#reportOnce(
        `unprepared ${path}`,
        { method: path },
        "calls of this method are refused: its service was not among the `services` that the policy was checked against",
      );
      return this.#plan(unknownMethod(path));
    }
    const plan = this.#plan(methodInfo(path, kindOf(requestStream, responseStream), true));
    this.#plans.set(path, plan);
    return plan;
  }

  #reportNotFirst(path: string): void {
    this.#reportOnce(
      `attach ${path}`,
      { method: path },
      "every call is refused: another interceptor stands before Palisade's; put Palisade's first in `interceptors`",
    );
  }

  #joined(first: Plan, definition: ServerMethodDefinition<unknown, unknown>): Plan {
    let joined = this.#joinedPlans.get(first);
    if (joined === undefined) {
      const own = this.#learns ? this.#planAttached(definition) : this.#planOf(first.method, [notFirst]);
      joined = joinPlans(first, own);
      this.#joinedPlans.set(first, joined);
    }
    return joined;
  }

  #reportOnce(what: string, line: object, message: string): void {
    if (this.#dueNow(what)) say(() => this.logger.error(line, message));
  }

  /** Looks up the layers of each method. A method that is not prepared is unknown. */
  prepare(methods: Iterable<MethodInfo>): void {
    this.#plans.clear();
    for (const method of methods) this.#plans.set(method.path, this.#plan(method));
  }

  #planFor(path: string): Plan {
    return this.#plans.get(path) ?? this.#plan(unknownMethod(path));
  }

  #plan(method: MethodInfo): Plan {
    return this.#planOf(
      method,
      this.#layers.filter((layer) => layer.appliesTo?.(method) ?? true),
    );
  }

  #planOf(method: MethodInfo, layers: readonly Middleware[]): Plan {
    return {
      method,
      layers,
      onRequest: layers.filter((layer) => layer.onRequest !== undefined),
      onResponse: layers.filter((layer) => layer.onResponse !== undefined),
      maxReceiveMessageBytes: this.#maxReceiveMessageBytes?.(method),
      checkTimeoutMs: this.#checkTimeoutMs,
      holding: streamsRequests(method.kind) ? layers.filter((layer) => layer.needsMessage !== undefined) : [],
      confirming: layers.filter((layer) => layer.confirm !== undefined),
      countsBytes: layers.some((layer) => layer.readsSizes === true),
    };
  }

  get cutsCalls(): boolean {
    return this.#cutsCalls;
  }

  /** From here on a call that loses its connection was cut by the server's shutdown. */
  cutCalls(): void {
    this.#cutsCalls = true;
  }

  /** A watching layer failed, or any layer in `onEnd`. The call does not notice. */
  reportLayerFailure(layer: Middleware, error: unknown): void {
    if (!this.#dueNow(`layer ${layer.name}`)) return;
    say(() =>
      this.logger.error(
        { layer: layer.name, err: describeError(error) },
        "a layer failed; calls are not affected",
      ),
    );
  }

  /** A handler failed after its call had ended: too late for the caller, not for the log. */
  reportLateFailure(call: CallContext, error: unknown, unexpected: boolean): void {
    say(() => {
      const line = { call_id: call.id, err: describeError(error) };
      if (unexpected) call.log.warn(line, "the handler failed after it had answered");
      else call.log.debug(line, "the handler failed after its call had ended");
    });
  }

  runListener(call: Call, listener: () => unknown): void {
    const failed = (error: unknown): void => this.reportLateFailure(call, error, false);
    try {
      // A thenable may be anybody's: its `then` may throw.
      Promise.resolve(runInContext(call, listener)).catch(failed);
    } catch (error) {
      failed(error);
    }
  }

  reportDroppedMetadata(call: CallContext, key: string): void {
    if (!this.#dueNow(`metadata ${call.method.path}`)) return;
    say(() => call.log.warn({ key }, "response metadata that HTTP/2 or gRPC does not allow was left out"));
  }

  /** Notes why a message could not be (de)serialized: grpc-js says, in the same tick, only that it could not. */
  noteCodecFailure(error: unknown, value: unknown): void {
    this.#codecFailure = value === undefined || value === null ? answeredNothing(error) : error;
  }

  /** Gives a status of grpc-js's own the error behind it, where there is one. */
  explain(sent: PartialStatus): PartialStatus {
    const failure = this.#codecFailure;
    if (failure === undefined) return sent;
    this.#codecFailure = undefined;
    return {
      ...sent,
      details: `${sent.details}: ${failure instanceof Error ? failure.message : String(failure)}`,
    };
  }

  #dueNow(what: string): boolean {
    return this.#reports.admit(what) !== undefined;
  }
}

/** Nothing but a handler's answer is ever missing: what arrives to be decoded is bytes. */
function answeredNothing(cause: unknown): Error {
  return new Error(
    "the handler answered with nothing; return its answer from an async handler, or give it to callback(null, answer)",
    { cause },
  );
}

/** What stands for a chain whose layers must not run behind another's. */
const notFirst: Middleware = {
  name: "interceptors",
  onCall() {
    throw new Error("secureInterceptors must come first in the server's `interceptors`");
  },
};

/** A logger that throws has nobody left to tell; it must not end the call, let alone the process. */
function say(log: () => void): void {
  try {
    log();
  } catch {
    // Nothing is left to report it to.
  }
}

/** A method that nobody registered; nothing is known of its kind, so it is taken for the most general one. */
function unknownMethod(path: string): MethodInfo {
  return methodInfo(path.slice(0, longestUnknownPath).replace(notPrintable, "?"), "bidi_stream", false);
}
