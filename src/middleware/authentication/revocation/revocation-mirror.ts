// A copy in memory of the revocations that several processes share: how it is kept current, and for how long it may be used.
import type { Logger } from "pino";
import { ChangeListeners } from "../../../config/change-listeners.ts";
import { describeError } from "../../../observability/error-description.ts";
import { LogThrottle } from "../../../observability/log-throttle.ts";
import type { RevocableToken } from "./revocation-list.ts";
import { beyondEndMs, type Revocation, Revocations } from "./revocations.ts";

/** What was read at one moment. */
export interface RevocationPage {
  /** Another one where what was read before may be lost: the store was restarted, emptied or replaced. */
  readonly generation: string;
  /** The newest revision that the store holds. */
  readonly revision: number;
  /** The oldest of those after the revision that was asked for. Fewer than the limit where there are no more. */
  readonly entries: readonly { readonly revision: number; readonly revocation: Revocation }[];
}

/** Where the revocations really are. Each that is added or extended has a higher revision than all before it. */
export interface RevocationSource {
  /** For errors: `redisRevocationList`. */
  readonly name: string;
  read(afterRevision: number, limit: number): Promise<RevocationPage>;
  /** Adds them, or extends those that are there. Full: none of those that are left out is there. */
  add(revocations: readonly Revocation[]): Promise<"stored" | "full">;
  /** Calls `changed` when it hears of a change, and when it may have missed some. Returns what ends it. */
  watch(changed: () => void): () => void | Promise<void>;
}

export interface RevocationMirrorOptions {
  readonly maxEntries: number;
  readonly maxStaleMs: number;
  readonly pollMs: number;
  readonly logger: Logger | undefined;
}

/** How many are read or written at once. */
const pageSize = 1_000;
/** Whoever may send messages does not decide how often the store is asked. */
const minPauseMs = 25;
/** How long a call waits for the first complete reading. */
const firstAnswerMs = 5_000;
/** How often in one poll the reading may begin anew. */
const maxRestarts = 3;

interface Running {
  readonly timer: NodeJS.Timeout;
  readonly stopWatching: () => void | Promise<void>;
  /** Was all read since it runs? */
  isComplete: boolean;
}

/**
 * Reads what is new every `pollMs`, and at once when the source says that something changed; such a message only causes the
 * reading. What is known stays known until it ends, whatever the source loses, and is written back to it.
 */
export class RevocationMirror {
  readonly #source: RevocationSource;
  readonly #options: RevocationMirrorOptions;
  readonly #revocations: Revocations;
  readonly #listeners = new ChangeListeners();
  readonly #throttle = new LogThrottle({ periodMs: 60_000 });
  #generation: string | undefined = undefined;
  #revision = 0;
  /** When the latest reading began that read everything, by the monotonic clock. */
  #currentAt = Number.NEGATIVE_INFINITY;
  /** Known here, and not in the source. */
  #lost: Revocation[] = [];
  #running: Running | undefined = undefined;
  #polling: Promise<void> | undefined = undefined;
  /** A message came while the source was asked. */
  #again = false;
  #polledAt = Number.NEGATIVE_INFINITY;
  #soon: NodeJS.Timeout | undefined = undefined;
  /** Why the latest reading failed; undefined when it did not. */
  #failure: { readonly error: unknown; readonly at: number } | undefined = undefined;
  #toldTooOld = false;
  #first: Promise<void> | undefined = undefined;

  constructor(source: RevocationSource, options: RevocationMirrorOptions) {
    this.#source = source;
    this.#options = options;
    this.#revocations = new Revocations({ maxEntries: options.maxEntries });
  }

  /** @throws {Error} where that cannot be told: the list was never read, or is too old. */
  isRevoked(token: RevocableToken): boolean | Promise<boolean> {
    const running = this.#start();
    // That is never taken back, however old it is.
    if (this.#revocations.isRevoked(token)) return true;
    if (!running.isComplete) return this.#firstAnswer().then(() => this.#revocations.isRevoked(token));
    this.#refuseTooOld();
    return false;
  }

  onChange(listener: () => void): () => void {
    this.#start();
    return this.#listeners.add(listener);
  }

  /** What this process has stored holds here at once. */
  add(revocation: Revocation): void {
    if (this.#keep(revocation)) this.#listeners.notify();
  }

  /** A later use starts again. */
  async close(): Promise<void> {
    const running = this.#running;
    if (running === undefined) return;
    this.#running = undefined;
    this.#first = undefined;
    this.#failure = undefined;
    clearInterval(running.timer);
    clearTimeout(this.#soon);
    this.#soon = undefined;
    await running.stopWatching();
    // Another server whose calls are open asks about them now, and starts it again.
    this.#listeners.notify();
  }

  #start(): Running {
    if (this.#running !== undefined) return this.#running;
    const running: Running = {
      timer: setInterval(() => this.#pollUnheard(), this.#options.pollMs).unref(),
      stopWatching: this.#source.watch(() => {
        if (this.#running === running) this.#pollSoon();
      }),
      isComplete: false,
    };
    this.#running = running;
    this.#pollUnheard();
    return running;
  }

  #firstAnswer(): Promise<void> {
    const { pollMs } = this.#options;
    if (
      this.#failure !== undefined &&
      performance.now() - this.#failure.at < pollMs &&
      this.#first === undefined
    )
      return this.#fallBack(this.#failure.error);
    this.#first ??= this.#inTime(this.#poll())
      .catch((error: unknown) => this.#fallBack(error))
      .finally(() => {
        this.#first = undefined;
      });
    return this.#first;
  }

  /** What was read before it was closed serves for as long as during any other failure. */
  async #fallBack(error: unknown): Promise<void> {
    if (this.#isTooOld()) throw error;
  }

  async #inTime(poll: Promise<void>): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const giveUp = (): void => reject(new Error(`${this.#source.name}: the list is still being read`));
      timer = setTimeout(giveUp, firstAnswerMs).unref();
    });
    try {
      await Promise.race([poll, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  #isTooOld(): boolean {
    return performance.now() - this.#currentAt > this.#options.maxStaleMs;
  }

  #refuseTooOld(): void {
    if (!this.#isTooOld()) return;
    throw new Error(
      `${this.#source.name}: the list was last read more than ${this.#options.maxStaleMs / 1000} s ago (maxStaleSec)`,
      { cause: this.#failure?.error },
    );
  }

  #pollUnheard(): void {
    this.#poll().catch(() => {
      // It was logged; the next one tries again.
    });
  }

  #pollSoon(): void {
    if (this.#polling !== undefined) {
      this.#again = true;
      return;
    }
    const pause = this.#polledAt + minPauseMs - performance.now();
    if (pause <= 0) {
      this.#pollUnheard();
      return;
    }
    this.#soon ??= setTimeout(() => {
      this.#soon = undefined;
      this.#pollUnheard();
    }, pause).unref();
  }

  #poll(): Promise<void> {
    this.#polling ??= this.#readAll().finally(() => {
      this.#polling = undefined;
      if (!this.#again) return;
      this.#again = false;
      if (this.#running !== undefined) this.#pollSoon();
    });
    return this.#polling;
  }

  async #readAll(): Promise<void> {
    const running = this.#running;
    const startedAt = performance.now();
    this.#polledAt = startedAt;
    try {
      await this.#readNew();
    } catch (error) {
      this.#failed(error);
      throw error;
    }
    this.#currentAt = startedAt;
    if (running !== undefined) running.isComplete = true;
    this.#succeeded();
    if (this.#lost.length > 0) await this.#restore();
  }

  /** Up to the newest that there was when it began. */
  async #readNew(): Promise<void> {
    let restarts = 0;
    let newest: number | undefined;
    let missing: Map<string, Revocation> | undefined;
    for (;;) {
      const asked = this.#revision;
      const { generation, revision, entries } = await this.#source.read(asked, pageSize);
      if (generation !== this.#generation || revision < asked) {
        restarts += 1;
        if (restarts > maxRestarts)
          throw new Error(`${this.#source.name}: the store changes while it is read`);
        missing = this.#all();
        this.#generation = generation;
        this.#revision = 0;
        newest = undefined;
        // What followed that revision is not what follows it now.
        if (asked > 0) continue;
      }
      newest ??= revision;
      this.#keepAll(entries, missing);
      if (entries.length < pageSize || this.#revision >= newest) break;
    }
    if (missing !== undefined) this.#lost = [...missing.values()];
  }

  #keepAll(entries: RevocationPage["entries"], missing: Map<string, Revocation> | undefined): void {
    let isNew = false;
    try {
      for (const { revision, revocation } of entries) {
        const known = missing?.get(keyOf(revocation));
        if (known !== undefined && known.before <= revocation.before && known.ends <= revocation.ends)
          missing?.delete(keyOf(revocation));
        if (revocation.ends + beyondEndMs > Date.now() && this.#keep(revocation)) isNew = true;
        this.#revision = revision;
      }
    } finally {
      if (isNew) this.#listeners.notify();
    }
  }

  /** True where it says more than was known. */
  #keep(revocation: Revocation): boolean {
    if (this.#revocations.covers(revocation)) return false;
    if (this.#revocations.add(revocation)) return true;
    throw new Error(
      `${this.#source.name}: the store holds more than maxEntries; give every instance the same, higher maxEntries`,
    );
  }

  #all(): Map<string, Revocation> {
    const all = new Map<string, Revocation>();
    for (const revocation of this.#revocations)
      if (revocation.ends + beyondEndMs > Date.now()) all.set(keyOf(revocation), revocation);
    return all;
  }

  /** Several instances may do so at once: it adds what is not there yet. What fails is tried again after the next reading. */
  async #restore(): Promise<void> {
    const count = this.#lost.length;
    try {
      while (this.#lost.length > 0) {
        if ((await this.#source.add(this.#lost.slice(-pageSize))) === "full")
          throw new Error("the store is full (maxEntries)");
        this.#lost.splice(-pageSize);
      }
      this.#options.logger?.warn(
        { list: this.#source.name, count },
        "the revocation store had lost entries; they were written back",
      );
    } catch (error) {
      const leftOut = this.#throttle.admit("restore");
      if (leftOut !== undefined)
        this.#options.logger?.error(
          { list: this.#source.name, err: describeError(error), count: this.#lost.length, left_out: leftOut },
          "the revocation store has lost entries, and they cannot be written back now",
        );
    }
  }

  #failed(error: unknown): void {
    this.#failure = { error, at: performance.now() };
    const { logger, maxStaleMs } = this.#options;
    const leftOut = this.#throttle.admit("read");
    if (leftOut !== undefined)
      logger?.warn(
        {
          list: this.#source.name,
          err: describeError(error),
          max_stale_sec: maxStaleMs / 1000,
          left_out: leftOut,
        },
        "the revocation list cannot be read; the last known list is used",
      );
    if (!this.#isTooOld() || this.#toldTooOld) return;
    this.#toldTooOld = true;
    logger?.error(
      { list: this.#source.name, err: describeError(error) },
      "the revocation list is too old; its calls end UNAVAILABLE",
    );
  }

  #succeeded(): void {
    if (this.#failure === undefined) return;
    this.#failure = undefined;
    // Else an outage that comes and goes is told each time.
    if (!this.#toldTooOld && this.#throttle.admit("read again") === undefined) return;
    this.#toldTooOld = false;
    this.#options.logger?.info({ list: this.#source.name }, "the revocation list is read again");
  }
}

function keyOf({ kind, name }: Revocation): string {
  return `${kind}:${name}`;
}
