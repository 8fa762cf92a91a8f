// The trace of what is going on here travels on to the next service, with a span for each call.
import { type CallInvocationTransformer, type Metadata, type StatusObject, status } from "@grpc/grpc-js";
import {
  type Context,
  context,
  propagation,
  type Span,
  SpanKind,
  SpanStatusCode,
  type TextMapSetter,
  trace,
} from "@opentelemetry/api";
import { statusName } from "../grpc/status.ts";
import { LazyTracer } from "../observability/tracer.ts";

const tracer = new LazyTracer();

/**
 * Makes a span of kind CLIENT for each call, named `package.Service/Method`, the child of the active span, and puts its trace
 * context on the call, in the way the registered OpenTelemetry propagator writes it (W3C: `traceparent`, `tracestate`). It
 * replaces what the call's metadata say of it. Baggage is not sent: it may be about a user, and is not the trace. Without an
 * OpenTelemetry SDK nothing is done. Where `@opentelemetry/instrumentation-grpc` has made a span for the call, there is no
 * second one. `before` runs first.
 *
 * Attributes, by OpenTelemetry's semantic conventions for RPC: `rpc.system.name`, `rpc.method`,
 * `rpc.response.status_code`, and `error.type` where the status is not OK.
 */
export function clientTracing(before: CallInvocationTransformer): CallInvocationTransformer {
  return (properties) => {
    const call = before(properties);
    try {
      const span = isInstrumented() ? undefined : startSpan(call.methodDefinition.path);
      const active = span === undefined ? context.active() : trace.setSpan(context.active(), span);
      if (trace.getSpan(active) !== undefined) call.metadata = withTrace(call.metadata, active);
      if (span !== undefined) call.call.on("status", (ended: StatusObject) => endSpan(span, ended));
    } catch {
      // A call is worth more than its trace.
    }
    return call;
  };
}

/** The instrumentation's span is active while the call is made; spans of OpenTelemetry's SDKs show their kind. */
function isInstrumented(): boolean {
  const active: object | undefined = trace.getActiveSpan();
  return active !== undefined && "kind" in active && active.kind === SpanKind.CLIENT;
}

function startSpan(path: string): Span | undefined {
  const method = path.slice(1);
  return tracer.get()?.startSpan(method, {
    kind: SpanKind.CLIENT,
    attributes: { "rpc.system.name": "grpc", "rpc.method": method },
  });
}

function endSpan(span: Span, { code }: StatusObject): void {
  try {
    const name = statusName(code);
    span.setAttribute("rpc.response.status_code", name);
    if (code !== status.OK) {
      span.setAttribute("error.type", name);
      // Without a message: what a server says may quote a payload.
      span.setStatus({ code: SpanStatusCode.ERROR });
    }
    span.end();
  } catch {
    // Thrown from a listener it would end the process.
  }
}

function withTrace(metadata: Metadata, active: Context): Metadata {
  const headers = new Map<string, string>();
  propagation.inject(propagation.deleteBaggage(active), headers, toMap);
  if (headers.size === 0) return metadata;
  // A copy: the caller may use one metadata object for many calls.
  const traced = metadata.clone();
  for (const [key, value] of headers) traced.set(key, value);
  return traced;
}

const toMap: TextMapSetter<Map<string, string>> = {
  set: (headers, key, value) => headers.set(key, value),
};
