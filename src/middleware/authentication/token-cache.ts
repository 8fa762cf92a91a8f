// Remembers that a token's signature verified, and with which key: never that a call may pass. Expiry, not-before, the
// certificate it is bound to, revocation and the key's continued presence are checked on each call by whoever asks.
import { observed } from "../../observability/instruments.ts";
import type { TokenFacts } from "./token-claims.ts";
import type { VerificationKey } from "./verification-key.ts";

export interface VerifiedToken extends TokenFacts {
  /** The key that verified the signature. */
  readonly key: VerificationKey;
}

export interface TokenCacheOptions {
  readonly maxEntries: number;
  readonly maxAgeSec: number;
}

const lookups = observed("counter", "palisade.token_cache.lookups", {
  unit: "{lookup}",
  description: "Tokens looked for among those whose signature verified already",
});
const hits = lookups({ "palisade.result": "hit" });
const misses = lookups({ "palisade.result": "miss" });

/** One token, and its place in the order of use. */
class Entry {
  readonly digest: string;
  readonly token: VerifiedToken;
  /** By the monotonic clock: a wall clock that is set back must not make an entry young again. */
  readonly verifiedAt: number;
  before: Entry | undefined = undefined;
  after: Entry | undefined = undefined;

  constructor(digest: string, token: VerifiedToken, verifiedAt: number) {
    this.digest = digest;
    this.token = token;
    this.verifiedAt = verifiedAt;
  }
}

/** By SHA-256 of the token. Full, it forgets what was used longest ago. Only tokens that verified ever enter. */
export class TokenCache {
  /** Of any order: taking an entry out and putting it in again with each use would grow the table anew all the time. */
  readonly #entries: Map<string, Entry> = new Map();
  #oldest: Entry | undefined = undefined;
  #newest: Entry | undefined = undefined;
  readonly #maxEntries: number;
  readonly #maxAgeMs: number;

  constructor(options: TokenCacheOptions) {
    this.#maxEntries = options.maxEntries;
    this.#maxAgeMs = options.maxAgeSec * 1000;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Was this token seen to be ours? True for an aged entry too. */
  has(digest: string): boolean {
    return this.#entries.has(digest);
  }

  get(digest: string): VerifiedToken | undefined {
    const token = this.#fresh(digest);
    if (token === undefined) misses.value += 1;
    else hits.value += 1;
    return token;
  }

  #fresh(digest: string): VerifiedToken | undefined {
    const entry = this.#entries.get(digest);
    if (entry === undefined) return undefined;
    if (performance.now() - entry.verifiedAt >= this.#maxAgeMs) {
      this.#drop(entry);
      return undefined;
    }
    if (entry !== this.#newest) {
      this.#unlink(entry);
      this.#link(entry);
    }
    return entry.token;
  }

  set(digest: string, token: VerifiedToken): void {
    this.delete(digest);
    if (this.#entries.size >= this.#maxEntries && this.#oldest !== undefined) this.#drop(this.#oldest);
    const entry = new Entry(digest, token, performance.now());
    this.#entries.set(digest, entry);
    this.#link(entry);
  }

  delete(digest: string): void {
    const entry = this.#entries.get(digest);
    if (entry !== undefined) this.#drop(entry);
  }

  #drop(entry: Entry): void {
    this.#entries.delete(entry.digest);
    this.#unlink(entry);
  }

  /** Puts it behind the one that was used last. */
  #link(entry: Entry): void {
    entry.before = this.#newest;
    if (this.#newest === undefined) this.#oldest = entry;
    else this.#newest.after = entry;
    this.#newest = entry;
  }

  #unlink(entry: Entry): void {
    if (entry.before === undefined) this.#oldest = entry.after;
    else entry.before.after = entry.after;
    if (entry.after === undefined) this.#newest = entry.before;
    else entry.after.before = entry.before;
    entry.before = undefined;
    entry.after = undefined;
  }
}
