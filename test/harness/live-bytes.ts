// How many bytes outside the heap are alive, garbage not counted: what a server holds for its callers at its worst moment.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

const pauseMs = 200;

export interface LiveBytes extends Disposable {
  /** The most that was alive since the start, beyond what was alive then. */
  readonly most: number;
}

export function watchLiveBytes(): LiveBytes {
  const alive = (): number => {
    collect();
    return process.memoryUsage().arrayBuffers;
  };
  const before = alive();
  let most = before;
  const look = (): void => {
    most = Math.max(most, alive());
  };
  // Collecting takes tens of milliseconds, and inflating needs hundreds of turns: most of the time is left to others.
  let timer = setTimeout(function again() {
    look();
    timer = setTimeout(again, pauseMs);
  }, pauseMs);
  return {
    get most() {
      look();
      return most - before;
    },
    [Symbol.dispose]: () => clearTimeout(timer),
  };
}
