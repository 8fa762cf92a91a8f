// So many requests at once; further ones wait their turn, and not more than so many.

export interface RequestQueueOptions {
  readonly maxConcurrent: number;
  readonly maxQueued: number;
}

/** No place to wait is left. */
export class QueueFull extends Error {}

export class RequestQueue {
  readonly #maxConcurrent: number;
  readonly #maxQueued: number;
  #running = 0;
  /** In the order in which they came. */
  readonly #queued: Set<() => void> = new Set();

  constructor({ maxConcurrent, maxQueued }: RequestQueueOptions) {
    this.#maxConcurrent = maxConcurrent;
    this.#maxQueued = maxQueued;
  }

  /** Rejects with `QueueFull`, or with the signal's reason where it aborts before its turn. A `task` keeps its place until it settles. */
  async run<T>(signal: AbortSignal, task: () => Promise<T>): Promise<T> {
    if (this.#running < this.#maxConcurrent) this.#running += 1;
    else await this.#turn(signal);
    try {
      return await task();
    } finally {
      this.#pass();
    }
  }

  #turn(signal: AbortSignal): Promise<void> {
    if (this.#queued.size >= this.#maxQueued) return Promise.reject(new QueueFull());
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.#queued.delete(start);
        reject(signal.reason);
      };
      const start = (): void => {
        signal.removeEventListener("abort", leave);
        resolve();
      };
      this.#queued.add(start);
      signal.addEventListener("abort", leave, { once: true });
    });
  }

  /** The place goes to who waits longest. */
  #pass(): void {
    for (const start of this.#queued) {
      this.#queued.delete(start);
      start();
      return;
    }
    this.#running -= 1;
  }
}
