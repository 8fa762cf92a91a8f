// Counts the inflaters of gzip that this process makes.
import zlib from "node:zlib";
import { vi } from "vitest";

/** How many inflaters are at work at once, at most, until it is disposed of. */
export function countInflaters(): Disposable & { readonly most: number; readonly all: number } {
  const make = zlib.createGunzip;
  let now = 0;
  let most = 0;
  let all = 0;
  const spy = vi.spyOn(zlib, "createGunzip").mockImplementation((...options) => {
    now += 1;
    all += 1;
    most = Math.max(most, now);
    return make(...options).once("end", () => {
      now -= 1;
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
