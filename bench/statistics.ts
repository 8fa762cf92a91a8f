// The arithmetic of the instrument: medians with their bootstrap intervals, ratios round by round, and when a bar holds.

/** A median and the interval in which it lies with 95 % confidence. */
export interface Interval {
  readonly median: number;
  readonly lower: number;
  readonly upper: number;
}

/** Numbers in [0, 1). The same seed brings the same numbers, so that a report can be computed again from its rounds. */
export type Random = () => number;

/** Mulberry32: small, fast, and even enough for choosing rounds. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A copy in random order (Fisher and Yates). */
export function shuffled<T>(items: readonly T[], random: Random): readonly T[] {
  const left = [...items];
  const order: T[] = [];
  while (left.length > 0) order.push(...left.splice(Math.floor(random() * left.length), 1));
  return order;
}

/** @throws Error where there is nothing to take the median of. */
export function median(values: readonly number[]): number {
  return medianOfSorted([...values].sort((a, b) => a - b));
}

function medianOfSorted(sorted: ArrayLike<number>): number {
  const upper = sorted[sorted.length >> 1];
  const lower = sorted[(sorted.length - 1) >> 1];
  if (upper === undefined || lower === undefined) throw new Error("no values to take the median of");
  return (lower + upper) / 2;
}

/** The value below which `share` (0 to 1) of the sorted values lie: the nearest rank. */
export function percentile(sorted: ArrayLike<number>, share: number): number {
  const value = sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))];
  if (value === undefined) throw new Error("no values to take a percentile of");
  return value;
}

export interface BootstrapOptions {
  /** Default: 10,000. */
  readonly resamples?: number;
  /** Default: 1. */
  readonly seed?: number;
}

/** The median, with the middle 95 % of the medians of resamples (Efron's percentile bootstrap). */
export function bootstrapMedian(
  values: readonly number[],
  { resamples = 10_000, seed = 1 }: BootstrapOptions = {},
): Interval {
  const random = seededRandom(seed);
  const medians = new Float64Array(resamples);
  const drawn = new Float64Array(values.length);
  for (let resample = 0; resample < resamples; resample += 1) {
    for (let at = 0; at < drawn.length; at += 1) {
      drawn[at] = values[Math.floor(random() * values.length)] ?? Number.NaN;
    }
    medians[resample] = medianOfSorted(drawn.sort());
  }
  medians.sort();
  return { median: median(values), lower: percentile(medians, 0.025), upper: percentile(medians, 0.975) };
}

/** Each round's value divided by that of its reference in the same round: what slowed down both cancels out. */
export function ratios(values: readonly number[], reference: readonly number[]): readonly number[] {
  if (values.length !== reference.length) {
    throw new Error(`${values.length} rounds cannot be compared with ${reference.length}`);
  }
  return values.map((value, round) => value / (reference[round] ?? Number.NaN));
}

/** What a ratio must reach. */
export type Bar = { readonly atMost: number } | { readonly atLeast: number };

/**
 * Does the bar hold? The ratio's interval must lie on the right side of the bar, widened by half the width of the interval
 * of bare against bare from the same rounds: `upper <= atMost + half`, or `lower >= atLeast - half`. Two servers that are
 * the same program cannot be told apart any better than that, so neither can two others. Only the width counts, not where
 * the interval of bare against bare lies: a lucky run of it must not move the bar.
 */
export function barHolds(bar: Bar, ratio: Interval, noise: Interval): boolean {
  const half = (noise.upper - noise.lower) / 2;
  return "atMost" in bar ? ratio.upper <= bar.atMost + half : ratio.lower >= bar.atLeast - half;
}
