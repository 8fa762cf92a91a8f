// The in-process limiter: counts each key in a fixed window, in bounded memory, without timers and without promises.
import type { RateLimit } from "./rate-limit-store.ts";

/**
 * Fixed windows, one for each key; at most `maxKeys` of them.
 *
 * When the table is full, the window that ends first makes room, but only among keys that still have points left: a
 * key that used them up is kept until its time is over, so that filling the table frees nobody. When every place
 * is taken by such keys, new keys share one counter.
 *
 * Nothing runs in the background: windows end by comparison with the clock that is handed in, and each new key clears
 * away a few that ended. Long blocks are numbers, not timers, so 30 days work.
 */
export class MemoryRateLimiter {
  readonly #points: number;
  readonly #windowMs: number;
  readonly #blockMs: number | undefined;
  readonly #maxKeys: number;
  readonly #entries = new Map<string, Entry>();
  /** Keys with points left, in the order in which their windows end. The only ones that may have to make room. */
  readonly #counting = new EntryList();
  /** Keys that used up exactly what they had. Nearly in order: none ends later than one window after another. */
  readonly #spent = new EntryList();
  /** Keys that went over and are refused for `blockDurationSec`, in the order in which their blocks end. */
  readonly #blocked = new EntryList();
  readonly #overflow = new Entry("");

  constructor(limit: RateLimit, maxKeys = 100_000) {
    this.#points = limit.points;
    this.#windowMs = limit.durationSec * 1000;
    this.#blockMs = limit.blockDurationSec === undefined ? undefined : limit.blockDurationSec * 1000;
    this.#maxKeys = maxKeys;
  }

  /** How many keys are held. */
  get size(): number {
    return this.#entries.size;
  }

  /**
   * Consumes `points` for `key`. Returns 0 where they were there, else for how many milliseconds (at least 1) the key
   * is refused. A refused key has used up the rest of its window. `nowMs` comes from a monotonic clock
   * (`performance.now()`), because a clock that is set back or forth would free blocked keys or hold them.
   */
  consume(key: string, points: number, nowMs: number): number {
    const entry = this.#entries.get(key) ?? this.#newEntry(key, nowMs);
    if (entry === undefined) return this.#consumeOverflow(points, nowMs);
    if (nowMs >= entry.endsAt) this.#startWindow(entry, nowMs);
    if (entry.consumed + points <= this.#points) {
      entry.consumed += points;
      if (entry.consumed === this.#points) this.#spent.append(entry);
      return 0;
    }
    if (entry.list !== this.#blocked) this.#refuse(entry, nowMs);
    return waitOf(entry, nowMs);
  }

  /** For how many milliseconds a consumption would be refused; 0 where it would not. Consumes nothing. */
  refusedFor(key: string, nowMs: number): number {
    const entry = this.#openWindow(key, nowMs);
    return entry !== undefined && entry.consumed >= this.#points ? waitOf(entry, nowMs) : 0;
  }

  /** How many points the key has left. Consumes nothing. */
  left(key: string, nowMs: number): number {
    return this.#points - (this.#openWindow(key, nowMs)?.consumed ?? 0);
  }

  /** The same for what is known of the key itself: new keys that share one counter in a full table do not count as refused. */
  blockedFor(key: string, nowMs: number): number {
    const entry = this.#entries.get(key);
    if (entry === undefined || nowMs >= entry.endsAt || entry.consumed < this.#points) return 0;
    return waitOf(entry, nowMs);
  }

  /**
   * Refuses the key for `forMs`, because another process counted it as over; no longer than it would be refused here.
   * Nothing where the table is full of keys that must stay.
   */
  block(key: string, forMs: number, nowMs: number): void {
    const entry = this.#entries.get(key) ?? this.#newEntry(key, nowMs);
    if (entry === undefined) return;
    const maxMs = Math.max(this.#windowMs, this.#blockMs ?? 0);
    entry.consumed = this.#points;
    entry.endsAt = nowMs + Math.min(forMs, maxMs);
    (this.#blockMs === undefined ? this.#spent : this.#blocked).append(entry);
  }

  /** The key consumed at least `points` in its window, because other processes counted so many. */
  raise(key: string, points: number, nowMs: number): void {
    const entry = this.#entries.get(key) ?? this.#newEntry(key, nowMs);
    if (entry === undefined) return;
    if (nowMs >= entry.endsAt) this.#startWindow(entry, nowMs);
    if (entry.consumed >= points) return;
    entry.consumed = Math.min(points, this.#points);
    if (entry.consumed === this.#points) this.#spent.append(entry);
  }

  /** What counts for the key now: its own window or, in a full table, the shared one. Undefined where neither is open. */
  #openWindow(key: string, nowMs: number): Entry | undefined {
    const entry = this.#entries.get(key) ?? (this.#hasRoom() ? undefined : this.#overflow);
    return entry !== undefined && nowMs < entry.endsAt ? entry : undefined;
  }

  #hasRoom(): boolean {
    return this.#entries.size < this.#maxKeys || this.#counting.first !== undefined;
  }

  #startWindow(entry: Entry, nowMs: number): void {
    entry.consumed = 0;
    entry.endsAt = nowMs + this.#windowMs;
    this.#counting.append(entry);
  }

  #refuse(entry: Entry, nowMs: number): void {
    entry.consumed = this.#points;
    if (this.#blockMs === undefined) {
      if (entry.list !== this.#spent) this.#spent.append(entry);
      return;
    }
    entry.endsAt = nowMs + this.#blockMs;
    this.#blocked.append(entry);
  }

  /** Undefined where the table is full of keys that must stay. */
  #newEntry(key: string, nowMs: number): Entry | undefined {
    this.#clearEnded(this.#counting, nowMs);
    this.#clearEnded(this.#spent, nowMs);
    this.#clearEnded(this.#blocked, nowMs);
    if (
      /* protection: limiter-bound */ this.#entries.size >= this.#maxKeys &&
      !this.#dropFirst(this.#counting)
    )
      return undefined;
    const entry = new Entry(key);
    this.#entries.set(key, entry);
    return entry;
  }

  /** Two for each one that comes: the table shrinks after a flood, and no call pays for the whole of it. */
  #clearEnded(list: EntryList, nowMs: number): void {
    for (let cleared = 0; cleared < 2; cleared += 1) {
      if (list.first === undefined || nowMs < list.first.endsAt) return;
      this.#dropFirst(list);
    }
  }

  #dropFirst(list: EntryList): boolean {
    const { first } = list;
    if (first === undefined) return false;
    list.remove(first);
    return this.#entries.delete(first.key);
  }

  /** All keys that find no place share these points. Never blocked for longer than a window: most are innocent. */
  #consumeOverflow(points: number, nowMs: number): number {
    const shared = this.#overflow;
    if (nowMs >= shared.endsAt) {
      shared.consumed = 0;
      shared.endsAt = nowMs + this.#windowMs;
    }
    if (shared.consumed + points > this.#points) return waitOf(shared, nowMs);
    shared.consumed += points;
    return 0;
  }
}

function waitOf(entry: Entry, nowMs: number): number {
  // The clock has fractions, and a sum of them is not exact: a hair more than 2,500 is 2,500.
  const leftMs = Math.round((entry.endsAt - nowMs) * 1000) / 1000;
  return Math.max(1, Math.ceil(leftMs));
}

/** One key's window, and its place in the list it stands in. */
class Entry {
  readonly key: string;
  consumed = 0;
  endsAt = Number.NEGATIVE_INFINITY;
  list: EntryList | undefined = undefined;
  before: Entry | undefined = undefined;
  after: Entry | undefined = undefined;

  constructor(key: string) {
    this.key = key;
  }
}

/**
 * A doubly linked list, because the first one must be found and any one removed in constant time. The order of a `Map`
 * would not do: finding its first key walks over every place that was deleted before it.
 */
class EntryList {
  first: Entry | undefined = undefined;
  #last: Entry | undefined = undefined;

  /** Puts the entry at the end, taking it out of the list it stood in. */
  append(entry: Entry): void {
    entry.list?.remove(entry);
    entry.list = this;
    entry.before = this.#last;
    if (this.#last === undefined) this.first = entry;
    else this.#last.after = entry;
    this.#last = entry;
  }

  remove(entry: Entry): void {
    if (entry.before === undefined) this.first = entry.after;
    else entry.before.after = entry.after;
    if (entry.after === undefined) this.#last = entry.before;
    else entry.after.before = entry.before;
    entry.list = undefined;
    entry.before = undefined;
    entry.after = undefined;
  }
}
