// A store of API keys that counts who asks it, and answers when the test lets it.
import type { ApiKeyRecord, ApiKeyStore } from "../../src/middleware/authentication/api-key.ts";
import { issueApiKey } from "../../src/middleware/authentication/memory-api-key-store.ts";

export class CountingStore implements ApiKeyStore {
  /** Look-ups of keys that nobody has. */
  guesses = 0;
  /** Look-ups of keys that somebody has. */
  hits = 0;
  readonly #records: Map<string, ApiKeyRecord> = new Map();
  #held: (() => void)[] | undefined = undefined;
  #away = false;

  /** A new key of role `caller`. */
  issue(owner: string): string {
    const { key, record } = issueApiKey({ owner, roles: ["caller"] });
    this.#records.set(record.digest, record);
    return key;
  }

  async find(digest: string): Promise<ApiKeyRecord | undefined> {
    const record = this.#records.get(digest);
    if (record === undefined) this.guesses += 1;
    else this.hits += 1;
    const held = this.#held;
    if (held !== undefined) await new Promise<void>((resolve) => held.push(resolve));
    else await new Promise<void>((resolve) => setTimeout(resolve, 2));
    if (this.#away) throw new Error("the store is away");
    return record;
  }

  /** From now on nobody is answered. */
  hold(): void {
    this.#held ??= [];
  }

  /** Answers whoever waits, and everybody from now on. */
  release(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const answer of held) answer();
  }

  /** From now on it fails. */
  fail(): void {
    this.#away = true;
  }

  recover(): void {
    this.#away = false;
  }
}
