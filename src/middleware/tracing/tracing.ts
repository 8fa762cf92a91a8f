// One server span for each call, around the whole chain, so that refused calls are traced too.
import { status } from "@grpc/grpc-js";
import {
  type Attributes,
  isSpanContextValid,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type TextMapGetter,
  trace,
} from "@opentelemetry/api";
import { type CallContext, ContextKey, type ReadonlyMetadata, setTrace } from "../../chain/context.ts";
import type { Middleware, Outcome } from "../../chain/middleware.ts";
import type { MethodInfo } from "../../grpc/method.ts";
import { statusName } from "../../grpc/status.ts";
import { boundedText, maxTextLength, redactSecrets } from "../../observability/redaction.ts";
import { LazyTracer } from "../../observability/tracer.ts";

/** OpenTelemetry's name for every method that is not registered: callers choose theirs. */
const otherMethod = "_OTHER";

/**
 * The statuses that make a server span an error: OpenTelemetry semantic conventions for gRPC, "Server". What a caller
 * does wrong is not among them.
 */
const errorCodes: ReadonlySet<number> = new Set([
  status.UNKNOWN,
  status.DEADLINE_EXCEEDED,
  status.UNIMPLEMENTED,
  status.INTERNAL,
  status.UNAVAILABLE,
  status.DATA_LOSS,
]);

const spanKey = new ContextKey<Span>("tracing.span");

/**
 * Traces each call with one span of kind SERVER, from its arrival to the end of its stream. The span is the child of
 * what the caller sent as W3C trace context (through the registered propagator), and it is active in the handler and in
 * everything below it. Without a registered OpenTelemetry SDK it does nothing.
 *
 * The name is `package.Service/Method`; for a method that is not registered it is `grpc`. Attributes, by the
 * OpenTelemetry semantic conventions for RPC (release candidate, the names that follow 1.37):
 *
 * | attribute | meaning |
 * |---|---|
 * | `rpc.system.name` | `grpc` |
 * | `rpc.method` | `package.Service/Method`, or `_OTHER`; then `rpc.method_original` is what the caller sent, redacted |
 * | `rpc.response.status_code` | the status by name: `NOT_FOUND` |
 * | `error.type` | the same, where the status counts as an error of the server; the span's status is then ERROR |
 * | `network.peer.address`, `network.peer.port` | the caller's end of the connection |
 * | `palisade.caller.service` | the name in the client's verified certificate, else the verified service or application |
 * | `palisade.layer` | the middleware that refused |
 * | `palisade.ended_by` | who ended the call, where it was not the handler |
 * | `palisade.delivered` | `false` where the status did not reach the caller |
 * | `palisade.error_id` | the id in the caller's `internal error (id …)` |
 *
 * Never metadata, payloads, error texts or the name of a user. Baggage that a caller sends is not taken over: nobody
 * verified it.
 */
export function tracing(): Middleware {
  const tracer = new LazyTracer();
  return {
    name: "tracing",
    observes: true,
    onCall(call) {
      const current = tracer.get();
      if (current === undefined) return;
      const { method } = call;
      const sent = propagation.extract(ROOT_CONTEXT, call.metadata, metadataGetter);
      const parent = propagation.deleteBaggage(sent);
      const span = current.startSpan(
        method.known ? methodName(method) : "grpc",
        { kind: SpanKind.SERVER, attributes: attributesAtStart(call) },
        parent,
      );
      call.set(spanKey, span);
      const spanContext = span.spanContext();
      // Active even where it is not sampled: what the handler calls must hear of the same trace.
      if (isSpanContextValid(spanContext)) setTrace(call, trace.setSpan(parent, span), spanContext.traceId);
    },
    onEnd(call, outcome) {
      const span = call.get(spanKey);
      if (span === undefined) return;
      try {
        if (span.isRecording()) describe(span, call, outcome);
      } finally {
        span.end();
      }
    },
  };
}

/** `package.Service/Method` */
function methodName({ path }: MethodInfo): string {
  return path.slice(1);
}

function attributesAtStart({ method, peer }: CallContext): Attributes {
  const attributes: Attributes = {
    "rpc.system.name": "grpc",
    "rpc.method": method.known ? methodName(method) : otherMethod,
    "network.peer.address": peer.address,
  };
  if (!method.known) attributes["rpc.method_original"] = redactSecrets(methodName(method), maxTextLength);
  if (peer.port !== undefined) attributes["network.peer.port"] = peer.port;
  return attributes;
}

function describe(span: Span, call: CallContext, outcome: Outcome): void {
  const code = statusName(outcome.code);
  const attributes: Attributes = { "rpc.response.status_code": code };
  const service = callerService(call);
  if (service !== undefined) attributes["palisade.caller.service"] = boundedText(service, maxTextLength);
  if (outcome.layer !== undefined) attributes["palisade.layer"] = outcome.layer;
  if (outcome.endedBy !== "handler") attributes["palisade.ended_by"] = outcome.endedBy;
  if (!outcome.delivered) attributes["palisade.delivered"] = false;
  if (outcome.errorId !== undefined) attributes["palisade.error_id"] = outcome.errorId;
  if (errorCodes.has(outcome.code) || status[outcome.code] === undefined) {
    attributes["error.type"] = code;
    // Without a message: a handler's text may quote its payload.
    span.setStatus({ code: SpanStatusCode.ERROR });
  }
  span.setAttributes(attributes);
}

/** Which program calls, as far as it was verified. Never a user. */
function callerService({ peer, actor, principal }: CallContext): string | undefined {
  if (peer.certificate?.name !== undefined) return peer.certificate.name;
  if (actor !== undefined) return actor.subject;
  return principal?.kind === "service" ? principal.subject : undefined;
}

/** Reads what the caller sent; binary values are none of a propagator's. */
const metadataGetter: TextMapGetter<ReadonlyMetadata> = {
  get(metadata, key) {
    const values = metadata.get(key).filter((value) => typeof value === "string");
    return values.length === 0 ? undefined : values;
  },
  keys: (metadata) => Object.keys(metadata.getMap()),
};
