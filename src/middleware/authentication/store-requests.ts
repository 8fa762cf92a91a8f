// Questions to a store that other processes share: each has a time limit, and only so many wait at once.

export interface StoreRequestsOptions {
  /** Who is asked, for errors: `Redis`. */
  readonly store: string;
  readonly timeoutMs: number;
}

/** Callers decide how many keys are looked up at once. A store that hangs must not collect them without end. */
const maxWaiting = 1_000;

export class StoreRequests {
  readonly #store: string;
  readonly #timeoutMs: number;
  /** Those that were given up too, until the client settles them. */
  #waiting = 0;

  constructor({ store, timeoutMs }: StoreRequestsOptions) {
    this.#store = store;
    this.#timeoutMs = timeoutMs;
  }

  /** `ask` gets a signal that aborts when the time is up. */
  async send<Answer>(ask: (timeUp: AbortSignal) => Promise<Answer>): Promise<Answer> {
    if (this.#waiting >= maxWaiting)
      throw new Error(`${maxWaiting} requests wait for ${this.#store} already`);
    const abort = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const giveUp = (): void => {
        reject(new Error(`${this.#store} did not answer within ${this.#timeoutMs} ms`));
        abort.abort();
      };
      // A process that was busy for so long has the answer already, and reads it before this runs.
      timer = setTimeout(() => setImmediate(giveUp), this.#timeoutMs);
    });
    this.#waiting += 1;
    const answer = (async () => ask(abort.signal))().finally(() => {
      this.#waiting -= 1;
    });
    try {
      return await Promise.race([answer, late]);
    } finally {
      clearTimeout(timer);
    }
  }
}
