/**
 * Who holds how much of what is shared out, and who holds most: each question is answered in constant time, so that a
 * flood of newcomers makes none of them costly. It holds what was added and not removed, and nothing else.
 */
export class Holders<Key, Item> {
  readonly #items: Map<Key, Set<Item>> = new Map();
  /** The holders of so many items, by that number. */
  readonly #byCount: Map<number, Set<Key>> = new Map();
  /** The largest number that somebody holds. One item more or less changes it by one. */
  #most = 0;
  #size = 0;

  /** How many items are held. */
  get size(): number {
    return this.#size;
  }

  has(key: Key, item: Item): boolean {
    return this.#items.get(key)?.has(item) === true;
  }

  countOf(key: Key): number {
    return this.#items.get(key)?.size ?? 0;
  }

  add(key: Key, item: Item): void {
    const items = this.#items.get(key) ?? new Set();
    if (items.has(item)) return;
    this.#items.set(key, items.add(item));
    this.#size += 1;
    this.#moved(key, items.size - 1, items.size);
    this.#most = Math.max(this.#most, items.size);
  }

  remove(key: Key, item: Item): void {
    const items = this.#items.get(key);
    if (items === undefined || !items.delete(item)) return;
    this.#size -= 1;
    this.#moved(key, items.size + 1, items.size);
    if (!this.#byCount.has(this.#most)) this.#most -= 1;
    if (items.size === 0) this.#items.delete(key);
  }

  /** Of one holder, what it holds longest. */
  oldestOf(key: Key): Item | undefined {
    for (const item of this.#items.get(key) ?? []) return item;
    return undefined;
  }

  /** Who holds most, where anybody holds anything. Of several, the one that has held so many longest. */
  greediest(): { readonly key: Key; readonly count: number } | undefined {
    for (const key of this.#byCount.get(this.#most) ?? []) return { key, count: this.#most };
    return undefined;
  }

  #moved(key: Key, from: number, to: number): void {
    const before = this.#byCount.get(from);
    before?.delete(key);
    if (before?.size === 0) this.#byCount.delete(from);
    if (to === 0) return;
    const after = this.#byCount.get(to) ?? new Set();
    this.#byCount.set(to, after.add(key));
  }
}
