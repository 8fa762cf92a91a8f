import { describe, expect, it } from "vitest";
import { LogThrottle } from "../../src/observability/log-throttle.ts";

function throttleAt(maxKeys = 1_000): { throttle: LogThrottle; at(ms: number): void } {
  let time = 0;
  return {
    throttle: new LogThrottle({ periodMs: 100, maxKeys, now: () => time }),
    at(ms) {
      time = ms;
    },
  };
}

describe("LogThrottle", () => {
  it("C8 says a problem once per period, then how often it was left out", () => {
    const { throttle, at } = throttleAt();
    expect(throttle.admit("a")).toBe(0);
    expect(throttle.admit("a")).toBeUndefined();
    at(99);
    expect(throttle.admit("a")).toBeUndefined();
    at(100);
    expect(throttle.admit("a")).toBe(2);
    at(150);
    expect(throttle.admit("a")).toBeUndefined();
    at(1_000);
    expect(throttle.admit("a")).toBe(1);
    at(2_000);
    expect(throttle.admit("a")).toBe(0);
  });

  it("C8 tells problems apart", () => {
    const { throttle } = throttleAt();
    expect(throttle.admit("a")).toBe(0);
    expect(throttle.admit("b")).toBe(0);
    expect(throttle.admit("a")).toBeUndefined();
  });

  it("L10 keeps a bounded number of keys, and those beyond share one line per period", () => {
    const { throttle, at } = throttleAt(3);
    for (const key of ["a", "b", "c"]) expect(throttle.admit(key)).toBe(0);
    expect(throttle.admit("d")).toBe(0);
    for (let i = 0; i < 1_000; i++) expect(throttle.admit(`flood ${i}`)).toBeUndefined();
    expect(throttle.size).toBe(3);
    at(50);
    expect(throttle.admit("a")).toBeUndefined();
  });

  it("L10 makes room for new keys when old ones are over, and loses no count", () => {
    const { throttle, at } = throttleAt(2);
    throttle.admit("a");
    throttle.admit("a");
    at(50);
    throttle.admit("b");
    at(120);
    expect(throttle.admit("c")).toBe(0);
    expect(throttle.admit("d")).toBe(1);
    expect(throttle.size).toBe(2);
  });
});
