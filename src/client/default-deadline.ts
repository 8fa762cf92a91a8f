// A deadline on every call that brings none.
import type { CallInvocationTransformer } from "@grpc/grpc-js";

/**
 * Gives each call without a deadline one in `deadlineMs` milliseconds. `before` runs first, so that what it does to a
 * call is seen here. A deadline that the call brings stays, `Infinity` too. Interceptors would be no safe place for
 * this: grpc-js replaces those of a client with those of a call.
 */
export function defaultDeadline(
  deadlineMs: number,
  before: CallInvocationTransformer | undefined,
): CallInvocationTransformer {
  return (properties) => {
    const call = before === undefined ? properties : before(properties);
    if (call.callOptions.deadline == null) {
      // A copy: the caller may use one options object for many calls.
      call.callOptions = { ...call.callOptions, deadline: Date.now() + deadlineMs };
    }
    return call;
  };
}
