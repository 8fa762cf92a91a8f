// How often a connection may ping. Source: gRFC A8 (client-side keepalive), "Server Enforcement".
import { performance } from "node:perf_hooks";

export interface PingPolicyOptions {
  /** The shortest time between two pings while calls are open, in milliseconds. */
  readonly minIntervalMs: number;
  /** A clock that never goes back, in milliseconds. Default: `performance.now`. */
  readonly now?: () => number;
}

/** What the connection did since the last ping. */
export interface PingMoment {
  /** Are calls open on it? */
  readonly busy: boolean;
  /** Did the server send HEADERS or DATA of a call? Clients measure bandwidth with pings then. */
  readonly reset: boolean;
}

/** Pings that came too early, before the next such ping is one too many. */
const maxStrikes = 2;
/** Without calls nobody needs to know whether the connection is alive; gRFC A8 lets such a ping pass every two hours. */
const idleIntervalMs = 7_200_000;
/** Networks deliver late, so that two pings sent in time may arrive closer together: a tenth is forgiven. */
const punctual = 0.9;

export class PingPolicy {
  readonly #minIntervalMs: number;
  readonly #now: () => number;

  constructor({ minIntervalMs, now = () => performance.now() }: PingPolicyOptions) {
    this.#minIntervalMs = minIntervalMs * punctual;
    this.#now = now;
  }

  /** The pings of one connection. */
  watch(): Pings {
    return new Pings(this.#minIntervalMs, this.#now);
  }
}

class Pings {
  readonly #minIntervalMs: number;
  readonly #now: () => number;
  #last = Number.NEGATIVE_INFINITY;
  #strikes = 0;

  constructor(minIntervalMs: number, now: () => number) {
    this.#minIntervalMs = minIntervalMs;
    this.#now = now;
  }

  /** A ping is here: is it one too many? */
  tooMany({ busy, reset }: PingMoment): boolean {
    const now = this.#now();
    const since = now - this.#last;
    this.#last = now;
    if (reset) {
      this.#strikes = 0;
      return false;
    }
    if (since >= (busy ? this.#minIntervalMs : Math.max(this.#minIntervalMs, idleIntervalMs))) {
      this.#strikes = 0;
      return false;
    }
    this.#strikes += 1;
    return /* protection: pings */ this.#strikes > maxStrikes;
  }
}

export type { Pings };
