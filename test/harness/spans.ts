// A real OpenTelemetry tracing SDK for one test file: the spans that ended, to look at.
import { context, propagation, trace } from "@opentelemetry/api";
import {
  InMemorySpanExporter,
  NodeTracerProvider,
  type ReadableSpan,
  type Sampler,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-node";
import { eventually } from "./secured.ts";

export interface Spans {
  /** Every span that ended so far. */
  all(): readonly ReadableSpan[];
  /** The spans of one trace, once `count` of them ended. */
  ofTrace(traceId: string, count: number): Promise<readonly ReadableSpan[]>;
  one(match: (span: ReadableSpan) => boolean): Promise<ReadableSpan>;
  clear(): void;
  shutdown(): Promise<void>;
}

/** Becomes the global tracer provider, with the usual propagators and context manager, until `shutdown`. */
export function registerTracerProvider(options: { readonly sampler?: Sampler } = {}): Spans {
  forget();
  const exporter = new InMemorySpanExporter();
  const provider = new NodeTracerProvider({
    ...options,
    spanProcessors: [new SimpleSpanProcessor(exporter)],
  });
  provider.register();
  const all = (): readonly ReadableSpan[] => exporter.getFinishedSpans();
  return {
    all,
    ofTrace: (traceId, count) =>
      eventually(() => {
        const found = all().filter((span) => span.spanContext().traceId === traceId);
        return found.length >= count && found;
      }, `${count} spans of trace ${traceId}`),
    one: (match) => eventually(() => all().find(match), "a span"),
    clear: () => exporter.reset(),
    async shutdown() {
      forget();
      await provider.shutdown();
    },
  };
}

function forget(): void {
  trace.disable();
  propagation.disable();
  context.disable();
}
