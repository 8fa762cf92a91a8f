// Remembers that a token's signature verified, and with which keys: never that a call may pass. Expiry, not-before, the
// certificate it is bound to, revocation and whether its keys are still believed are checked on each call by whoever asks.
import { observed } from "../../../observability/instruments.ts";
import type { KeySet } from "./key-set.ts";
import type { TokenFacts } from "./token-claims.ts";

export interface VerifiedToken extends TokenFacts {
  /** The keys, one of which verified the signature. */
  readonly keys: KeySet;
}

export interface TokenCacheOptions {
  readonly maxEntries: number;
  readonly maxAgeSec: number;
}

interface Entry<Token> {
  readonly token: Token;
  /** By the monotonic clock: a wall clock that is set back must not make an entry young again. */
  readonly verifiedAt: number;
}

const lookups = observed("counter", "palisade.token_cache.lookups", {
  unit: "{lookup}",
  description: "Lookups in the cache of verified tokens",
});
const hits = lookups({ "palisade.result": "hit" });
const misses = lookups({ "palisade.result": "miss" });

/**
 * By SHA-256 of the token. Only tokens that verified ever enter. There are two generations, each of half the entries: a token
 * enters the new one, and again with each use; once that is full it becomes the old one, and what was in the old one is
 * forgotten. So the tokens that were used last stay. One map in the order of use would be taken apart with each call: a
 * `Map` of 10,000 entries needs 15 to 100 µs where entries are taken out and put in again all the time.
 */
export class TokenCache<Token = VerifiedToken> {
  #new: Map<string, Entry<Token>> = new Map();
  #old: Map<string, Entry<Token>> = new Map();
  readonly #maxPerGeneration: number;
  readonly #maxAgeMs: number;

  constructor(options: TokenCacheOptions) {
    this.#maxPerGeneration = Math.ceil(options.maxEntries / 2);
    this.#maxAgeMs = options.maxAgeSec * 1000;
  }

  /** Was this token seen to be ours? True for an aged entry too. */
  has(digest: string): boolean {
    return this.#new.has(digest) || this.#old.has(digest);
  }

  get(digest: string): Token | undefined {
    const known = this.#new.get(digest);
    const entry = known ?? this.#old.get(digest);
    if (entry === undefined || performance.now() - entry.verifiedAt >= this.#maxAgeMs) {
      misses.value += 1;
      return undefined;
    }
    if (known === undefined) this.#put(digest, entry);
    hits.value += 1;
    return entry.token;
  }

  /** `verifiedAt`: by the monotonic clock, for what was verified some time ago. */
  set(digest: string, token: Token, verifiedAt: number = performance.now()): void {
    this.#put(digest, { token, verifiedAt });
  }

  delete(digest: string): void {
    this.#new.delete(digest);
    this.#old.delete(digest);
  }

  #put(digest: string, entry: Entry<Token>): void {
    if (this.#new.size >= this.#maxPerGeneration && !this.#new.has(digest)) {
      this.#old = this.#new;
      this.#new = new Map();
    }
    this.#new.set(digest, entry);
  }
}
