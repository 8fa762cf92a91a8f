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

interface Entry {
  readonly token: VerifiedToken;
  /** By the monotonic clock: a wall clock that is set back must not make an entry young again. */
  readonly verifiedAt: number;
}

const lookups = observed("counter", "palisade.token_cache.lookups", {
  unit: "{lookup}",
  description: "Tokens looked for among those whose signature verified already",
});
const hits = lookups({ "palisade.result": "hit" });
const misses = lookups({ "palisade.result": "miss" });

/** By SHA-256 of the token. Full, it forgets what was used longest ago. Only tokens that verified ever enter. */
export class TokenCache {
  /** In the order of use, the newest last. */
  readonly #entries: Map<string, Entry> = new Map();
  readonly #maxEntries: number;
  readonly #maxAgeMs: number;

  constructor(options: TokenCacheOptions) {
    this.#maxEntries = options.maxEntries;
    this.#maxAgeMs = options.maxAgeSec * 1000;
  }

  /** Was this token seen to be ours? True for an aged entry too. */
  has(digest: string): boolean {
    return this.#entries.has(digest);
  }

  get(digest: string): VerifiedToken | undefined {
    const entry = this.#entries.get(digest);
    if (entry !== undefined) this.#entries.delete(digest);
    if (entry === undefined || performance.now() - entry.verifiedAt >= this.#maxAgeMs) {
      misses.value += 1;
      return undefined;
    }
    this.#entries.set(digest, entry);
    hits.value += 1;
    return entry.token;
  }

  set(digest: string, token: VerifiedToken): void {
    this.#entries.delete(digest);
    const [oldest] = this.#entries.size < this.#maxEntries ? [] : this.#entries.keys();
    if (oldest !== undefined) this.#entries.delete(oldest);
    this.#entries.set(digest, { token, verifiedAt: performance.now() });
  }

  delete(digest: string): void {
    this.#entries.delete(digest);
  }
}
