// Entries that wait for a sink, in two lanes of bounded length. A flood of callers without identity is counted
// together instead of queued, and can neither fill the memory nor push out an entry about an identified caller.
import { type AuditEntry, callsIn, laneOf } from "./audit-entry.ts";

/** Calls that differ in nothing that matters in a flood. */
interface Flood {
  /** The last of them: its id finds one of the log lines. */
  last: AuditEntry;
  readonly firstTime: string;
  count: number;
}

export class AuditQueue {
  readonly #limit: number;
  /** Half of the anonymous lane is for entries, half for counts of them. */
  readonly #anonymousLimit: number;
  readonly #floodLimit: number;
  #identified: AuditEntry[] = [];
  #anonymous: AuditEntry[] = [];
  readonly #floods = new Map<string, Flood>();

  /** `limit`: the length of each lane, in entries. */
  constructor(limit: number) {
    this.#limit = limit;
    this.#anonymousLimit = Math.ceil(limit / 2);
    this.#floodLimit = Math.floor(limit / 2);
  }

  /** How many entries wait. */
  get size(): number {
    return this.#identified.length + this.#anonymous.length + this.#floods.size;
  }

  /** False where the entry was dropped: an identified caller's, its lane being full. */
  add(entry: AuditEntry): boolean {
    if (laneOf(entry) === "identified") {
      if (this.#identified.length >= this.#limit) return false;
      this.#identified.push(entry);
      return true;
    }
    // Once counting has begun it goes on until the lane was worked off, so that the lane does get worked off.
    if (this.#floods.size > 0 || this.#anonymous.length >= this.#anonymousLimit) this.#countTogether(entry);
    else this.#anonymous.push(entry);
    return true;
  }

  /** Takes the next entries, at most `most` of them: identified callers first, counts of floods last. */
  take(most: number): AuditEntry[] {
    const batch = this.#identified.splice(0, most);
    if (batch.length < most) batch.push(...this.#anonymous.splice(0, most - batch.length));
    for (const [key, flood] of this.#floods) {
      if (batch.length >= most) break;
      this.#floods.delete(key);
      batch.push(floodEntry(flood));
    }
    return batch;
  }

  #countTogether(entry: AuditEntry): void {
    const { method, status, decision, rule, peer } = entry;
    const key = JSON.stringify([method, status, decision, rule, peer]);
    const flood = this.#floods.get(key);
    if (flood !== undefined || this.#floods.size < this.#floodLimit) {
      this.#floods.set(key, withOneMore(flood, entry));
      return;
    }
    // The table is full of callers who vary what they can. What is left to tell apart is ours: status and decision.
    const restKey = JSON.stringify([status, decision]);
    const rest = { ...entry, caller: null, method: "other", rule: "other", peer: "other" };
    this.#floods.set(restKey, withOneMore(this.#floods.get(restKey), rest));
  }
}

function withOneMore(flood: Flood | undefined, entry: AuditEntry): Flood {
  if (flood === undefined)
    return { last: entry, firstTime: entry.firstTime ?? entry.time, count: callsIn(entry) };
  flood.last = entry;
  flood.count += callsIn(entry);
  return flood;
}

function floodEntry({ last, firstTime, count }: Flood): AuditEntry {
  return count === 1 ? last : { ...last, count, firstTime, lastTime: last.time };
}
