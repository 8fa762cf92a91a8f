// What may be answered from memory about API keys that other processes change, and for how long.

import { ChangeListeners } from "../../config/change-listeners.ts";
import type { ApiKeyRecord } from "./api-key.ts";
import { recordFromJson } from "./api-key-record.ts";

/** Where the records really are. Every answer tells the version, which is another one after each change. */
export interface ApiKeySource {
  /** For errors: `redisApiKeyStore`. */
  readonly name: string;
  /** The record of this digest as JSON, undefined where there is none, and the version at the same moment. */
  find(digest: string): Promise<{ readonly record: string | undefined; readonly version: string }>;
  version(): Promise<string>;
  /** Calls `changed` when it hears of a change, and when it may have missed some. Returns what ends it. */
  watch(changed: () => void): () => void | Promise<void>;
}

/** How often the version is asked for. Changes are also pushed; this finds what a push did not say. */
const pollMs = 400;
/** How old the latest proof may be that nothing changed: a revoked key is refused within this time, whatever fails. */
const maxAgeMs = 1_000;
/** Only keys that exist are kept, so that guesses cannot push them out. */
const maxRecords = 10_000;
const maxAttempts = 3;

/** Questions are told apart by their order: two may be asked at one moment of the clock. */
interface Question {
  readonly order: number;
  readonly at: number;
}

const never: Question = { order: 0, at: Number.NEGATIVE_INFINITY };

interface Running {
  readonly timer: NodeJS.Timeout;
  readonly stopWatching: () => void | Promise<void>;
}

/**
 * A record is answered from memory while the source said, at most `maxAgeMs` ago, that its version is still the one that
 * the record was read with. Otherwise the source is asked, and what it throws is thrown: then nobody knows.
 */
export class CachedApiKeys {
  readonly #source: ApiKeySource;
  readonly #listeners = new ChangeListeners();
  /** All of them read with `#version`. */
  readonly #records: Map<string, ApiKeyRecord> = new Map();
  #version: string | undefined = undefined;
  /** The newest question that was answered with `#version`. */
  #proof: Question = never;
  /** Answers to questions of before that prove nothing. */
  #changed: Question = never;
  #questions = 0;
  /** By digest, so that one question serves all calls that wait for it. */
  readonly #loading: Map<string, Promise<ApiKeyRecord | undefined>> = new Map();
  #running: Running | undefined = undefined;
  #polling: "no" | "yes" | "and once more" = "no";

  constructor(source: ApiKeySource) {
    this.#source = source;
  }

  find(digest: string): ApiKeyRecord | undefined | Promise<ApiKeyRecord | undefined> {
    this.#start();
    const known = this.#records.get(digest);
    if (known !== undefined && this.#isProven()) return known;
    return this.#loading.get(digest) ?? this.#load(digest);
  }

  onChange(listener: () => void): () => void {
    this.#start();
    return this.#listeners.add(listener);
  }

  /** A later `find` or `onChange` starts again. */
  async close(): Promise<void> {
    const running = this.#running;
    if (running === undefined) return;
    this.#running = undefined;
    clearInterval(running.timer);
    this.#forget();
    try {
      await running.stopWatching();
    } finally {
      // Another server may use it still: what it does about this starts it again.
      this.#listeners.notify();
    }
  }

  #start(): void {
    if (this.#running !== undefined) return;
    const running = {
      timer: setInterval(() => this.#poll(), pollMs).unref(),
      stopWatching: this.#source.watch(() => {
        if (this.#running === running) this.#distrust();
      }),
    };
    this.#running = running;
    this.#poll();
  }

  #isProven(): boolean {
    return this.#proof.order > this.#changed.order && performance.now() - this.#proof.at <= maxAgeMs;
  }

  /** Something may be another than it was: nothing is answered from memory until the source said its version. */
  #distrust(): void {
    this.#changed = this.#question();
    this.#loading.clear();
    this.#poll();
  }

  async #poll(): Promise<void> {
    if (this.#polling !== "no") {
      if (this.#proof.order < this.#changed.order) this.#polling = "and once more";
      return;
    }
    try {
      do {
        this.#polling = "yes";
        const question = this.#question();
        this.#observe(await this.#source.version(), question);
      } while (this.#stillPolling() === "and once more" && this.#running !== undefined);
    } catch {
      // Calls ask the source themselves now and are told why it fails. The next poll tries again.
    } finally {
      this.#polling = "no";
    }
  }

  /** It changes while an answer is waited for. */
  #stillPolling(): "no" | "yes" | "and once more" {
    return this.#polling;
  }

  #question(): Question {
    this.#questions += 1;
    return { order: this.#questions, at: performance.now() };
  }

  /** Is this the newest that is known? Else the answer is older than another one that was different. */
  #observe(version: string, question: Question): boolean {
    if (version === this.#version) {
      if (question.order > this.#proof.order) this.#proof = question;
      return true;
    }
    if (question.order < this.#proof.order) return false;
    this.#forget();
    this.#version = version;
    this.#proof = question;
    this.#listeners.notify();
    return true;
  }

  #forget(): void {
    this.#records.clear();
    this.#loading.clear();
    this.#version = undefined;
    this.#proof = never;
  }

  #load(digest: string): Promise<ApiKeyRecord | undefined> {
    const loading = this.#ask(digest).finally(() => {
      if (this.#loading.get(digest) === loading) this.#loading.delete(digest);
    });
    this.#loading.set(digest, loading);
    return loading;
  }

  /** An answer that is known to be outdated is not given: the calls that it would let in were looked at already. */
  async #ask(digest: string): Promise<ApiKeyRecord | undefined> {
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const running = this.#running;
      const question = this.#question();
      const { record, version } = await this.#source.find(digest);
      const isLate = performance.now() - question.at > maxAgeMs;
      if (!this.#observe(version, question) || (isLate && !this.#isProven())) continue;
      if (record === undefined) return undefined;
      const parsed = recordFromJson(record, this.#source.name);
      if (this.#running === running && running !== undefined) this.#keep(digest, parsed);
      return parsed;
    }
    throw new Error(
      `${this.#source.name}: the keys change faster than they can be read, or answers take too long`,
    );
  }

  #keep(digest: string, record: ApiKeyRecord): void {
    if (this.#records.size >= maxRecords) {
      const [oldest] = this.#records.keys();
      if (oldest !== undefined) this.#records.delete(oldest);
    }
    this.#records.set(digest, record);
  }
}
