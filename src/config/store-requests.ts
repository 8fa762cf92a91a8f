// Questions to a store that other processes share: each has a time limit, and only so many are asked at once.
import { QueueFull, RequestQueue } from "./request-queue.ts";

export interface StoreRequestsOptions {
  /** Who is asked, for errors: `Redis`. */
  readonly store: string;
  readonly timeoutMs: number;
}

/** Callers decide how many keys are looked up at once. A store that hangs must not collect them without end. */
const maxQueued = 1_000;
/** Beyond what one connection or a usual pool is kept busy with, those that come later would only wait somewhere else. */
const maxConcurrent = 32;
/** Of those that do not wait for callers' look-ups: what every instance asks from time to time. */
const maxConcurrentAhead = 8;

export class StoreRequests {
  readonly #store: string;
  readonly #timeoutMs: number;
  readonly #queue = new RequestQueue({ maxConcurrent, maxQueued });
  readonly #ahead = new RequestQueue({ maxConcurrent: maxConcurrentAhead, maxQueued: 0 });

  constructor({ store, timeoutMs }: StoreRequestsOptions) {
    this.#store = store;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Waits its turn. `ask` gets a signal that aborts when the time is up; until the client settles what was given up, it keeps its
   * place.
   */
  send<Answer>(ask: (timeUp: AbortSignal) => Promise<Answer>): Promise<Answer> {
    return this.#send(this.#queue, ask);
  }

  /** Does not wait for what `send` sends: guesses of many callers hold up no question that good keys depend on. */
  sendAhead<Answer>(ask: (timeUp: AbortSignal) => Promise<Answer>): Promise<Answer> {
    return this.#send(this.#ahead, ask);
  }

  async #send<Answer>(queue: RequestQueue, ask: (timeUp: AbortSignal) => Promise<Answer>): Promise<Answer> {
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
    try {
      return await Promise.race([queue.run(abort.signal, () => ask(abort.signal)), late]);
    } catch (error) {
      if (error instanceof QueueFull) throw new Error(`too many requests wait for ${this.#store} already`);
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }
}
