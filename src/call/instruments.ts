// Metric instruments that may be declared before an OpenTelemetry SDK is registered, and that never fail their user.
// The API (1.9) has no proxy for meters as it has for tracers: an instrument made before the SDK stays a no-op for ever.
import {
  type Attributes,
  type Counter,
  diag,
  type Histogram,
  type Meter,
  type MeterProvider,
  type MetricOptions,
  metrics,
} from "@opentelemetry/api";

/** The instrumentation scope of all our metrics. */
const scope = "grpc-palisade";

let failureWasReported = false;

/** An instrument of whatever meter provider is registered at the moment it is used. */
abstract class LateInstrument<Instrument> {
  #provider: MeterProvider | undefined = undefined;
  #instrument: Instrument | undefined = undefined;

  protected abstract create(meter: Meter): Instrument;

  protected abstract write(instrument: Instrument, value: number, attributes: Attributes | undefined): void;

  protected use(value: number, attributes: Attributes | undefined): void {
    try {
      const provider = metrics.getMeterProvider();
      if (provider !== this.#provider) this.#follow(provider);
      if (this.#instrument !== undefined) this.write(this.#instrument, value, attributes);
    } catch (error) {
      reportOnce(error);
    }
  }

  #follow(provider: MeterProvider): void {
    // First, so that a provider that cannot make the instrument is asked once.
    this.#provider = provider;
    this.#instrument = undefined;
    this.#instrument = this.create(provider.getMeter(scope));
  }
}

export class LateCounter extends LateInstrument<Counter> {
  readonly #name: string;
  readonly #options: MetricOptions;

  constructor(name: string, options: MetricOptions) {
    super();
    this.#name = name;
    this.#options = options;
  }

  /** Adds to the counter. Never throws. An SDK may keep the attributes: freeze them, and reuse them. */
  add(value: number, attributes?: Attributes): void {
    this.use(value, attributes);
  }

  protected override create(meter: Meter): Counter {
    return meter.createCounter(this.#name, this.#options);
  }

  protected override write(counter: Counter, value: number, attributes: Attributes | undefined): void {
    counter.add(value, attributes);
  }
}

export class LateHistogram extends LateInstrument<Histogram> {
  readonly #name: string;
  readonly #options: MetricOptions;

  constructor(name: string, options: MetricOptions) {
    super();
    this.#name = name;
    this.#options = options;
  }

  /** Records a value. Never throws. An SDK may keep the attributes: freeze them, and reuse them. */
  record(value: number, attributes?: Attributes): void {
    this.use(value, attributes);
  }

  protected override create(meter: Meter): Histogram {
    return meter.createHistogram(this.#name, this.#options);
  }

  protected override write(histogram: Histogram, value: number, attributes: Attributes | undefined): void {
    histogram.record(value, attributes);
  }
}

/** To OpenTelemetry's own diagnostics, the place where its users look for a metrics SDK that fails. */
function reportOnce(error: unknown): void {
  if (failureWasReported) return;
  failureWasReported = true;
  try {
    diag.error("grpc-palisade: the metrics SDK failed; metrics are incomplete", error);
  } catch {
    // A diagnostics logger that fails too leaves nobody to tell.
  }
}
