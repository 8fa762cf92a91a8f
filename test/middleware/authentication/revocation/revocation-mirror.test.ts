// How the copy of a shared list is kept current: over a source whose answers the test decides.
import { afterEach, describe, expect, it } from "vitest";
import {
  RevocationMirror,
  type RevocationMirrorOptions,
  type RevocationPage,
  type RevocationSource,
} from "../../../../src/middleware/authentication/revocation/revocation-mirror.ts";
import type { Revocation } from "../../../../src/middleware/authentication/revocation/revocations.ts";

const tomorrow = Date.now() + 86_400_000;
const token = (name: string, ends = tomorrow): Revocation => ({ kind: "token", name, before: 0, ends });

/** A source in memory. */
class Source implements RevocationSource {
  readonly name = "test";
  generation = "one";
  reads = 0;
  watchers = 0;
  entries: { revision: number; revocation: Revocation }[] = [];
  changed: () => void = () => {};
  /** Each reading waits for it. */
  gate: Promise<void> = Promise.resolve();
  isFull = false;
  #revision = 0;

  async read(after: number, limit: number): Promise<RevocationPage> {
    this.reads += 1;
    // As it is when it is asked.
    const entries = this.entries.filter(({ revision }) => revision > after).slice(0, limit);
    const page = { generation: this.generation, revision: this.#revision, entries };
    await this.gate;
    return page;
  }

  async add(revocations: readonly Revocation[]): Promise<"stored" | "full"> {
    if (this.isFull) return "full";
    for (const revocation of revocations) {
      this.#revision += 1;
      this.entries.push({ revision: this.#revision, revocation });
    }
    return "stored";
  }

  lose(): void {
    this.entries = [];
    this.#revision = 0;
  }

  watch(changed: () => void): () => void {
    this.watchers += 1;
    this.changed = changed;
    return () => {
      this.watchers -= 1;
    };
  }
}

describe("A8 the copy of a shared list", () => {
  const opened: RevocationMirror[] = [];
  afterEach(async () => {
    for (const mirror of opened.splice(0)) await mirror.close();
  });

  function mirrorOf(source: Source, options: Partial<RevocationMirrorOptions> = {}): RevocationMirror {
    const mirror = new RevocationMirror(source, {
      maxEntries: 1_000_000,
      maxStaleMs: 3_600_000,
      pollMs: 50,
      logger: undefined,
      ...options,
    });
    opened.push(mirror);
    return mirror;
  }

  const isRevoked = async (mirror: RevocationMirror, id: string): Promise<boolean> =>
    mirror.isRevoked({ id, subject: "nobody" });

  it("A8 a token that is revoked while the first reading is waited for is refused by that check", async () => {
    const source = new Source();
    let open = (): void => {};
    source.gate = new Promise((resolve) => {
      open = resolve;
    });
    const mirror = mirrorOf(source);
    const pending = isRevoked(mirror, "one");
    mirror.add(token("one"));
    open();
    expect(await pending).toBe(true);
  });

  it("A8 one that is revoked elsewhere after the reading began is told as a change", async () => {
    const source = new Source();
    let open = (): void => {};
    source.gate = new Promise((resolve) => {
      open = resolve;
    });
    const mirror = mirrorOf(source);
    let changes = 0;
    mirror.onChange(() => changes++);
    const pending = isRevoked(mirror, "one");
    await source.add([token("one")]);
    open();
    expect(await pending).toBe(false);
    await expect.poll(() => changes).toBe(1);
    expect(mirror.isRevoked({ id: "one", subject: "x" })).toBe(true);
  });

  it("A8 nothing is answered until all pages are read", async () => {
    const source = new Source();
    await source.add(Array.from({ length: 3_500 }, (_, n) => token(`token-${n}`)));
    const mirror = mirrorOf(source, { pollMs: 60_000 });
    expect(await isRevoked(mirror, "token-3499")).toBe(true);
    expect(source.reads).toBe(4);
  });

  it("A8 a store with a lower revision, or of another generation, is read again as a whole", async () => {
    for (const generation of ["one", "two"]) {
      const source = new Source();
      await source.add([token("one"), token("two"), token("three")]);
      const mirror = mirrorOf(source);
      expect(await isRevoked(mirror, "three")).toBe(true);
      source.lose();
      source.generation = generation;
      // With another generation it has even more revisions than were read.
      await source.add(generation === "one" ? [token("new")] : [4, 5, 6, 7].map((n) => token(`new-${n}`)));
      const [first] = source.entries;
      await expect.poll(() => isRevoked(mirror, first?.revocation.name ?? "")).toBe(true);
      expect(await isRevoked(mirror, "one")).toBe(true);
      await expect
        .poll(() => source.entries.map(({ revocation }) => revocation.name))
        .toEqual(expect.arrayContaining(["one", "two", "three"]));
    }
  });

  it("A8 what has ended is not written back, and what cannot be is tried again", async () => {
    const source = new Source();
    const mirror = mirrorOf(source);
    await source.add([token("ended", Date.now() - 310_000), token("one")]);
    await expect.poll(() => isRevoked(mirror, "one")).toBe(true);
    source.lose();
    source.isFull = true;
    source.generation = "two";
    const { reads } = source;
    await expect.poll(() => source.reads).toBeGreaterThan(reads + 3);
    expect(source.entries).toEqual([]);
    source.isFull = false;
    await expect.poll(() => source.entries.map(({ revocation }) => revocation.name)).toEqual(["one"]);
  });

  it("A8 a store whose history never stays the same answers nothing", async () => {
    const source = new Source();
    await source.add(Array.from({ length: 1_500 }, (_, n) => token(`token-${n}`)));
    const read = source.read.bind(source);
    source.read = async (after, limit) => {
      source.generation += "x";
      return read(after, limit);
    };
    await expect(isRevoked(mirrorOf(source), "two")).rejects.toThrow(/the store changes while it is read/);
    expect(source.reads).toBeLessThan(10);
  });

  it("L10 a store with more entries than maxEntries is a failure, not a list that lacks some", async () => {
    const source = new Source();
    await source.add([token("one"), token("two"), token("three")]);
    const mirror = mirrorOf(source, { maxEntries: 2 });
    await expect(isRevoked(mirror, "three")).rejects.toThrow(/holds more than maxEntries/);
    await expect(isRevoked(mirror, "other")).rejects.toThrow(/holds more than maxEntries/);
    expect(await isRevoked(mirror, "one")).toBe(true);
  });

  it("L5 messages do not decide how often the store is asked", async () => {
    const source = new Source();
    const mirror = mirrorOf(source, { pollMs: 60_000 });
    await isRevoked(mirror, "one");
    const startedAt = performance.now();
    const { reads } = source;
    for (let n = 0; n < 100; n++) {
      for (let i = 0; i < 100; i++) source.changed();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await source.add([token("one")]);
    source.changed();
    await expect.poll(() => isRevoked(mirror, "one")).toBe(true);
    const allowed = 3 + (performance.now() - startedAt) / 25;
    expect(source.reads - reads).toBeLessThanOrEqual(allowed);
  });

  it("A8 a store that does not answer is asked by one poll, however many calls wait", async () => {
    const source = new Source();
    const mirror = mirrorOf(source, { pollMs: 50 });
    source.read = async () => {
      source.reads += 1;
      throw new Error("away");
    };
    const failed = await Promise.allSettled(
      Array.from({ length: 1_000 }, (_, n) => isRevoked(mirror, `token-${n}`)),
    );
    expect(failed.every(({ status }) => status === "rejected")).toBe(true);
    expect(source.reads).toBeLessThan(20);
  });

  it("A8 a store that hangs is asked once at a time", async () => {
    const source = new Source();
    source.gate = new Promise(() => {});
    const mirror = mirrorOf(source, { pollMs: 50 });
    let waited = 0;
    isRevoked(mirror, "one").catch(() => {});
    await expect
      .poll(() => {
        source.changed();
        waited += 1;
        return waited;
      })
      .toBeGreaterThan(6);
    expect(source.reads).toBe(1);
  });

  it("A8 after close the last known list serves while the store is away, and not longer than before", async () => {
    const source = new Source();
    const mirror = mirrorOf(source, { maxStaleMs: 500 });
    expect(await isRevoked(mirror, "one")).toBe(false);
    const read = source.read.bind(source);
    source.read = async () => {
      throw new Error("away");
    };
    await mirror.close();
    expect(source.watchers).toBe(0);
    await expect.poll(() => isRevoked(mirror, "one").catch(String)).toBe("Error: away");
    source.read = read;
    await expect.poll(() => isRevoked(mirror, "one").catch(String)).toBe(false);
  });
});
