/**
 * Refuses an address before TLS for 10 s where it stays far over its rate limit: what would be refused anyway is refused
 * where it costs least. Innocent callers may share the address (a NAT), so
 * - only calls that the peer's own limits refused are counted, and only where the peer was told by its address: what one
 *   client certificate does is never held against its address;
 * - an address from which somebody was verified in the last minute is not refused, whatever else comes from it: an
 *   attacker there has its limit as before;
 * - it takes three windows in a row, each with five times as many refused calls as the limit admits. One who is twice over,
 *   or comes with one burst, does not get there; and of those who share the address of one who does, five calls in six are
 *   refused already;
 * - the refusal ends by itself; the next one takes three windows again.
 *
 * Configured proxies, Unix sockets and plaintext servers (a sidecar, or this machine) stand for many callers and are never
 * refused. Open connections of a refused address stay; one ends when another ten of its calls were refused meanwhile.
 */
import type { CallContext } from "../chain/context.ts";
import type { Middleware, Outcome } from "../chain/middleware.ts";
import type { Peer } from "../grpc/peer.ts";
import type { RateLimit } from "../middleware/rate-limit/rate-limit-store.ts";

export interface FloodingAddressesOptions {
  /** Of one peer. */
  readonly limit: RateLimit;
  /** Under which key an address is counted; undefined where it stands for many callers. */
  readonly keyOf: (address: string) => string | undefined;
  /** Ends the connection whose calls have this peer. */
  readonly endConnection: (peer: Peer, detail: string) => void;
  /** A clock that never goes back, in milliseconds. Default: `performance.now`. */
  readonly now?: () => number;
}

const farOver = 5;
/** Fewer cost nothing, however low the limit. */
const minRefused = 100;
const windowsInARow = 3;
const refusedMs = 10_000;
const trustedMs = 60_000;
const refusedOnOpenConnection = 10;
/** Addresses that are counted at once, and that are trusted at once. Whoever finds no place is counted in a later window. */
const maxAddresses = 10_000;
/** How often a connection's verified calls are noted. */
const notedEveryMs = 1_000;

/** The middleware whose refusals say that the peer comes too often. */
const throttles: ReadonlySet<string> = new Set(["peer-rate-limit", "failed-authentication"]);

const detail = "five times over its limit, three times in a row: refused for 10 s";

interface Address {
  refusedCalls: number;
  windowsOver: number;
  refusedUntil: number;
}

export class FloodingAddresses {
  readonly #options: FloodingAddressesOptions;
  readonly #windowMs: number;
  readonly #maxRefused: number;
  readonly #now: () => number;
  readonly #addresses: Map<string, Address> = new Map();
  /** Until when an address is not refused, because somebody was verified from it; the one noted last at the end. */
  readonly #trustedUntil: Map<string, number> = new Map();
  /** When verified calls of a connection were noted last. */
  readonly #noted: WeakMap<Peer, number> = new WeakMap();
  /** Calls refused on a connection since its address is. */
  readonly #ending: WeakMap<Peer, { readonly until: number; calls: number }> = new WeakMap();
  #windowEnds = Number.NEGATIVE_INFINITY;

  constructor(options: FloodingAddressesOptions) {
    const { points, durationSec } = options.limit;
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    // A long window says little of what is going on now, a short one of what stays.
    this.#windowMs = Math.min(Math.max(durationSec * 1000, 1000), 10_000);
    const pointsInWindow = points * Math.max(1, this.#windowMs / (durationSec * 1000));
    this.#maxRefused = Math.max(farOver * pointsInWindow, minRefused);
  }

  /** How many addresses are counted. */
  get size(): number {
    return this.#addresses.size;
  }

  /** Why an address is refused now; undefined where it is not. */
  refuse(address: string): string | undefined {
    if (this.#addresses.size === 0) return undefined;
    const known = this.#find(address);
    return known !== undefined && this.#now() < known.refusedUntil ? detail : undefined;
  }

  /** Counts for the addresses what happens to their calls. */
  readonly middleware: Middleware = Object.freeze<Middleware>({
    name: "flooding-addresses",
    observes: true,
    // Before a handler starts, and with each message that comes later: a stream may be open for an hour.
    confirm: (call) => this.#noteVerified(call),
    onEnd: (call, outcome) => this.#noteEnd(call, outcome),
  });

  #noteEnd(call: CallContext, { endedBy, layer }: Outcome): void {
    const { peer } = call;
    if (peer.forwardedBy !== undefined) return;
    if (isVerified(call)) {
      this.#noteVerified(call);
      return;
    }
    const refused = endedBy === "layer" && throttles.has(layer ?? "");
    if (!refused && this.#addresses.size === 0) return;
    const now = this.#now();
    if (now >= this.#windowEnds) this.#beginWindow(now);
    if (refused) this.#count(peer, now);
  }

  #noteVerified(call: CallContext): void {
    const { peer } = call;
    if (peer.forwardedBy !== undefined || !isVerified(call)) return;
    const now = this.#now();
    const notedAt = this.#noted.get(peer);
    if (notedAt !== undefined && now - notedAt < notedEveryMs) return;
    this.#noted.set(peer, now);
    const key = this.#options.keyOf(peer.address);
    if (key === undefined) return;
    this.#trustedUntil.delete(key);
    if (this.#trustedUntil.size >= maxAddresses) {
      const [oldest = key] = this.#trustedUntil.keys();
      this.#trustedUntil.delete(oldest);
    }
    this.#trustedUntil.set(key, now + trustedMs);
  }

  #count(peer: Peer, now: number): void {
    const key = this.#options.keyOf(peer.address);
    if (key === undefined) return;
    let address = this.#addresses.get(key);
    if (address === undefined) {
      if (this.#addresses.size >= maxAddresses) return;
      address = { refusedCalls: 0, windowsOver: 0, refusedUntil: 0 };
      this.#addresses.set(key, address);
    }
    if (now < address.refusedUntil) this.#countOnConnection(peer, address.refusedUntil);
    address.refusedCalls += 1;
    if (address.refusedCalls !== Math.ceil(this.#maxRefused)) return;
    address.windowsOver += 1;
    if (address.windowsOver < windowsInARow || now < (this.#trustedUntil.get(key) ?? 0)) return;
    address.windowsOver = 0;
    address.refusedUntil = now + refusedMs;
  }

  #countOnConnection(peer: Peer, until: number): void {
    let ending = this.#ending.get(peer);
    if (ending?.until !== until) {
      ending = { until, calls: 0 };
      this.#ending.set(peer, ending);
    }
    ending.calls += 1;
    if (ending.calls > refusedOnOpenConnection) this.#options.endConnection(peer, detail);
  }

  /** Forgets who was not far over in the last window, and is not refused now. */
  #beginWindow(now: number): void {
    // After a window in which nothing happened, nothing is in a row.
    const inARow = now < this.#windowEnds + this.#windowMs;
    this.#windowEnds = now + this.#windowMs;
    for (const [key, address] of this.#addresses) {
      if (!inARow || address.refusedCalls < this.#maxRefused) address.windowsOver = 0;
      address.refusedCalls = 0;
      if (address.windowsOver === 0 && now >= address.refusedUntil) this.#addresses.delete(key);
    }
  }

  #find(address: string): Address | undefined {
    const key = this.#options.keyOf(address);
    return key === undefined ? undefined : this.#addresses.get(key);
  }
}

/** By a credential, or by a client certificate. */
function isVerified({ peer, principal }: CallContext): boolean {
  return peer.certificate !== undefined || (principal !== undefined && principal.kind !== "anonymous");
}
