// Says a repeated problem once per period, with the count of what was left out: what unauthenticated callers cause must not fill a log.

export interface LogThrottleOptions {
  /** How long a problem that was said stays unsaid, in milliseconds. Default: 10,000. */
  readonly periodMs?: number;
  /** How many problems are told apart; those beyond share one. Default: 1,000. */
  readonly maxKeys?: number;
  /** A clock that never goes back, in milliseconds. Default: `performance.now`. */
  readonly now?: () => number;
}

interface Said {
  until: number;
  leftOut: number;
}

/**
 * @example
 * const leftOut = throttle.admit(peer.address);
 * if (leftOut !== undefined) logger.warn({ peer: peer.address, left_out: leftOut }, "TLS handshake failed");
 */
export class LogThrottle {
  readonly #periodMs: number;
  readonly #maxKeys: number;
  readonly #now: () => number;
  /** In the order in which they were last said, so that the oldest comes first. */
  readonly #said = new Map<string, Said>();
  /** What the keys beyond `maxKeys` share. */
  readonly #rest: Said = { until: Number.NEGATIVE_INFINITY, leftOut: 0 };

  constructor(options: LogThrottleOptions = {}) {
    this.#periodMs = options.periodMs ?? 10_000;
    this.#maxKeys = options.maxKeys ?? 1_000;
    this.#now = options.now ?? (() => performance.now());
  }

  /** How many problems are remembered. */
  get size(): number {
    return this.#said.size;
  }

  /** Say it now? Then how many times it was left out since it was last said; undefined: leave it out. */
  admit(key: string): number | undefined {
    const now = this.#now();
    const said = this.#said.get(key);
    if (said !== undefined && now < said.until) {
      said.leftOut += 1;
      return undefined;
    }
    if (said === undefined && !this.#hasRoom(now)) return this.#admitShared(now);
    this.#said.delete(key);
    this.#said.set(key, { until: now + this.#periodMs, leftOut: 0 });
    return said?.leftOut ?? 0;
  }

  /**
   * How many of each key were left out since it was last said or asked here; the key is undefined for those that share one.
   * Whoever says it now says it once: the counts begin anew.
   */
  takeLeftOut(): readonly (readonly [key: string | undefined, leftOut: number])[] {
    const counted: (readonly [string | undefined, Said])[] = [...this.#said, [undefined, this.#rest]];
    const left = counted.flatMap(([key, said]) => (said.leftOut > 0 ? [[key, said.leftOut] as const] : []));
    for (const [, said] of counted) said.leftOut = 0;
    return left;
  }

  /** Forgets the oldest where its period is over; what it left out goes to the shared count. */
  #hasRoom(now: number): boolean {
    if (this.#said.size < this.#maxKeys) return true;
    for (const [key, oldest] of this.#said) {
      if (now < oldest.until) return false;
      this.#rest.leftOut += oldest.leftOut;
      this.#said.delete(key);
      return true;
    }
    return false;
  }

  #admitShared(now: number): number | undefined {
    if (now < this.#rest.until) {
      this.#rest.leftOut += 1;
      return undefined;
    }
    const leftOut = this.#rest.leftOut;
    this.#rest.leftOut = 0;
    this.#rest.until = now + this.#periodMs;
    return leftOut;
  }
}
