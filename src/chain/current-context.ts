// The call's context, found from a handler's `call` or from anywhere below the handler.
import { AsyncLocalStorage } from "node:async_hooks";
import { status } from "@grpc/grpc-js";
import { context as openTelemetry } from "@opentelemetry/api";
import { StatusError } from "../grpc/errors.ts";
import { texts } from "../grpc/status.ts";
import type { Call, CallContext, SecurityContext } from "./context.ts";
import type { Principal } from "./principal.ts";
import { securedCallOf } from "./secured-call.ts";

const contextStorage: AsyncLocalStorage<Call> = new AsyncLocalStorage();

/** Runs `run` with the call's context current in it and below it, and with the call's span active where it has one. */
export function runInContext<Args extends unknown[], R>(
  call: Call,
  run: (...args: Args) => R,
  ...args: Args
): R {
  if (call.traceContext === undefined) return contextStorage.run(call, run, ...args);
  let entered = false;
  const inside = (): R => {
    entered = true;
    return contextStorage.run(call, run, ...args);
  };
  try {
    return openTelemetry.with(call.traceContext, inside);
  } catch (error) {
    // A context manager that fails must not keep the handler from running; what the handler throws is the handler's.
    if (entered) throw error;
    return inside();
  }
}

/**
 * The context of a handler's call: method, peer, verified principal, time left.
 * Throws an `Error` where `call` did not pass a chain of this library.
 */
export function securityContext(call: object): SecurityContext {
  const secured = securedCallOf(call);
  if (secured === undefined) {
    throw new Error(
      "securityContext: this call did not pass a Palisade chain; register the service on createSecureServer",
    );
  }
  return secured.context;
}

/** The same anywhere below a handler, in its listeners too; undefined outside of a call. */
export function currentContext(): SecurityContext | undefined {
  return contextStorage.getStore();
}

/**
 * All that the chain knows of the call that is handled here; `handlerCall` says which one it is, where it is given. Undefined
 * outside of a call, and where `handlerCall` did not pass a chain of this library.
 */
export function currentCall(handlerCall?: object): CallContext | undefined {
  if (handlerCall === undefined) return contextStorage.getStore();
  return securedCallOf(handlerCall)?.context;
}

/**
 * The verified caller, or a thrown UNAUTHENTICATED where there is none: a health probe, or a caller who showed no
 * credential to a public method.
 *
 * @example
 * const { subject, tenant } = requirePrincipal(call);
 */
export function requirePrincipal(call: object): Principal {
  const { principal } = securityContext(call);
  if (principal === undefined || principal.kind === "anonymous") {
    throw new StatusError(status.UNAUTHENTICATED, texts.missingCredentials);
  }
  return principal;
}
