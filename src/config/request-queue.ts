// So many requests at once; further ones wait their turn, and not more than so many. Callers take turns: whoever has many requests
// waits behind itself.

export interface RequestQueueOptions {
  readonly maxConcurrent: number;
  readonly maxQueued: number;
}

/** No place to wait is left. */
export class QueueFull extends Error {}

interface Waiting {
  readonly caller: string;
  start(): void;
  refuse(): void;
}

export class RequestQueue {
  readonly #maxConcurrent: number;
  readonly #maxQueued: number;
  #running = 0;
  #queued = 0;
  /** By caller, whose turn comes first first; of one caller in the order in which they came. */
  readonly #waiting: Map<string, Set<Waiting>> = new Map();

  constructor({ maxConcurrent, maxQueued }: RequestQueueOptions) {
    this.#maxConcurrent = maxConcurrent;
    this.#maxQueued = maxQueued;
  }

  /**
   * Rejects with `QueueFull`, or with the signal's reason where it aborts before its turn. A `task` keeps its place until it settles.
   * `caller`: who shares one turn. Default: all do.
   */
  async run<T>(signal: AbortSignal, task: () => Promise<T>, caller = ""): Promise<T> {
    signal.throwIfAborted();
    if (this.#running < this.#maxConcurrent) this.#running += 1;
    else await this.#turn(signal, caller);
    try {
      return await task();
    } finally {
      this.#pass();
    }
  }

  #turn(signal: AbortSignal, caller: string): Promise<void> {
    if (this.#queued >= this.#maxQueued && !this.#makesRoom(caller)) return Promise.reject(new QueueFull());
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        signal.removeEventListener("abort", abort);
        this.#forget(waiting);
      };
      const abort = (): void => {
        leave();
        reject(signal.reason);
      };
      const waiting: Waiting = {
        caller,
        start: () => {
          leave();
          resolve();
        },
        refuse: () => {
          leave();
          reject(new QueueFull());
        },
      };
      const own = this.#waiting.get(caller) ?? new Set();
      this.#waiting.set(caller, own.add(waiting));
      this.#queued += 1;
      signal.addEventListener("abort", abort, { once: true });
    });
  }

  /** The newest request of whoever has the most leaves, if that is one more than `caller` will have. */
  #makesRoom(caller: string): boolean {
    let most: ReadonlySet<Waiting> = new Set();
    for (const own of this.#waiting.values()) if (own.size > most.size) most = own;
    if (most.size <= (this.#waiting.get(caller)?.size ?? 0) + 1) return false;
    [...most].at(-1)?.refuse();
    return true;
  }

  #forget(waiting: Waiting): void {
    const own = this.#waiting.get(waiting.caller);
    own?.delete(waiting);
    if (own?.size === 0) this.#waiting.delete(waiting.caller);
    this.#queued -= 1;
  }

  /** The place goes to the caller whose turn it is, and of its requests to the one that waits longest. */
  #pass(): void {
    for (const [caller, own] of this.#waiting) {
      for (const waiting of own) {
        waiting.start();
        if (this.#waiting.delete(caller) && own.size > 0) this.#waiting.set(caller, own);
        return;
      }
    }
    this.#running -= 1;
  }
}
