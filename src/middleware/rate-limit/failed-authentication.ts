/**
 * Throttles failed authentication (L8): who shows too many bad credentials is refused before the next one is verified.
 *
 * Counted are `invalid credentials`, and nothing else: a call without a credential guesses nothing, and an expired one
 * was good once. They are counted by peer: its certificate, its address, or the address that a configured proxy
 * forwards. Where the peer cannot be told (a Unix socket, a configured proxy that forwarded no address) they are counted
 * by credential, so that one caller's failures are not held against all who come the same way.
 *
 * An address can still be shared, by a NAT or a balancer that nobody configured. Therefore two kinds of calls pass while
 * a peer is blocked: those whose credential verified from this peer since its failures began, and those that show a
 * credential on a connection on which none has failed yet. An attacker gains one try for each connection by that, of
 * which `limits.maxConnectionsPerPeer` bounds how many there are at once; a neighbour with a good credential is let in.
 */
import { createHash } from "node:crypto";
import { status } from "@grpc/grpc-js";
import type { CallContext } from "../../call/context.ts";
import { isHealthProbe } from "../../call/method.ts";
import type { Peer } from "../../call/peer.ts";
import { texts } from "../../call/status.ts";
import type { Middleware, Outcome } from "../../chain/middleware.ts";
import { MemoryRateLimiter, type RateLimit } from "./memory-rate-limiter.ts";
import { peerKey } from "./peer-key.ts";
import { type Enforcement, refuseForNow } from "./refusal.ts";

export interface FailedAuthenticationOptions {
  readonly limit: RateLimit;
  /** The headers that carry credentials, in lower case. */
  readonly credentialHeaders: readonly string[];
  readonly enforcement: Enforcement;
  /** Is every address that of a sidecar, so that only a certificate tells who calls? Default: false. */
  readonly addressesAreShared?: boolean;
}

const layerName = "failed-authentication";
/** How many credentials that verified are remembered, over all peers that had failures. */
const maxGood = 10_000;

export function failedAuthenticationLimit(options: FailedAuthenticationOptions): Middleware {
  const failures = new FailedAuthentications(options);
  return Object.freeze<Middleware>({
    name: layerName,
    appliesTo: (method) => !isHealthProbe(method),
    onCall: (call) => failures.admit(call),
    onEnd: (call, outcome) => failures.note(call, outcome),
  });
}

class FailedAuthentications {
  readonly #limiter: MemoryRateLimiter;
  readonly #headers: readonly string[];
  readonly #enforcement: Enforcement;
  readonly #addressesAreShared: boolean;
  readonly #memoryMs: number;
  /** Connections on which a credential failed, by the peer that is theirs for as long as they last. */
  readonly #tainted: WeakSet<Peer> = new WeakSet();
  /** Peer and digest of credentials that verified; the oldest makes room. */
  readonly #good: Set<string> = new Set();
  /** While nobody has failed, a call costs one comparison. */
  #watchfulUntil = Number.NEGATIVE_INFINITY;

  constructor({
    limit,
    credentialHeaders,
    enforcement,
    addressesAreShared = false,
  }: FailedAuthenticationOptions) {
    this.#limiter = new MemoryRateLimiter(limit);
    this.#headers = credentialHeaders;
    this.#enforcement = enforcement;
    this.#addressesAreShared = addressesAreShared;
    this.#memoryMs = (limit.durationSec + (limit.blockDurationSec ?? 0)) * 1000;
  }

  admit(call: CallContext): void {
    const now = performance.now();
    if (now >= this.#watchfulUntil) return;
    const { peer } = call;
    const told = this.#canBeTold(peer);
    const credential = told ? undefined : this.#credentialKey(call);
    const waitMs = this.#limiter.refusedFor(credential ?? peerKey(peer), now);
    if (waitMs === 0) return;
    if (told && this.#isTrusted(call)) return;
    refuseForNow(call, layerName, this.#enforcement, waitMs);
  }

  note(call: CallContext, outcome: Outcome): void {
    if (outcome.layer === "authentication") {
      if (outcome.code === status.UNAUTHENTICATED && outcome.details === texts.invalidCredentials)
        this.#failed(call);
      return;
    }
    if (performance.now() < this.#watchfulUntil && call.principal !== undefined) this.#succeeded(call);
  }

  #failed(call: CallContext): void {
    const now = performance.now();
    const { peer } = call;
    this.#watchfulUntil = now + this.#memoryMs;
    this.#tainted.add(peer);
    const key = this.#canBeTold(peer) ? peerKey(peer) : this.#credentialKey(call);
    this.#good.delete(this.#credentialKey(call));
    // Failures of calls that were under way when their peer was blocked do not make the block longer.
    if (this.#limiter.refusedFor(key, now) > 0) return;
    this.#limiter.consume(key, 1, now);
    // That was the last one: the block begins now, and the next call is refused before its credential is verified.
    if (this.#limiter.refusedFor(key, now) > 0) this.#limiter.consume(key, 1, now);
  }

  #succeeded(call: CallContext): void {
    if (!this.#presents(call)) return;
    const key = this.#credentialKey(call);
    if (this.#good.has(key)) return;
    if (this.#good.size >= maxGood) {
      const [oldest] = this.#good;
      if (oldest !== undefined) this.#good.delete(oldest);
    }
    this.#good.add(key);
  }

  #isTrusted(call: CallContext): boolean {
    if (!this.#presents(call)) return false;
    const { peer } = call;
    // A peer that a proxy told of shares the proxy's connection with others.
    const hasConnection = peer.forwardedBy === undefined && peer.certificate?.forwarded !== true;
    if (hasConnection && !this.#tainted.has(peer)) return true;
    return this.#good.has(this.#credentialKey(call));
  }

  #presents(call: CallContext): boolean {
    for (const header of this.#headers) if (call.metadata.get(header).length > 0) return true;
    return false;
  }

  /** Never the credential itself: the table outlives the call. */
  #credentialKey(call: CallContext): string {
    const digest = createHash("sha256");
    for (const header of this.#headers) {
      for (const value of call.metadata.get(header)) digest.update(`${header}\0`).update(value).update("\0");
    }
    return `${peerKey(call.peer)} ${digest.digest("base64")}`;
  }

  /** Does the address, or the certificate, stand for one caller? */
  #canBeTold({ address, certificate, forwardedBy }: Peer): boolean {
    if (certificate?.forwarded === true) return true;
    if (forwardedBy !== undefined) return forwardedBy !== address;
    if (certificate !== undefined) return true;
    return !this.#addressesAreShared && address !== "unix" && address !== "unknown";
  }
}
