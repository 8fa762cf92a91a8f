// Brings one sink its entries: in batches, one write at a time, at its own pace, apart from every other sink.
import type { AuditEntry } from "./audit-entry.ts";
import type { AuditFailures } from "./audit-failures.ts";
import { AuditQueue } from "./audit-queue.ts";
import type { AuditSink } from "./audit-sink.ts";

/** A batch gathers entries this long, in milliseconds: what a crash of the process can lose. */
const gatherMs = 100;
const largestBatch = 1024;
/** Pauses before the second and the third attempt, in milliseconds. */
const retryPausesMs: readonly number[] = [100, 1_000];
/** After this long without an answer a write is reported, in milliseconds. */
const hangsAfterMs = 10_000;

export class SinkWriter {
  readonly #sink: AuditSink;
  readonly #queue: AuditQueue;
  readonly #failures: AuditFailures;
  #timer: NodeJS.Timeout | undefined = undefined;
  #run: Promise<void> | undefined = undefined;
  #inFlight: readonly AuditEntry[] = [];
  /** Ends the pause before a retry early. */
  #endPause: (() => void) | undefined = undefined;
  #closing: Promise<void> | undefined = undefined;
  #closed = false;

  constructor(sink: AuditSink, queueLimit: number, failures: AuditFailures) {
    this.#sink = sink;
    this.#queue = new AuditQueue(queueLimit);
    this.#failures = failures;
  }

  /** Takes an entry. Never throws, never waits. */
  add(entry: AuditEntry): void {
    if (this.#closed) this.#failures.dropped("closed", [entry]);
    else if (!this.#queue.add(entry)) this.#failures.dropped("queue_full", [entry]);
    else if (this.#run === undefined) this.#startSoon();
  }

  #startSoon(): void {
    if (this.#queue.size >= largestBatch) this.#start();
    else this.#timer ??= setTimeout(() => this.#start(), gatherMs).unref();
  }

  /** Settles when everything that was added before was written or given up. Never rejects. */
  flush(): Promise<void> {
    return this.#start();
  }

  /** Writes the rest for at most `withinMs`, then closes the sink, within the same time again. Never rejects. */
  close(withinMs: number): Promise<void> {
    this.#closing ??= this.#close(withinMs);
    return this.#closing;
  }

  async #close(withinMs: number): Promise<void> {
    // Calls that end while the rest is written are still taken.
    await within(withinMs, this.#start());
    this.#closed = true;
    const lost = [...this.#inFlight];
    while (this.#queue.size > 0) lost.push(...this.#queue.take(largestBatch));
    if (lost.length > 0) this.#failures.dropped("closed", lost);
    this.#endPause?.();
    await within(withinMs, this.#closeSink());
    this.#failures.flush();
  }

  async #closeSink(): Promise<void> {
    try {
      await this.#sink.close?.();
    } catch (error) {
      this.#failures.failed("closed", error);
    }
  }

  #start(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#run === undefined && this.#queue.size > 0) this.#run = this.#writeAll();
    return this.#run ?? Promise.resolve();
  }

  async #writeAll(): Promise<void> {
    while (this.#queue.size > 0) {
      this.#inFlight = this.#queue.take(largestBatch);
      await this.#writeBatch(this.#inFlight);
      this.#inFlight = [];
    }
    // In the same turn as the last look at the queue: an entry that comes after it starts the next run.
    this.#run = undefined;
  }

  async #writeBatch(batch: readonly AuditEntry[]): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      const failure = await this.#attempt(batch);
      if (failure === undefined || this.#closed) return;
      const pauseMs = retryPausesMs[attempt];
      if (pauseMs === undefined) {
        this.#failures.dropped("write_failed", batch, failure.error);
        return;
      }
      await this.#pause(pauseMs);
      if (this.#closed) return;
    }
  }

  /** Undefined where the batch was written. */
  async #attempt(batch: readonly AuditEntry[]): Promise<{ readonly error: unknown } | undefined> {
    const hangs = setTimeout(() => this.#failures.failed("write_hangs"), hangsAfterMs).unref();
    try {
      await this.#sink.write(batch);
      return undefined;
    } catch (error) {
      return { error };
    } finally {
      clearTimeout(hangs);
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms).unref();
      this.#endPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** Waits for the end of `work`, but no longer than `ms`. The timer holds the process: somebody awaits a shutdown. */
async function within(ms: number, work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([work, timeout]);
  clearTimeout(timer);
}
