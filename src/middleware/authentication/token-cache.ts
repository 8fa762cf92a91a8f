// Remembers that a token's signature verified, and with which key: never that a call may pass. Expiry, not-before, the
// certificate it is bound to, revocation and the key's continued presence are checked on each call by whoever asks.
import { LateObservable } from "../../call/instruments.ts";
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

const lookups = new LateObservable("counter", "palisade.token_cache.lookups", {
  unit: "{lookup}",
  description: "Tokens looked for among those whose signature verified already",
});
const hits = lookups.tally({ "palisade.result": "hit" });
const misses = lookups.tally({ "palisade.result": "miss" });

interface Entry {
  readonly token: VerifiedToken;
  /** By the monotonic clock: a wall clock that is set back must not make an entry young again. */
  readonly verifiedAt: number;
}

/** By SHA-256 of the token. Full, it forgets what was used longest ago. Only tokens that verified ever enter. */
export class TokenCache {
  readonly #entries: Map<string, Entry> = new Map();
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
    this.#entries.delete(digest);
    if (performance.now() - entry.verifiedAt >= this.#maxAgeMs) return undefined;
    this.#entries.set(digest, entry);
    return entry.token;
  }

  set(digest: string, token: VerifiedToken): void {
    this.#entries.delete(digest);
    if (this.#entries.size >= this.#maxEntries) {
      const oldest = this.#entries.keys().next();
      if (!oldest.done) this.#entries.delete(oldest.value);
    }
    this.#entries.set(digest, { token, verifiedAt: performance.now() });
  }

  delete(digest: string): void {
    this.#entries.delete(digest);
  }
}
