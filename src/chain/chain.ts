/**
 * How middleware becomes one chain. Made once at start; for each method the middleware that has a part in it is
 * looked up once, so that a call only walks ready-made lists.
 */
import type {
  ServerInterceptingCall,
  ServerInterceptingCallInterface,
  ServerInterceptor,
  ServerMethodDefinition,
} from "@grpc/grpc-js";
import type { Logger } from "pino";
import { kindOf, type MethodInfo, type MethodKind, methodInfo, streamsRequests } from "../grpc/method.ts";
import { describeError } from "../observability/error-description.ts";
import { LogThrottle } from "../observability/log-throttle.ts";
import { AttachedCall, type CertificateOf } from "../transport/attached-call.ts";
import type { TransportCall } from "../transport/call.ts";
import { baseCallMembers, checkInterceptors, type RegisteredHandler } from "../transport/grpc-js.ts";
import { refusingCall } from "../transport/server.ts";
import type { Call, CallContext } from "./context.ts";
import { runInContext } from "./current-context.ts";
import { guardHandler } from "./handlers.ts";
import type { Middleware } from "./middleware.ts";
import { type ChainServices, joinPlans, type PeerOf, type Plan } from "./plan.ts";
import type { Recovery } from "./public-status.ts";
import { SecuredCall } from "./secured-call.ts";

export interface ChainOptions {
  /** In the order in which they run. */
  readonly middleware: readonly Middleware[];
  readonly recovery: Recovery;
  /** How long one hook may take to answer. */
  readonly checkTimeoutMs: number;
  readonly logger: Logger;
  /** Default: the connection's peer. */
  readonly peerOf?: PeerOf | undefined;
  /** The largest message of a method, where it is not the server's. Asked once for each method. */
  readonly maxReceiveMessageBytes?: ((method: MethodInfo) => number | undefined) | undefined;
}

export interface AttachedOptions {
  readonly certificateOf: CertificateOf;
  /**
   * What a method is that was not prepared: `known`, because grpc-js asks interceptors only about registered methods;
   * or `unknown`, where a policy was checked against the prepared ones and says nothing of others. Such a chain lets
   * nothing through behind another one, whose word on the method and the peer would stand before its own.
   */
  readonly unprepared: "known" | "unknown";
}

type Definition = ServerMethodDefinition<unknown, unknown>;

/** What fails in every call is reported once in this time. */
const reportEveryMs = 60_000;
/** A path is printable ASCII (RFC 3986); what is not would reach logs and terminals. */
const notPrintable = /[^ -~]/g;
/** What of an unknown method's path is kept: a caller may send 8 KiB of it. */
const maxUnknownPathLength = 256;

export class Chain implements ChainServices {
  readonly #middleware: readonly Middleware[];
  readonly #plans: Map<string, Plan> = new Map();
  /** Callers choose the paths of unknown methods, and with them how many problems there are. */
  readonly #reports = new LogThrottle({ periodMs: reportEveryMs });
  readonly #joinedPlans: WeakMap<Plan, Plan> = new WeakMap();
  #cutsCalls = false;
  readonly recovery: Recovery;
  readonly #checkTimeoutMs: number;
  readonly logger: Logger;
  readonly peerOf: PeerOf | undefined;
  readonly #maxReceiveMessageBytes: ChainOptions["maxReceiveMessageBytes"];

  constructor(options: ChainOptions) {
    this.#middleware = options.middleware;
    this.recovery = options.recovery;
    this.#checkTimeoutMs = options.checkTimeoutMs;
    this.logger = options.logger;
    this.peerOf = options.peerOf;
    this.#maxReceiveMessageBytes = options.maxReceiveMessageBytes;
  }

  /** Puts the chain before a call of our own server. */
  secure(call: TransportCall, path: string): SecuredCall {
    return new SecuredCall(this, this.#planFor(path), call);
  }

  /** A call was refused before there was anything of ours to refuse it. */
  reportRefused(path: string, error: unknown): void {
    const line = { method: path, err: describeError(error) };
    this.#reportOnce("refused", line, "calls are refused: the chain could not start them");
  }

  /**
   * The chain as an interceptor for a server that somebody else made.
   *
   * @throws {ConfigError} for a grpc-js that this release does not work with.
   */
  attached(options: AttachedOptions): ServerInterceptor {
    checkInterceptors();
    return (definition, call) => {
      try {
        // grpc-js types it as its own class, and only calls methods.
        return this.#attach(definition, call, options) as unknown as ServerInterceptingCall;
      } catch (error) {
        this.reportRefused(definition.path, error);
        return refusingCall(call);
      }
    };
  }

  /** Next to the wire, or single middleware behind another chain of ours; anywhere else nothing is let through. */
  #attach(
    definition: Definition,
    call: ServerInterceptingCallInterface,
    { certificateOf, unprepared }: AttachedOptions,
  ): ServerInterceptingCallInterface {
    const learns = unprepared === "known";
    if (call instanceof SecuredCall) {
      if (!learns) this.#reportNotFirst(definition.path);
      call.join((first) => this.#joined(first, definition, learns));
      return call;
    }
    const members = baseCallMembers(call);
    if (members === undefined) {
      this.#reportNotFirst(definition.path);
      return refusingCall(call);
    }
    guardRegistered(members.handler, kindOf(definition.requestStream, definition.responseStream));
    return new SecuredCall(
      this,
      this.#planAttached(definition, learns),
      new AttachedCall(call, members, certificateOf),
    );
  }

  #planAttached({ path, requestStream, responseStream }: Definition, learns: boolean): Plan {
    const prepared = this.#plans.get(path);
    if (prepared !== undefined) return prepared;
    if (!learns) {
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
      "every call is refused: another interceptor runs before Palisade's; put Palisade's first in `interceptors`",
    );
  }

  #joined(first: Plan, definition: Definition, learns: boolean): Plan {
    let joined = this.#joinedPlans.get(first);
    if (joined === undefined) {
      const own = learns ? this.#planAttached(definition, learns) : this.#planOf(first.method, [notFirst]);
      joined = joinPlans(first, own);
      this.#joinedPlans.set(first, joined);
    }
    return joined;
  }

  #reportOnce(what: string, line: object, message: string): void {
    if (this.#dueNow(what)) say(() => this.logger.error(line, message));
  }

  /** Looks up the middleware of each method. A method that is not prepared is unknown. */
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
      this.#middleware.filter((middleware) => middleware.appliesTo?.(method) ?? true),
    );
  }

  #planOf(method: MethodInfo, chain: readonly Middleware[]): Plan {
    return {
      method,
      chain,
      onRequest: chain.filter((middleware) => middleware.onRequest !== undefined),
      onResponse: chain.filter((middleware) => middleware.onResponse !== undefined),
      maxReceiveMessageBytes: this.#maxReceiveMessageBytes?.(method),
      checkTimeoutMs: this.#checkTimeoutMs,
      holding: streamsRequests(method.kind)
        ? chain.filter((middleware) => middleware.needsMessage !== undefined)
        : [],
      confirming: chain.filter((middleware) => middleware.confirm !== undefined),
    };
  }

  get cutsCalls(): boolean {
    return this.#cutsCalls;
  }

  /** From here on a call that loses its connection was cut by the server's shutdown. */
  cutCalls(): void {
    this.#cutsCalls = true;
  }

  /** An observing middleware failed, or any middleware in `onEnd`. The call does not notice. */
  reportMiddlewareFailure(middleware: Middleware, error: unknown): void {
    if (!this.#dueNow(`middleware ${middleware.name}`)) return;
    say(() =>
      this.logger.error(
        { layer: middleware.name, err: describeError(error) },
        "a middleware failed; calls are not affected",
      ),
    );
  }

  /** A handler failed after its call had ended: too late for the caller, not for the log. */
  reportFailureAfterEnd(call: CallContext, error: unknown, unexpected: boolean): void {
    say(() => {
      const line = { call_id: call.id, err: describeError(error) };
      if (unexpected) call.log.warn(line, "the handler failed after it sent its answer");
      else call.log.debug(line, "the handler failed after its call had ended");
    });
  }

  runListener(call: Call, listener: () => unknown): void {
    const failed = (error: unknown): void => this.reportFailureAfterEnd(call, error, false);
    try {
      // A thenable may be anybody's: its `then` may throw.
      Promise.resolve(runInContext(call, listener)).catch(failed);
    } catch (error) {
      failed(error);
    }
  }

  reportDroppedMetadata(call: CallContext, key: string): void {
    if (!this.#dueNow(`metadata ${call.method.path}`)) return;
    say(() => call.log.warn({ key }, "removed response metadata that HTTP/2 or gRPC does not allow"));
  }

  #dueNow(what: string): boolean {
    return this.#reports.admit(what) !== undefined;
  }
}

/** What stands for a chain whose middleware must not run behind another's. */
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

const guarded = new WeakSet<RegisteredHandler>();

/** The object belongs to the registration, and grpc-js reads it only after the interceptors. */
function guardRegistered(handler: RegisteredHandler, kind: MethodKind): void {
  if (guarded.has(handler)) return;
  guarded.add(handler);
  handler.func = guardHandler(handler.func, kind);
}

/** A method that nobody registered; nothing is known of its kind, so it is taken for the most general one. */
function unknownMethod(path: string): MethodInfo {
  return methodInfo(path.slice(0, maxUnknownPathLength).replace(notPrintable, "?"), "bidi_stream", false);
}
