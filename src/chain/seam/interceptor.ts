// Calls of ours as grpc-js wants them, and the base call that stands behind them.
import {
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  type ServerMethodDefinition,
  status,
  type UntypedHandleCall,
} from "@grpc/grpc-js";
import type { MethodKind } from "../../call/method.ts";
import { learnFrom } from "./base-call.ts";
import { checkBaseCall } from "./check.ts";
import { checkGrpcJsVersion } from "./grpc-js-version.ts";
import type { BaseCall, OwnInterceptingCall, PartialStatus, RegisteredHandler } from "./inside.ts";
import { methodKind } from "./registered.ts";
import { takeShorterWayIn, takesShorterWay } from "./shorter-way.ts";

/** Hears why a call was refused before there was anything of ours to refuse it. grpc-js does not survive a throw here. */
export type OnUnmade = (path: string, error: unknown) => void;

/** Turns a call of ours into what an interceptor has to return: grpc-js types it as its own class, but only calls methods. */
export function asInterceptor(
  make: (definition: ServerMethodDefinition<unknown, unknown>, base: BaseCall) => OwnInterceptingCall,
  onUnmade: OnUnmade,
): ServerInterceptor {
  const asBaseCall = newBaseCallCheck();
  return orRefuse((definition, call) => make(definition, asBaseCall(call)), onUnmade);
}

/**
 * The same for a server that somebody else made (C6). `base` is undefined where the call is not next to the wire, because
 * another interceptor stands before ours.
 *
 * @throws {ConfigError} for a grpc-js that this release does not work with.
 */
export function asAttachedInterceptor(
  make: (
    definition: ServerMethodDefinition<unknown, unknown>,
    call: ServerInterceptingCallInterface,
    base: BaseCall | undefined,
  ) => OwnInterceptingCall,
  onUnmade: OnUnmade,
): ServerInterceptor {
  checkGrpcJsVersion();
  const asBaseCall = newBaseCallCheck();
  return orRefuse(
    (definition, call) => make(definition, call, isNextToWire(call) ? asBaseCall(call) : undefined),
    onUnmade,
  );
}

function isNextToWire(call: ServerInterceptingCallInterface): boolean {
  return "stream" in call && "handler" in call;
}

function orRefuse(
  make: (
    definition: ServerMethodDefinition<unknown, unknown>,
    call: ServerInterceptingCallInterface,
  ) => OwnInterceptingCall,
  onUnmade: OnUnmade,
): ServerInterceptor {
  return (definition, call) => {
    try {
      return make(definition, call) as unknown as ServerInterceptingCall;
    } catch (error) {
      onUnmade(definition.path, error);
      return refusingCall(call, unmade) as unknown as ServerInterceptingCall;
    }
  };
}

const unmade: PartialStatus = { code: status.INTERNAL, details: "internal error" };

/** Looks at the first base call of an interceptor; the others are of the same class. */
function newBaseCallCheck(): (call: ServerInterceptingCallInterface) => BaseCall {
  let whole: unknown;
  let shorter = false;
  return (call) => {
    const base = call as BaseCall;
    const prototype: unknown = Object.getPrototypeOf(call);
    if (prototype !== whole) {
      checkBaseCall(call);
      learnFrom(call);
      whole = prototype;
      shorter = takesShorterWay(base);
    }
    if (shorter) takeShorterWayIn(base);
    return base;
  };
}

/** Answers a call that cannot be let through, without anything of it reaching a handler. */
export function refusingCall(
  call: ServerInterceptingCallInterface,
  status: PartialStatus,
): OwnInterceptingCall {
  return new ServerInterceptingCall(call, {
    start: () => call.sendStatus({ code: status.code, details: status.details, metadata: null }),
  });
}

export interface HandlerGuards {
  readonly handler: (func: UntypedHandleCall, kind: MethodKind) => UntypedHandleCall;
  readonly codec: <In, Out>(codec: (value: In) => Out) => (value: In) => Out;
}

const guarded = new WeakSet<RegisteredHandler>();

/**
 * Puts the guard round a handler that is registered already: grpc-js reads these fields only after the interceptors.
 * The object belongs to the registration, so one server's handlers are not another's.
 */
export function guardRegistered({ handler }: BaseCall, guards: HandlerGuards): void {
  if (guarded.has(handler)) return;
  guarded.add(handler);
  const open = handler as { -readonly [Field in keyof RegisteredHandler]: RegisteredHandler[Field] };
  open.func = guards.handler(handler.func, methodKind(handler.type));
  open.serialize = guards.codec(handler.serialize);
  open.deserialize = guards.codec(handler.deserialize);
}

/** grpc-js exports no type for it, and means "absent" where our getters say undefined. */
export function asAuthContext(context: {
  readonly transportSecurityType: string | undefined;
  readonly sslPeerCertificate: unknown;
}): ReturnType<ServerInterceptingCallInterface["getAuthContext"]> {
  return context as ReturnType<ServerInterceptingCallInterface["getAuthContext"]>;
}
