// The arithmetic behind every verdict of the benchmark.
import { describe, expect, it } from "vitest";
import {
  type Bar,
  barHolds,
  bootstrapMedian,
  type Interval,
  median,
  percentile,
  ratios,
  seededRandom,
  shuffled,
} from "../../bench/statistics.ts";

const interval = (lower: number, upper: number): Interval => ({ median: (lower + upper) / 2, lower, upper });

describe("medians and percentiles", () => {
  it.each([
    [[3], 3],
    [[4, 1], 2.5],
    [[9, 1, 5], 5],
    // Sorted as numbers, not as text.
    [[10, 9, 2, 100], 9.5],
  ])("the median of %j is %d", (values, expected) => {
    expect(median(values)).toBe(expected);
  });

  it("nothing has no median", () => {
    expect(() => median([])).toThrow("no values");
  });

  it.each([
    [0.5, 50],
    [0.99, 99],
    [0.999, 100],
    [0, 1],
    [1, 100],
  ])("of 1 to 100, a share of %d lies below or at %d", (share, expected) => {
    expect(
      percentile(
        Float64Array.from({ length: 100 }, (_, at) => at + 1),
        share,
      ),
    ).toBe(expected);
  });
});

describe("ratios", () => {
  it("are taken round by round, so that a slow round of both cancels out", () => {
    expect(ratios([10, 200, 30], [10, 100, 60])).toEqual([1, 2, 0.5]);
  });

  it("cannot be taken of rounds that do not match", () => {
    expect(() => ratios([1], [1, 2])).toThrow("1 rounds cannot be compared with 2");
  });
});

describe("the bootstrap", () => {
  const rounds = [0.9, 1.1, 1, 1.05, 0.95, 1.2, 0.8, 1.02, 0.98, 1, 1.3, 0.7, 1.01, 0.99];

  it("brings the same interval for the same seed, and around the median", () => {
    const first = bootstrapMedian(rounds, { seed: 7 });
    expect(bootstrapMedian(rounds, { seed: 7 })).toEqual(first);
    expect(first.median).toBe(1);
    expect(first.lower).toBeLessThan(1);
    expect(first.upper).toBeGreaterThan(1);
  });

  // The median lies between the 3rd and the 12th of 14 values with 98.7 % confidence, and between the 4th and the 11th
  // with 94.3 % (binomial): the interval's ends are between these.
  it("agrees with the order statistics of the binomial distribution", () => {
    const { lower, upper } = bootstrapMedian(
      Array.from({ length: 14 }, (_, at) => at + 1),
      { resamples: 10_000 },
    );
    expect(lower).toBeGreaterThanOrEqual(3);
    expect(lower).toBeLessThanOrEqual(5);
    expect(upper).toBeGreaterThanOrEqual(10);
    expect(upper).toBeLessThanOrEqual(12);
  });

  it("has no width where every round says the same", () => {
    expect(bootstrapMedian([2, 2, 2])).toEqual({ median: 2, lower: 2, upper: 2 });
  });
});

describe("a bar", () => {
  const noise = interval(0.95, 1.05); // 0.05 to each side
  it.each<[Bar, Interval, Interval, boolean]>([
    [{ atMost: 1 }, interval(0.8, 0.9), noise, true],
    [{ atMost: 1 }, interval(0.8, 1.04), noise, true],
    [{ atMost: 1 }, interval(0.8, 1.06), noise, false],
    // Quiet machine, no allowance.
    [{ atMost: 1 }, interval(0.8, 1.001), interval(1, 1), false],
    // A lucky run of bare against bare moves no bar: only the width counts.
    [{ atMost: 1 }, interval(0.8, 1.06), interval(1.15, 1.25), false],
    [{ atLeast: 2.5 }, interval(2.6, 3), noise, true],
    [{ atLeast: 2.5 }, interval(2.46, 3), noise, true],
    [{ atLeast: 2.5 }, interval(2.44, 3), noise, false],
  ])("%j with the ratio %j and the noise %j holds: %s", (bar, ratio, seen, holds) => {
    expect(barHolds(bar, ratio, seen)).toBe(holds);
  });
});

describe("the order of turns", () => {
  it("holds everybody once, and differs from round to round, alike for the same seed", () => {
    const names = ["a", "b", "c", "d", "e", "f"];
    const orders = (seed: number): readonly (readonly string[])[] => {
      const random = seededRandom(seed);
      return [shuffled(names, random), shuffled(names, random), shuffled(names, random)];
    };
    const first = orders(1);
    for (const order of first) expect([...order].sort()).toEqual(names);
    expect(new Set(first.map((order) => order.join(""))).size).toBe(3);
    expect(orders(1)).toEqual(first);
    expect(orders(2)).not.toEqual(first);
  });
});
