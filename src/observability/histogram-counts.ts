// What a histogram holds of one series, in the fields and with the bounds of OpenTelemetry's data model.

export class HistogramCounts {
  readonly startedAtMs: number = Date.now();
  readonly boundaries: readonly number[];
  /** One more than there are boundaries: the last is for what lies above all of them. */
  readonly buckets: number[];
  count = 0;
  sum = 0;
  min: number = Number.POSITIVE_INFINITY;
  max: number = Number.NEGATIVE_INFINITY;

  /** @param boundaries in ascending order. */
  constructor(boundaries: readonly number[]) {
    this.boundaries = boundaries;
    this.buckets = new Array(boundaries.length + 1).fill(0);
  }

  /** Counts a value; one that is negative or no number is passed over, as SDKs do. */
  record(value: number): void {
    if (!(value >= 0)) return;
    this.count += 1;
    this.sum += value;
    if (value < this.min) this.min = value;
    if (value > this.max) this.max = value;
    const bucket = this.#bucketOf(value);
    this.buckets[bucket] = (this.buckets[bucket] ?? 0) + 1;
  }

  /** A boundary belongs to the bucket below it. */
  #bucketOf(value: number): number {
    const { boundaries } = this;
    let low = 0;
    let high = boundaries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (value <= (boundaries[middle] ?? Number.POSITIVE_INFINITY)) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
