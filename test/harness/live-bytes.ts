// How many bytes outside the heap are alive, garbage not counted: what a server holds for its callers at its worst moment.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

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
  const timer = setInterval(look, 10);
  return {
    get most() {
      look();
      return most - before;
    },
    [Symbol.dispose]: () => clearInterval(timer),
  };
}
