// When keys were used last, handed to the store in batches: no call waits for it, and no call fails by it.
import type { Logger } from "pino";
import type { CallContext } from "../../chain/context.ts";
import { describeError } from "../../observability/error-description.ts";
import { observed } from "../../observability/instruments.ts";
import { LogThrottle } from "../../observability/log-throttle.ts";

/** When a key was used last, in milliseconds since the epoch. */
export interface ApiKeyUse {
  readonly id: string;
  readonly at: number;
}

const batchMs = 10_000;
/** Keys beyond these are recorded when they are used again: callers decide how many keys are in use. */
const maxKeys = 10_000;
/** How long a server that shuts down waits for the last batch. */
const closeMs = 5_000;

const batches = observed("counter", "palisade.api_key.use_batches", {
  unit: "{batch}",
  description: "Batches of last uses of API keys, by what their store did with them",
});
const recorded = batches({ "palisade.result": "recorded" });
const failed = batches({ "palisade.result": "failed" });

export class ApiKeyUses {
  readonly #record: (uses: readonly ApiKeyUse[]) => Promise<void>;
  readonly #throttle = new LogThrottle({ periodMs: 60_000 });
  #uses: Map<string, number> = new Map();
  #timer: NodeJS.Timeout | undefined = undefined;
  #flushing: Promise<void> | undefined = undefined;
  /** Of a call of the latest batch. */
  #log: Logger | undefined = undefined;

  constructor(record: (uses: readonly ApiKeyUse[]) => Promise<void>) {
    this.#record = record;
  }

  note(id: string, at: number, call: Pick<CallContext, "log">): void {
    this.#keep(id, at);
    if (this.#timer !== undefined) return;
    this.#log = call.log;
    this.#arm();
  }

  /** Hands in what is left. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    let late: NodeJS.Timeout | undefined;
    const timeUp = new Promise<void>((resolve) => {
      late = setTimeout(resolve, closeMs);
    });
    const flushed = (async (): Promise<void> => {
      await this.#flushing;
      await this.#flush();
    })();
    await Promise.race([flushed, timeUp]);
    clearTimeout(late);
  }

  #keep(id: string, at: number): void {
    const known = this.#uses.get(id);
    if (known === undefined && this.#uses.size >= maxKeys) return;
    if (known === undefined || known < at) this.#uses.set(id, at);
  }

  #arm(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#tick();
    }, batchMs).unref();
  }

  #tick(): void {
    // A store that has not answered yet gets no second batch beside the first.
    if (this.#flushing !== undefined) {
      this.#arm();
      return;
    }
    this.#flush().then(() => {
      if (this.#uses.size > 0) this.#arm();
    });
  }

  #flush(): Promise<void> {
    if (this.#uses.size === 0) return Promise.resolve();
    const uses = [...this.#uses].map(([id, at]) => ({ id, at }));
    this.#uses = new Map();
    const flushing = this.#record(uses)
      .then(() => {
        recorded.value += 1;
      })
      .catch((error: unknown) => {
        failed.value += 1;
        for (const { id, at } of uses) this.#keep(id, at);
        this.#report(error, uses.length);
      })
      .finally(() => {
        this.#flushing = undefined;
      });
    this.#flushing = flushing;
    return flushing;
  }

  #report(error: unknown, keys: number): void {
    const leftOut = this.#throttle.admit("");
    if (leftOut === undefined) return;
    try {
      this.#log?.warn(
        { err: describeError(error), keys, left_out: leftOut },
        "the API key store cannot record when keys were used",
      );
    } catch {
      // A logger that throws has nobody left to tell, and this runs in a timer.
    }
  }
}
