// The table behind every revocation list: what is revoked, and until when that has to be remembered.
import type { RevocableToken } from "./revocation-list.ts";

/** One token or one subject that was revoked. */
export interface Revocation {
  readonly kind: "token" | "subject";
  /** The token's id, or the subject. */
  readonly name: string;
  /** Of a subject: its tokens that were issued up to this are revoked. Of a token: 0. In milliseconds since the epoch. */
  readonly before: number;
  /** When the last token that it revokes expires, in milliseconds since the epoch. */
  readonly ends: number;
}

export interface RevocationsOptions {
  /** How many entries are kept at most. Nothing is ever pushed out: what was revoked would be good again. */
  readonly maxEntries: number;
}

/** How long a token is remembered beyond its end: clocks differ, and a verifier may tolerate that up to this. */
export const beyondEndMs = 300_000;
/** Entries that ended are looked for once in this time, where entries come. */
const sweepEveryMs = 60_000;

export class Revocations {
  readonly #maxEntries: number;
  /** Until when each has to be remembered. */
  readonly #tokens: Map<string, number> = new Map();
  /** Tokens of the subject issued up to `before` are revoked; `until`: such a token has expired by then. */
  readonly #subjects: Map<string, { readonly before: number; readonly until: number }> = new Map();
  #sweptAt = 0;
  /** Before this no entry can be forgotten. */
  #firstEnd: number = Number.POSITIVE_INFINITY;

  constructor(options: RevocationsOptions) {
    this.#maxEntries = options.maxEntries;
  }

  get size(): number {
    return this.#tokens.size + this.#subjects.size;
  }

  isRevoked({ id, subject, issuedAt }: RevocableToken): boolean {
    if (id !== undefined && this.#tokens.has(id)) return true;
    const revoked = this.#subjects.get(subject);
    // One that does not say when it was issued may be an old one.
    return revoked !== undefined && !(issuedAt !== undefined && issuedAt > revoked.before);
  }

  /** False where there is no room for it. */
  add({ kind, name, before, ends }: Revocation): boolean {
    return kind === "token" ? this.addToken(name, ends) : this.addSubject(name, before, ends);
  }

  /** Is all that it revokes revoked already, for as long? */
  covers({ kind, name, before, ends }: Revocation): boolean {
    if (kind === "token") return (this.#tokens.get(name) ?? 0) >= ends + beyondEndMs;
    const known = this.#subjects.get(name);
    return known !== undefined && known.before >= before && known.until >= ends;
  }

  /** All of them, those that have ended too. */
  *[Symbol.iterator](): IterableIterator<Revocation> {
    for (const [name, until] of this.#tokens)
      yield { kind: "token", name, before: 0, ends: until - beyondEndMs };
    for (const [name, { before, until }] of this.#subjects)
      yield { kind: "subject", name, before, ends: until };
  }

  /** False where there is no room for it. */
  addToken(id: string, expiresAt: number): boolean {
    const until = expiresAt + beyondEndMs;
    const known = this.#tokens.get(id);
    if (known === undefined && !this.#hasRoom()) return false;
    this.#tokens.set(id, Math.max(until, known ?? until));
    this.#ends(until);
    return true;
  }

  /** False where there is no room for it. */
  addSubject(subject: string, before: number, until: number): boolean {
    const known = this.#subjects.get(subject);
    if (known === undefined && !this.#hasRoom()) return false;
    this.#subjects.set(subject, {
      before: Math.max(before, known?.before ?? before),
      until: Math.max(until, known?.until ?? until),
    });
    this.#ends(until);
    return true;
  }

  #hasRoom(): boolean {
    const now = Date.now();
    const isFull = this.size >= this.#maxEntries;
    const isDue = isFull || now - this.#sweptAt >= sweepEveryMs || now < this.#sweptAt;
    if (isDue && now >= this.#firstEnd) this.#sweep(now);
    return this.size < this.#maxEntries;
  }

  #sweep(now: number): void {
    this.#sweptAt = now;
    this.#firstEnd = Number.POSITIVE_INFINITY;
    for (const [id, until] of this.#tokens) {
      if (until <= now) this.#tokens.delete(id);
      else this.#ends(until);
    }
    for (const [subject, { until }] of this.#subjects) {
      if (until <= now) this.#subjects.delete(subject);
      else this.#ends(until);
    }
  }

  #ends(until: number): void {
    this.#firstEnd = Math.min(this.#firstEnd, until);
  }
}
