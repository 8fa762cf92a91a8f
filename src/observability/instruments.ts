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
  type Observable,
} from "@opentelemetry/api";
import { HistogramCounts } from "./histogram-counts.ts";

/** The instrumentation scope of all our metrics. */
export const scope = "grpc-palisade";

let failureWasReported = false;

/** An instrument of whatever meter provider is registered at the moment it is used. */
abstract class LateInstrument<Instrument> {
  #provider: MeterProvider | undefined = undefined;
  #instrument: Instrument | undefined = undefined;

  protected abstract create(meter: Meter): Instrument;

  protected abstract write(instrument: Instrument, value: number, attributes: Attributes): void;

  protected use(value: number, attributes: Attributes): void {
    try {
      const instrument = this.current();
      if (instrument !== undefined) this.write(instrument, value, attributes);
    } catch (error) {
      reportOnce(error);
    }
  }

  /** The instrument of the provider that is registered now; undefined where it could not make one. */
  protected current(): Instrument | undefined {
    const provider = metrics.getMeterProvider();
    if (provider !== this.#provider) this.#follow(provider);
    return this.#instrument;
  }

  /** Another provider is registered: what was kept for the last one goes there. */
  protected leave(): void {}

  #follow(provider: MeterProvider): void {
    this.leave();
    // First, so that a provider that cannot make the instrument is asked once.
    this.#provider = provider;
    this.#instrument = undefined;
    this.#instrument = this.create(provider.getMeter(scope));
  }
}

const counters: LateCounter[] = [];

/** Make it once, at a module's top: it is never forgotten. */
export class LateCounter extends LateInstrument<Counter> {
  readonly #name: string;
  readonly #options: MetricOptions;
  /** Those of which the SDK was not told everything yet. */
  readonly #waiting: CounterSeries[] = [];
  #keptFor: Counter | undefined = undefined;

  constructor(name: string, options: MetricOptions) {
    super();
    this.#name = name;
    this.#options = options;
    counters.push(this);
  }

  /** Make each once: what is made anew for each call tells the SDK of each call. */
  series(attributes: Attributes): CounterSeries {
    return new CounterSeries(this, Object.freeze(attributes));
  }

  /** For its series. */
  count(value: number, series: CounterSeries): void {
    try {
      const counter = this.current();
      if (counter === undefined) return;
      if (!observeTallies()) {
        this.write(counter, value, series.attributes);
        return;
      }
      this.#keptFor = counter;
      if (series.kept === 0) this.#waiting.push(series);
      series.kept += value;
    } catch (error) {
      reportOnce(error);
    }
  }

  /** Tells the SDK what was kept for it. */
  tell(): void {
    const counter = this.#keptFor;
    if (counter === undefined) return;
    let told = 0;
    try {
      for (const series of this.#waiting) {
        const value = series.kept;
        // First, so that nothing is told twice where the SDK fails.
        series.kept = 0;
        told += 1;
        counter.add(value, series.attributes);
      }
    } finally {
      this.#waiting.splice(0, told);
    }
  }

  protected override leave(): void {
    try {
      this.tell();
    } catch (error) {
      // An SDK that failed must not keep the next one from being followed.
      reportOnce(error);
    }
    for (const series of this.#waiting) series.kept = 0;
    this.#waiting.length = 0;
  }

  protected override create(meter: Meter): Counter {
    return meter.createCounter(this.#name, this.#options);
  }

  protected override write(counter: Counter, value: number, attributes: Attributes): void {
    counter.add(value, attributes);
  }
}

/** One series of a counter. */
export class CounterSeries {
  readonly attributes: Attributes;
  readonly #counter: LateCounter;
  /** For the counter: what the SDK was not told yet. */
  kept = 0;

  constructor(counter: LateCounter, attributes: Attributes) {
    this.#counter = counter;
    this.attributes = attributes;
  }

  /**
   * Adds to it. Never throws. An SDK works out at each addition which series the attributes stand for, which costs more
   * than all the rest; so additions are kept here, and told when the SDK collects.
   */
  add(value: number): void {
    this.#counter.count(value, this);
  }
}

const histograms: LateHistogram[] = [];

/** Make it once, at a module's top: it is never forgotten. */
export class LateHistogram extends LateInstrument<Histogram> {
  readonly name: string;
  readonly options: HistogramOptions;
  readonly #series: HistogramSeries[] = [];

  constructor(name: string, options: HistogramOptions) {
    super();
    this.name = name;
    this.options = options;
    histograms.push(this);
  }

  /** A new series. Make each once, and never one for what a caller chose: a series is never forgotten either. */
  series(attributes: Attributes): HistogramSeries {
    const series = new HistogramSeries(this, Object.freeze(attributes));
    this.#series.push(series);
    return series;
  }

  /** For `metricProducer`: the series that have values. */
  *counted(): Iterable<{ readonly attributes: Attributes; readonly counts: HistogramCounts }> {
    for (const { attributes, counts } of this.#series) if (counts !== undefined) yield { attributes, counts };
  }

  /** For its series: hands a value to the SDK. */
  tell(value: number, attributes: Attributes): void {
    this.use(value, attributes);
  }

  protected override create(meter: Meter): Histogram {
    return meter.createHistogram(this.name, this.options);
  }

  protected override write(histogram: Histogram, value: number, attributes: Attributes): void {
    histogram.record(value, attributes);
  }
}

export interface HistogramOptions extends MetricOptions {
  readonly unit: string;
  readonly description: string;
  readonly advice: { readonly explicitBucketBoundaries: number[] };
}

/** Are values counted here, and no longer told an SDK? */
let countsHere = false;

/** One series of a histogram. */
export class HistogramSeries {
  readonly attributes: Attributes;
  readonly #histogram: LateHistogram;
  /** Undefined before the first value that was counted here. */
  counts: HistogramCounts | undefined = undefined;

  constructor(histogram: LateHistogram, attributes: Attributes) {
    this.#histogram = histogram;
    this.attributes = attributes;
  }

  /** Records a value. Never throws. */
  record(value: number): void {
    if (!countsHere) {
      this.#histogram.tell(value, this.attributes);
      return;
    }
    this.counts ??= new HistogramCounts(this.#histogram.options.advice.explicitBucketBoundaries);
    this.counts.record(value);
  }
}

/** From now on every histogram's values are counted here. Returns them all. */
export function countHistogramsHere(): readonly LateHistogram[] {
  countsHere = true;
  return histograms;
}

/** One series of a `LateObservable`: count in the plain field `value`, which costs a call next to nothing. */
export interface Tally {
  readonly attributes: Attributes;
  value: number;
}

const observables: LateObservable[] = [];

/**
 * Numbers that are kept in plain fields and read only when the SDK collects: a `counter` only grows, an `updown` goes
 * both ways. Make it once, at a module's top: it is never forgotten.
 */
export class LateObservable {
  readonly #kind: "counter" | "updown";
  readonly #name: string;
  readonly #options: MetricOptions;
  readonly #tallies: Tally[] = [];
  #provider: MeterProvider | undefined = undefined;

  constructor(kind: "counter" | "updown", name: string, options: MetricOptions) {
    this.#kind = kind;
    this.#name = name;
    this.#options = options;
    observables.push(this);
  }

  /** A new series. Make each once, and never one for what a caller chose: a series is never forgotten either. */
  tally(attributes: Attributes): Tally {
    const tally: Tally = { attributes: Object.freeze(attributes), value: 0 };
    this.#tallies.push(tally);
    return tally;
  }

  /** For `observeTallies`. */
  follow(provider: MeterProvider): void {
    if (provider === this.#provider) return;
    this.#provider = provider;
    this.#create(provider.getMeter(scope)).addCallback((result) => {
      tellCounters();
      for (const { attributes, value } of this.#tallies) result.observe(value, attributes);
    });
  }

  #create(meter: Meter): Observable {
    return this.#kind === "counter"
      ? meter.createObservableCounter(this.#name, this.#options)
      : meter.createObservableUpDownCounter(this.#name, this.#options);
  }
}

let observedBy: MeterProvider | undefined;
let observed = 0;
/** Does the provider ask when it collects? */
let asks = false;

/**
 * Has the meter provider that is registered now read every tally, and have told what counters keep. False where it
 * cannot be had to ask. Cheap; called with each call. Never throws.
 */
export function observeTallies(): boolean {
  try {
    const provider = metrics.getMeterProvider();
    if (provider === observedBy && observed === observables.length) return asks;
    // First, so that a provider that cannot make an instrument is asked once.
    asks = false;
    observedBy = provider;
    observed = observables.length;
    for (const observable of observables) observable.follow(provider);
    asks = observed > 0;
  } catch (error) {
    reportOnce(error);
  }
  return asks;
}

/** SDKs call back before they look at what counters hold. */
function tellCounters(): void {
  for (const counter of counters) {
    try {
      counter.tell();
    } catch (error) {
      reportOnce(error);
    }
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
