// The rate limit layers: how often a peer may call, how often a principal may, and how many calls it may have at once.
import { createHash } from "node:crypto";
import { Metadata, status } from "@grpc/grpc-js";
import { z } from "zod";
import { type CallContext, ContextKey } from "../../call/context.ts";
import { StatusError } from "../../call/errors.ts";
import { LateObservable, type Tally } from "../../call/instruments.ts";
import { isHealthProbe, type MethodInfo } from "../../call/method.ts";
import { parseOptions } from "../../call/options.ts";
import { type Principal, principalKey } from "../../call/principal.ts";
import { texts } from "../../call/status.ts";
import type { Middleware } from "../../chain/middleware.ts";
import { InFlight, type InFlightCounter } from "./in-flight.ts";
import { MemoryRateLimiter, type RateLimit } from "./memory-rate-limiter.ts";
import { peerKey } from "./peer-key.ts";

/** Each limit is in this process alone. `false` turns one off. */
export interface RateLimitOptions {
  /**
   * Calls of one peer: its verified certificate, else its address (IPv6 by /64). Counted before authentication.
   * Default: 1,000 points in 1 s.
   */
  readonly perPeer?: RateLimit | false | undefined;
  /** Calls of one verified principal; an anonymous one is counted by its peer. Default: 500 points in 1 s. */
  readonly perPrincipal?: RateLimit | false | undefined;
  /** Calls of one principal that run at the same time, streams included. Default: 200. */
  readonly inFlightPerPrincipal?: number | false | undefined;
}

/** The options with their defaults. */
export interface RateLimits {
  readonly perPeer: RateLimit | false;
  readonly perPrincipal: RateLimit | false;
  readonly inFlightPerPrincipal: number | false;
}

const count = z.int().min(1).max(1_000_000_000);
/** Up to ten years: far below where milliseconds lose their precision. */
const seconds = z.number().positive().max(315_360_000);
const limit = z.strictObject({ points: count, durationSec: seconds, blockDurationSec: seconds.optional() });
const off = z.literal(false);

/** The shape of `rateLimit`; the only place where its defaults stand. */
export const rateLimitSchema: z.ZodType<RateLimits, RateLimitOptions> = z.strictObject({
  perPeer: z.union([limit, off]).default({ points: 1000, durationSec: 1 }),
  perPrincipal: z.union([limit, off]).default({ points: 500, durationSec: 1 }),
  inFlightPerPrincipal: z.union([count, off]).default(200),
});

/**
 * Both parts in one layer, for use on its own: limits the peer, and where an authentication layer before it found a
 * principal, the principal too. The secured server uses the two parts apart, because a peer is limited before its
 * credentials cost anything, and a principal is known only after them.
 *
 * Over a limit the caller gets RESOURCE_EXHAUSTED `rate limit exceeded` with `google.rpc.RetryInfo`, `retry-after`
 * (whole seconds) and `grpc-retry-pushback-ms` (gRFC A6); with too many calls at once `too many calls in flight`.
 * Health probes are never limited (A10).
 *
 * @throws {ConfigError} for bad options.
 */
export function rateLimit(options: RateLimitOptions = {}): Middleware {
  const limits = parseOptions(rateLimitSchema, options, "rateLimit");
  const peers = new PeerLimit(limits);
  const principals = new PrincipalLimit(limits);
  return Object.freeze<Middleware>({
    name: "rate-limit",
    appliesTo: (method) => (peers.limits || principals.limits) && isLimited(method),
    onCall(call) {
      peers.admit(call);
      if (call.principal !== undefined) principals.admit(call);
    },
    onEnd: (call) => principals.release(call),
  });
}

/** The part that stands before authentication: `perPeer`. */
export function peerRateLimit(options: RateLimitOptions = {}): Middleware {
  const peers = new PeerLimit(parseOptions(rateLimitSchema, options, "rateLimit"));
  return Object.freeze<Middleware>({
    name: "peer-rate-limit",
    appliesTo: (method) => peers.limits && isLimited(method),
    onCall: (call) => peers.admit(call),
  });
}

/** The part that stands after authentication: `perPrincipal` and `inFlightPerPrincipal`. */
export function principalRateLimit(options: RateLimitOptions = {}): Middleware {
  const principals = new PrincipalLimit(parseOptions(rateLimitSchema, options, "rateLimit"));
  return Object.freeze<Middleware>({
    name: "principal-rate-limit",
    appliesTo: (method) => principals.limits && isLimited(method),
    onCall: (call) => principals.admit(call),
    onEnd: (call) => principals.release(call),
  });
}

function isLimited(method: MethodInfo): boolean {
  return !isHealthProbe(method);
}

const decisions = new LateObservable("counter", "palisade.rate_limit.decisions", {
  unit: "{decision}",
  description: "What the rate limits decided about RPCs",
});

/** What one limit decided so far. */
interface Decided {
  readonly allowed: Tally;
  readonly limited: Tally;
}

function decidedBy(limit: string): Decided {
  return {
    allowed: decisions.tally({ "palisade.limit": limit, "palisade.result": "allowed" }),
    limited: decisions.tally({ "palisade.limit": limit, "palisade.result": "limited" }),
  };
}

const byPeer = decidedBy("per_peer");
const byPrincipal = decidedBy("per_principal");
const byInFlight = decidedBy("in_flight");

class PeerLimit {
  readonly #limiter: MemoryRateLimiter | undefined;

  constructor({ perPeer }: RateLimits) {
    this.#limiter = perPeer === false ? undefined : new MemoryRateLimiter(perPeer);
  }

  get limits(): boolean {
    return this.#limiter !== undefined;
  }

  admit(call: CallContext): void {
    if (this.#limiter !== undefined) consume(this.#limiter, peerKey(call.peer), byPeer);
  }
}

class PrincipalLimit {
  readonly #limiter: MemoryRateLimiter | undefined;
  readonly #inFlight: InFlight | undefined;
  /** Of this limit alone: two layers on one call must not release each other's counter. */
  readonly #taken = new ContextKey<InFlightCounter | undefined>("rate-limit.in-flight");

  constructor({ perPrincipal, inFlightPerPrincipal }: RateLimits) {
    this.#limiter = perPrincipal === false ? undefined : new MemoryRateLimiter(perPrincipal);
    this.#inFlight = inFlightPerPrincipal === false ? undefined : new InFlight(inFlightPerPrincipal);
  }

  get limits(): boolean {
    return this.#limiter !== undefined || this.#inFlight !== undefined;
  }

  admit(call: CallContext): void {
    const key = callerKey(call);
    if (this.#limiter !== undefined) consume(this.#limiter, key, byPrincipal);
    if (this.#inFlight === undefined) return;
    const taken = this.#inFlight.take(key);
    if (taken === undefined) {
      byInFlight.limited.value += 1;
      throw new StatusError(status.RESOURCE_EXHAUSTED, texts.tooManyCallsInFlight);
    }
    byInFlight.allowed.value += 1;
    call.set(this.#taken, taken);
  }

  release(call: CallContext): void {
    const taken = call.get(this.#taken);
    if (taken === undefined) return;
    call.set(this.#taken, undefined);
    this.#inFlight?.release(taken);
  }
}

/** An anonymous principal is everybody and nobody: such callers are told apart by their peer. */
function callerKey({ principal, peer }: CallContext): string {
  if (principal === undefined || principal.kind === "anonymous") return peerKey(peer);
  return boundedPrincipalKey(principal);
}

/** The number of keys is bounded, so their length must be too: a subject can be as long as a token may be. */
function boundedPrincipalKey(principal: Principal): string {
  const key = principalKey(principal);
  return key.length <= 256 ? key : createHash("sha256").update(key).digest("base64");
}

function consume(limiter: MemoryRateLimiter, key: string, decided: Decided): void {
  const retryAfterMs = limiter.consume(key, 1, performance.now());
  if (retryAfterMs > 0) {
    decided.limited.value += 1;
    throw rateLimitExceeded(retryAfterMs);
  }
  decided.allowed.value += 1;
}

/** gRFC A6 reads the pushback as a 32-bit number, and anything else as "never try again". */
const maxPushbackMs = 2_147_483_647;

function rateLimitExceeded(retryAfterMs: number): StatusError {
  const metadata = new Metadata();
  metadata.set("retry-after", String(Math.ceil(retryAfterMs / 1000)));
  metadata.set("grpc-retry-pushback-ms", String(Math.min(retryAfterMs, maxPushbackMs)));
  return new StatusError(status.RESOURCE_EXHAUSTED, texts.rateLimitExceeded, {
    metadata,
    errorDetails: [{ type: "google.rpc.RetryInfo", retryDelayMs: retryAfterMs }],
  });
}
