// The trace of the call that is being served travels on to the next service (K3).
import type { CallInvocationTransformer, Metadata } from "@grpc/grpc-js";
import { context, propagation, type TextMapSetter, trace } from "@opentelemetry/api";

/**
 * Puts the active span's trace context on each call, in the way the registered OpenTelemetry propagator writes it
 * (W3C: `traceparent`, `tracestate`). It replaces what the call's metadata say of it. Without an active span nothing is
 * added. Baggage stays here: it may be about a user, and is not the trace. `before` runs first.
 */
export function tracePropagation(before: CallInvocationTransformer): CallInvocationTransformer {
  return (properties) => {
    const call = before(properties);
    try {
      if (trace.getActiveSpan() !== undefined) call.metadata = withTrace(call.metadata);
    } catch {
      // A call is worth more than its trace.
    }
    return call;
  };
}

function withTrace(metadata: Metadata): Metadata {
  const headers = new Map<string, string>();
  propagation.inject(propagation.deleteBaggage(context.active()), headers, toMap);
  if (headers.size === 0) return metadata;
  // A copy: the caller may use one metadata object for many calls.
  const traced = metadata.clone();
  for (const [key, value] of headers) traced.set(key, value);
  return traced;
}

const toMap: TextMapSetter<Map<string, string>> = {
  set: (headers, key, value) => headers.set(key, value),
};
