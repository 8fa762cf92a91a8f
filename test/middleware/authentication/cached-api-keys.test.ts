// What is answered from memory of keys that others change, and for how long: every order of questions, answers and changes.
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { ApiKeyRecord } from "../../../src/middleware/authentication/api-key.ts";
import { type ApiKeySource, CachedApiKeys } from "../../../src/middleware/authentication/cached-api-keys.ts";
import { issueApiKey } from "../../../src/middleware/authentication/memory-api-key-store.ts";

const { record } = issueApiKey({ owner: "shop" });

/** A source whose answers are made when it is asked, and arrive when the test says so. */
class Source implements ApiKeySource {
  readonly name = "source";
  state: { readonly version: string; readonly record: ApiKeyRecord | undefined } = { version: "1", record };
  asked = 0;
  push: () => void = () => {};
  watching = 0;
  readonly #held: (() => void)[] = [];
  holding = false;
  away = false;

  find(_digest: string) {
    const { version, record: found } = this.state;
    this.asked += 1;
    return this.#answer({ version, record: found === undefined ? undefined : JSON.stringify(found) });
  }

  version() {
    return this.#answer(this.state.version);
  }

  watch(changed: () => void) {
    this.push = changed;
    this.watching += 1;
    return () => {
      this.watching -= 1;
    };
  }

  release(): void {
    this.holding = false;
    for (const arrive of this.#held.splice(0)) arrive();
  }

  revoke(): void {
    this.state = { version: String(Number(this.state.version) + 1), record: { ...record, revoked: true } };
  }

  #answer<T>(value: T): Promise<T> {
    if (this.away) return Promise.reject(new Error("away"));
    if (!this.holding) return Promise.resolve(value);
    return new Promise((resolve) => this.#held.push(() => resolve(value)));
  }
}

describe("A3 what is answered from memory of keys that others change", () => {
  let source: Source;
  let keys: CachedApiKeys;
  let changes: number;

  beforeEach(async () => {
    vi.useFakeTimers({ toFake: ["performance", "setInterval", "clearInterval"], now: 0 });
    source = new Source();
    keys = new CachedApiKeys(source);
    changes = 0;
    keys.onChange(() => changes++);
    await keys.find(record.digest);
    changes = 0;
  });
  afterEach(async () => {
    await keys.close();
    vi.useRealTimers();
  });

  const isRevoked = async (): Promise<boolean | undefined> =>
    (await keys.find(record.digest))?.revoked ?? false;
  const fromMemory = (): boolean => !(keys.find(record.digest) instanceof Promise);

  it("is a record while its version is confirmed", async () => {
    expect(fromMemory()).toBe(true);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(fromMemory()).toBe(true);
    expect(source.asked).toBe(1);
  });

  it("is nothing when the latest confirmation is older than a second", async () => {
    source.away = true;
    await vi.advanceTimersByTimeAsync(900);
    expect(fromMemory()).toBe(true);
    await vi.advanceTimersByTimeAsync(101);
    await expect(keys.find(record.digest)).rejects.toThrow("away");
    source.away = false;
    expect(await isRevoked()).toBe(false);
    expect(fromMemory()).toBe(true);
  });

  it("is nothing old once a poll saw another version, and listeners hear it", async () => {
    source.revoke();
    await vi.advanceTimersByTimeAsync(401);
    expect(changes).toBe(1);
    expect(await isRevoked()).toBe(true);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(changes).toBe(1);
  });

  it("is nothing from the moment of a push on", async () => {
    source.revoke();
    source.holding = true;
    source.push();
    expect(fromMemory()).toBe(false);
    source.release();
    expect(await isRevoked()).toBe(true);
    expect(changes).toBe(1);
  });

  it("is confirmed by a question of after the push alone", async () => {
    source.holding = true;
    await vi.advanceTimersByTimeAsync(401);
    source.revoke();
    source.push();
    // Now the answer of the poll comes that was asked before.
    source.release();
    await vi.advanceTimersByTimeAsync(0);
    expect(await isRevoked()).toBe(true);
    expect(changes).toBe(1);
  });

  it("is not an answer that is older than a change which was told to listeners", async () => {
    // So that the record has to be asked for.
    source.push();
    await vi.advanceTimersByTimeAsync(0);
    source.push();
    source.holding = true;
    const found = keys.find(record.digest);
    source.revoke();
    source.holding = false;
    await vi.advanceTimersByTimeAsync(401);
    expect(changes).toBe(1);
    source.release();
    expect((await found)?.revoked).toBe(true);
  });

  it("is not asked for once more by calls that wait for the same key", async () => {
    source.push();
    source.holding = true;
    const found = Array.from({ length: 100 }, () => keys.find(record.digest));
    source.release();
    await Promise.all(found);
    expect(source.asked).toBe(2);
  });

  it("is asked for anew by a listener that looks while an older answer is still on its way", async () => {
    source.push();
    source.holding = true;
    const early = keys.find(record.digest);
    source.revoke();
    source.push();
    source.holding = false;
    const late = keys.find(record.digest);
    source.release();
    expect((await late)?.revoked).toBe(true);
    await early;
  });

  it("is not pushed out by guesses", async () => {
    source.state = { version: "1", record: undefined };
    for (let i = 0; i < 20_000; i++) await keys.find(`guess ${i}`);
    expect(fromMemory()).toBe(true);
    expect(await isRevoked()).toBe(false);
  });

  it("is given up rather than a wrong answer where the keys change with each question", async () => {
    source.push();
    const { find } = Source.prototype;
    source.find = async (digest) => {
      const answer = await find.call(source, digest);
      source.revoke();
      await vi.advanceTimersByTimeAsync(401);
      return answer;
    };
    await expect(keys.find(record.digest)).rejects.toThrow("change faster than they can be read");
  });

  it("is no answer of more than a second ago, unless its version is confirmed since", async () => {
    source.push();
    source.holding = true;
    const found = keys.find(record.digest);
    source.revoke();
    // The polls are held up as well: nothing confirms what was answered first.
    await vi.advanceTimersByTimeAsync(1_100);
    source.release();
    expect((await found)?.revoked).toBe(true);
  });

  it("tells its listeners when it is closed, also where that fails", async () => {
    source.watch = () => () => Promise.reject(new Error("away"));
    await keys.close();
    await keys.find(record.digest);
    changes = 0;
    await expect(keys.close()).rejects.toThrow("away");
    expect(changes).toBe(1);
    source.watch = Source.prototype.watch;
  });

  it("is nothing after it was closed, and nothing is watched", async () => {
    await keys.close();
    expect(source.watching).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
    expect(fromMemory()).toBe(false);
    expect(source.watching).toBe(1);
  });

  it("is the source's failure where the record is none", async () => {
    source.state = { version: "2", record: { ...record, owner: "" } };
    source.push();
    await expect(keys.find(record.digest)).rejects.toThrow("source.owner: expected a string");
  });
});
