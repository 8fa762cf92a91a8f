// How many calls of one caller run at once: a counter for each caller that has calls, and for nobody else.

/** A caller's counter. Hand it back to `release` once for each time it was taken. */
export interface InFlightCounter {
  readonly key: string;
  readonly calls: number;
}

/**
 * Counts calls in flight by key. A counter exists only while its caller has calls, so it is never evicted; when
 * `maxKeys` callers have calls at once, new ones share one counter.
 */
export class InFlight {
  readonly #limit: number;
  readonly #maxKeys: number;
  readonly #counters = new Map<string, Counter>();
  readonly #overflow = new Counter("");

  constructor(limit: number, maxKeys = 100_000) {
    this.#limit = limit;
    this.#maxKeys = maxKeys;
  }

  /** How many callers have calls. */
  get size(): number {
    return this.#counters.size;
  }

  /** The counter that now counts the call, or undefined where the caller has as many calls as it may have. */
  take(key: string): InFlightCounter | undefined {
    const counter = this.#counters.get(key) ?? this.#newCounter(key);
    if (counter.calls >= this.#limit) return undefined;
    counter.calls += 1;
    return counter;
  }

  release(taken: InFlightCounter): void {
    const counter = taken === this.#overflow ? this.#overflow : this.#counters.get(taken.key);
    if (counter === undefined || counter !== taken) return;
    counter.calls -= 1;
    if (counter.calls === 0 && counter !== this.#overflow) this.#counters.delete(counter.key);
  }

  #newCounter(key: string): Counter {
    if (this.#counters.size >= this.#maxKeys) return this.#overflow;
    const counter = new Counter(key);
    this.#counters.set(key, counter);
    return counter;
  }
}

class Counter implements InFlightCounter {
  readonly key: string;
  calls = 0;

  constructor(key: string) {
    this.key = key;
  }
}
