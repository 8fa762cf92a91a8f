// The tracer of whatever tracer provider is registered when it is asked for; none where none is, so that tracing is free.
import { ProxyTracerProvider, type Tracer, type TracerProvider, trace } from "@opentelemetry/api";

/** The instrumentation scope of all our spans. */
const scope = "grpc-palisade";

/** What the API answers with before an SDK is registered. */
const noProvider: TracerProvider = new ProxyTracerProvider().getDelegate();

export class LazyTracer {
  #provider: TracerProvider = noProvider;
  #tracer: Tracer | undefined = undefined;

  /** Undefined where no SDK is registered. Throws what the SDK throws, once for each provider. */
  get(): Tracer | undefined {
    const registered = trace.getTracerProvider();
    const provider = registered instanceof ProxyTracerProvider ? registered.getDelegate() : registered;
    if (provider !== this.#provider) this.#follow(provider);
    return this.#tracer;
  }

  #follow(provider: TracerProvider): void {
    // First, so that a provider that cannot make the tracer is asked once.
    this.#provider = provider;
    this.#tracer = undefined;
    this.#tracer = provider === noProvider ? undefined : provider.getTracer(scope);
  }
}
