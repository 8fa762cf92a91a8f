// Counts the inflaters of gzip that this process makes.
import zlib from "node:zlib";
import { vi } from "vitest";

/** How many inflaters are at work at once, at most, until it is disposed of. */
export function countInflaters(): Disposable & { readonly most: number; readonly all: number } {
  const gunzip = zlib.gunzip as (...given: unknown[]) => void;
  let now = 0;
  let most = 0;
  let all = 0;
  const spy = vi.spyOn(zlib, "gunzip").mockImplementation((...given: unknown[]) => {
    now += 1;
    all += 1;
    most = Math.max(most, now);
    const done = given.pop() as (...outcome: unknown[]) => void;
    gunzip(...given, (...outcome: unknown[]) => {
      now -= 1;
      done(...outcome);
    });
  });
  return {
    get most() {
      return most;
    },
    get all() {
      return all;
    },
    [Symbol.dispose]() {
      spy.mockRestore();
    },
  };
}
