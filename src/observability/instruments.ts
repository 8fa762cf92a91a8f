/**
 * OpenTelemetry instruments that may be declared before an SDK is registered. The API (1.9) has no proxy for meters as it
 * has for tracers: an instrument that was created before the SDK does nothing for ever. So instruments are created again
 * whenever another meter provider is registered.
 */
import {
  type Attributes,
  diag,
  type Meter,
  type MeterProvider,
  type MetricOptions,
  metrics,
} from "@opentelemetry/api";

/** The instrumentation scope of all our metrics. */
const scope = "grpc-palisade";

const declared: LazyInstruments<unknown>[] = [];
let followed: { readonly provider: MeterProvider; readonly count: number } | undefined;

/** Instruments of the meter provider that is registered now. Declare them once, at a module's top level. */
export class LazyInstruments<Instruments> {
  readonly #create: (meter: Meter) => Instruments;
  #provider: MeterProvider | undefined = undefined;
  #created: { readonly instruments: Instruments } | undefined = undefined;

  constructor(create: (meter: Meter) => Instruments) {
    this.#create = create;
    declared.push(this);
  }

  /** Gives the instruments to `record`. Never throws: an SDK that fails does not affect calls. */
  use(record: (instruments: Instruments) => void): void {
    followMeterProvider();
    if (this.#created === undefined) return;
    try {
      record(this.#created.instruments);
    } catch (error) {
      reportOnce(error);
    }
  }

  /** For `followMeterProvider`. */
  follow(provider: MeterProvider): void {
    if (provider === this.#provider) return;
    // First, so that a provider that cannot create them is asked once.
    this.#provider = provider;
    this.#created = undefined;
    this.#created = { instruments: this.#create(provider.getMeter(scope)) };
  }
}

/**
 * Creates all declared instruments again where another meter provider is registered. Observable ones have no call of
 * ours that does so, therefore each call does. Never throws.
 */
export function followMeterProvider(): void {
  const provider = metrics.getMeterProvider();
  if (followed?.provider === provider && followed.count === declared.length) return;
  followed = { provider, count: declared.length };
  for (const each of declared) {
    try {
      each.follow(provider);
    } catch (error) {
      reportOnce(error);
    }
  }
}

/** One series of an observable instrument: its value is read when the SDK collects. */
export interface ObservedSeries {
  readonly attributes: Attributes;
  value: number;
}

/**
 * An observable counter, or up-down counter, whose values are kept in plain fields, so that a call does not pay for the
 * SDK. Returns what makes a series. Make each series once and never one for what a caller chose: series are kept for ever.
 */
export function observed(
  kind: "counter" | "up-down counter",
  name: string,
  options: MetricOptions,
): (attributes: Attributes) => ObservedSeries {
  const all: ObservedSeries[] = [];
  new LazyInstruments((meter) => {
    const instrument =
      kind === "counter"
        ? meter.createObservableCounter(name, options)
        : meter.createObservableUpDownCounter(name, options);
    instrument.addCallback((result) => {
      for (const { attributes, value } of all) result.observe(value, attributes);
    });
  });
  return (attributes) => {
    const series = { attributes: Object.freeze(attributes), value: 0 };
    all.push(series);
    return series;
  };
}

let failureWasReported = false;

/** To OpenTelemetry's own diagnostics, where its users look for a metrics SDK that fails. */
function reportOnce(error: unknown): void {
  if (failureWasReported) return;
  failureWasReported = true;
  try {
    diag.error("grpc-palisade: the metrics SDK failed; metrics are incomplete", error);
  } catch {
    // A diagnostics logger that fails too leaves nobody to tell.
  }
}
