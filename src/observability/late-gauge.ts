// A gauge that is read when it is scraped, of whatever meter provider is registered by then.
import {
  type Attributes,
  type MeterProvider,
  type MetricOptions,
  metrics,
  type ObservableGauge,
} from "@opentelemetry/api";

export interface Observation {
  readonly value: number;
  /** An SDK may keep them: freeze them, and reuse them. */
  readonly attributes: Attributes;
}

/**
 * The API has no proxy for meters, and an observable instrument has no call of ours in which to look for a new provider:
 * whoever has a gauge calls `follow()` from time to time.
 */
export class LateGauge {
  readonly #name: string;
  readonly #options: MetricOptions;
  readonly #observe: () => Iterable<Observation>;
  #provider: MeterProvider | undefined = undefined;
  #gauge: ObservableGauge | undefined = undefined;

  constructor(name: string, options: MetricOptions, observe: () => Iterable<Observation>) {
    this.#name = name;
    this.#options = options;
    this.#observe = observe;
  }

  /** Makes the instrument where the provider is a new one. Never throws. */
  follow(): void {
    try {
      const provider = metrics.getMeterProvider();
      if (provider === this.#provider) return;
      this.#gauge?.removeCallback(this.#report);
      // First, so that a provider that cannot make the instrument is asked once.
      this.#provider = provider;
      this.#gauge = undefined;
      this.#gauge = provider.getMeter("grpc-palisade").createObservableGauge(this.#name, this.#options);
      this.#gauge.addCallback(this.#report);
    } catch {
      // A metrics SDK that fails has its own diagnostics; nobody's certificate depends on it.
    }
  }

  readonly #report = (result: { observe(value: number, attributes?: Attributes): void }): void => {
    for (const { value, attributes } of this.#observe()) result.observe(value, attributes);
  };
}
