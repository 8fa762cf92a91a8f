// The rate limit middleware: how often a peer may call, how often a principal may, how many calls it may have at once, how
// many messages a stream may carry.
import { createHash } from "node:crypto";
import { z } from "zod";
import { type CallContext, ContextKey } from "../../chain/context.ts";
import type { Middleware } from "../../chain/middleware.ts";
import { forwardedScheme, principalKey } from "../../chain/principal.ts";
import { isThenable } from "../../chain/thenable.ts";
import { parseOptions } from "../../config/options.ts";
import { isHealthProbe, type MethodInfo, streamsRequests } from "../../grpc/method.ts";
import { peerKey } from "../../grpc/peer-key.ts";
import { type ObservedSeries, observed } from "../../observability/instruments.ts";
import { InFlight, type InFlightCounter } from "./in-flight.ts";
import { Limiter, sharedKeyPrefix } from "./limiter.ts";
import type { RateLimit, RateLimitStore } from "./rate-limit-store.ts";
import { type Enforcement, refuseForNow, refuseOneMore } from "./refusal.ts";
import { SharedStore } from "./shared-store.ts";

/** `false` turns a limit off. */
export interface RateLimitOptions {
  /**
   * Calls of one peer: its verified certificate, else its address (IPv6 by /64); behind a configured proxy the address
   * that it forwards. Counted before authentication. Default: 1,000 points in 1 s.
   */
  readonly perPeer?: RateLimit | false | undefined;
  /** Calls of one verified principal; an anonymous one is counted by its peer. Default: 500 points in 1 s. */
  readonly perPrincipal?: RateLimit | false | undefined;
  /**
   * Bad credentials of one peer; who used up the points is refused before the next credential is verified. Only what is
   * `invalid credentials` counts, whether or not its call is still there; a call without a credential is neither counted
   * nor refused. A peer has no more unproven credentials verified at once than it has points left; further calls wait.
   * While it is blocked, credentials that verified from it before still pass, and one unproven credential at a time on
   * connections on which none has failed, as long as the connections on which one failed are fewer than the points within
   * `durationSec`. Where the peer cannot be told (a Unix socket, a configured proxy that forwarded no address), each
   * credential is counted by itself. The secured server has this limit; the middleware on its own leaves it to others.
   * Default: 20 points in 60 s, then blocked for 300 s.
   */
  readonly failedAuthentication?: RateLimit | false | undefined;
  /** Calls of one principal that run at the same time, streams included. Default: 200. */
  readonly inFlightPerPrincipal?: number | false | undefined;
  /** Messages that one call with a request stream may send. Default: false. */
  readonly messagesPerStream?: MessageLimit | false | undefined;
  /**
   * Where `perPeer`, `perPrincipal` and `failedAuthentication` are counted, those of `methods` too, so that all instances of
   * a service count together: `redisRateLimitStore({ client })` of `grpc-palisade/redis`, or your own. Where it does not
   * answer, each process counts by itself. Calls in flight and messages of a stream are counted by each process. A server
   * closes it when it has shut down; who uses the middleware on its own closes it. Default: this process.
   */
  readonly store?: RateLimitStore | undefined;
}

/** How many messages a stream may carry within a window, which starts with its first message. */
export interface MessageLimit {
  /** How many messages. */
  readonly points: number;
  /** The length of the window, in seconds. */
  readonly durationSec: number;
}

/** The options with their defaults. */
export interface RateLimits {
  readonly perPeer: RateLimit | false;
  readonly perPrincipal: RateLimit | false;
  readonly failedAuthentication: RateLimit | false;
  readonly inFlightPerPrincipal: number | false;
  readonly messagesPerStream: MessageLimit | false;
  readonly store?: RateLimitStore | undefined;
}

/**
 * Limits of one method, or of the methods of a service together. What is given here counts apart, in place of the
 * server's limit; what is not stays with the server's.
 */
export interface MethodRateLimits {
  /** Calls of one peer. Default: the server's. */
  readonly perPeer?: RateLimit | false | undefined;
  /** Calls of one verified principal. Default: the server's. */
  readonly perPrincipal?: RateLimit | false | undefined;
  /** Messages that one call with a request stream may send. Default: the server's. */
  readonly messagesPerStream?: MessageLimit | false | undefined;
  /** How many points a call takes from `perPeer` and `perPrincipal`, whosever they are. Default: 1. */
  readonly cost?: number | undefined;
}

const count = z.int().min(1).max(1_000_000_000);
/** Up to ten years: far below where milliseconds lose their precision. */
const seconds = z.number().positive().max(315_360_000);
const limit = z.strictObject({ points: count, durationSec: seconds, blockDurationSec: seconds.optional() });
const messageLimit = z.strictObject({ points: count, durationSec: seconds });
const off = z.literal(false);
const store = z.custom<RateLimitStore>(
  isStore,
  "expected a rate limit store: an object with consume(key, cost, limit), such as redisRateLimitStore({ client })",
);

function isStore(value: unknown): boolean {
  return typeof value === "object" && value !== null && typeof Reflect.get(value, "consume") === "function";
}

/** The shape of `rateLimit`; the only place where its defaults stand. */
export const rateLimitSchema: z.ZodType<RateLimits, RateLimitOptions> = z.strictObject({
  perPeer: z.union([limit, off]).default({ points: 1000, durationSec: 1 }),
  perPrincipal: z.union([limit, off]).default({ points: 500, durationSec: 1 }),
  failedAuthentication: z.union([limit, off]).default({ points: 20, durationSec: 60, blockDurationSec: 300 }),
  inFlightPerPrincipal: z.union([count, off]).default(200),
  messagesPerStream: z.union([messageLimit, off]).default(false),
  store: store.optional(),
});

/** The shape of a method's `rateLimit`. */
export const methodRateLimitSchema: z.ZodType<MethodRateLimits> = z.strictObject({
  perPeer: z.union([limit, off]).optional(),
  perPrincipal: z.union([limit, off]).optional(),
  messagesPerStream: z.union([messageLimit, off]).optional(),
  cost: count.optional(),
});

/**
 * All parts in one middleware, for use on its own: limits the peer, and where an authentication middleware before it found a
 * principal, the principal too. The secured server uses the parts apart, because a peer is limited before its
 * credentials cost anything, and a principal is known only after them.
 *
 * Over a limit the caller gets RESOURCE_EXHAUSTED `rate limit exceeded` with `google.rpc.RetryInfo`, `retry-after`
 * (whole seconds) and `grpc-retry-pushback-ms` (gRFC A6); with too many calls at once `too many calls in flight`.
 * Health probes are never limited.
 *
 * @throws {ConfigError} for bad options.
 */
export function rateLimit(options: RateLimitOptions = {}): Middleware {
  const limiters = limitersOf(options);
  const peers = new PeerLimit("rate-limit", limiters);
  const principals = new PrincipalLimit("rate-limit", limiters);
  const messages = new MessageCount("rate-limit", limiters);
  return Object.freeze<Middleware>({
    name: "rate-limit",
    appliesTo: (method) => (peers.limits || principals.limits || messages.limits) && isLimited(method),
    onCall(call) {
      const admitted = peers.admit(call);
      if (call.principal === undefined) return admitted;
      return isThenable(admitted) ? admitted.then(() => principals.admit(call)) : principals.admit(call);
    },
    ...(messages.limits
      ? {
          onRequest: (_message: unknown, call: CallContext) => {
            if (streamsRequests(call.method.kind)) messages.admit(call);
          },
        }
      : {}),
    onEnd: (call) => principals.release(call),
  });
}

/** The part that stands before authentication: `perPeer`. */
export function peerRateLimit(options: RateLimitOptions = {}): Middleware {
  return peerMiddleware(limitersOf(options));
}

/** The part that stands after authentication: `perPrincipal` and `inFlightPerPrincipal`. */
export function principalRateLimit(options: RateLimitOptions = {}): Middleware {
  return principalMiddleware(limitersOf(options));
}

/** The part that counts messages: `messagesPerStream`. */
export function messageRateLimit(options: RateLimitOptions = {}): Middleware {
  return messageMiddleware(limitersOf(options));
}

function limitersOf(options: RateLimitOptions): Limiters {
  return newLimiters(parseOptions(rateLimitSchema, options, "rateLimit"), "refuse");
}

/**
 * For a server: `perPeer`, over limiters that its methods share. While the store is waited for, `meanwhile` may ask it for
 * more, which then costs no round trip of its own.
 */
export function peerMiddleware(limiters: Limiters, meanwhile?: (call: CallContext) => void): Middleware {
  const peers = new PeerLimit("peer-rate-limit", limiters);
  return Object.freeze<Middleware>({
    name: "peer-rate-limit",
    appliesTo: (method) => peers.limits && isLimited(method),
    onCall(call) {
      const admitted = peers.admit(call);
      if (isThenable(admitted)) meanwhile?.(call);
      return admitted;
    },
  });
}

/** For a server: `perPrincipal` and `inFlightPerPrincipal`, over limiters that its methods share. */
export function principalMiddleware(limiters: Limiters): Middleware {
  const principals = new PrincipalLimit("principal-rate-limit", limiters);
  return Object.freeze<Middleware>({
    name: "principal-rate-limit",
    appliesTo: (method) => principals.limits && isLimited(method),
    onCall: (call) => principals.admit(call),
    onEnd: (call) => principals.release(call),
  });
}

/** For a server: `messagesPerStream`. */
export function messageMiddleware(limiters: Limiters): Middleware {
  const messages = new MessageCount("message-rate-limit", limiters);
  return Object.freeze<Middleware>({
    name: "message-rate-limit",
    appliesTo: (method) => messages.limits && streamsRequests(method.kind),
    onRequest: (_message, call) => messages.admit(call),
  });
}

/** Lets go of what the store holds. Rejects where the store does. */
export async function closeRateLimitStore({ store }: Pick<RateLimits, "store">): Promise<void> {
  await store?.close?.();
}

function isLimited(method: MethodInfo): boolean {
  return !isHealthProbe(method);
}

const decisions = observed("counter", "palisade.rate_limit.decisions", {
  unit: "{decision}",
  description: "What the rate limits decided about RPCs",
});

/** What one limit decided so far. */
interface Decided {
  readonly allowed: ObservedSeries;
  readonly limited: ObservedSeries;
}

function decidedBy(limit: string): Decided {
  return {
    allowed: decisions({ "palisade.limit": limit, "palisade.result": "allowed" }),
    limited: decisions({ "palisade.limit": limit, "palisade.result": "limited" }),
  };
}

const byPeer = decidedBy("per_peer");
const byPrincipal = decidedBy("per_principal");
const byInFlight = decidedBy("in_flight");

/** What counts: one set for a server, and one for each method that has limits of its own. */
export interface Limiters {
  readonly perPeer: Limiter | undefined;
  readonly perPrincipal: Limiter | undefined;
  readonly inFlight: InFlight | undefined;
  readonly messages: MessageLimit | undefined;
  readonly cost: number;
  readonly enforcement: Enforcement;
  /** What instances share. */
  readonly store: SharedStore | undefined;
}

export function newLimiters(limits: RateLimits, enforcement: Enforcement): Limiters {
  const store = limits.store === undefined ? undefined : new SharedStore(limits.store);
  return {
    perPeer: limiterOf(limits.perPeer, sharedKeyPrefix("peer"), store),
    perPrincipal: limiterOf(limits.perPrincipal, sharedKeyPrefix("principal"), store),
    inFlight: inFlightOf(limits),
    messages: limits.messagesPerStream || undefined,
    cost: 1,
    enforcement,
    store,
  };
}

/** The server's, with what a method, or an entry of `methods` for several, has of its own in their place. */
export function methodLimiters(server: Limiters, own: MethodRateLimits, path: string): Limiters {
  const { perPeer, perPrincipal } = own;
  const { store } = server;
  return {
    ...server,
    perPeer:
      perPeer === undefined ? server.perPeer : limiterOf(perPeer, sharedKeyPrefix("peer", path), store),
    perPrincipal:
      perPrincipal === undefined
        ? server.perPrincipal
        : limiterOf(perPrincipal, sharedKeyPrefix("principal", path), store),
    messages: own.messagesPerStream === undefined ? server.messages : own.messagesPerStream || undefined,
    cost: own.cost ?? 1,
  };
}

function limiterOf(
  limit: RateLimit | false,
  keyPrefix: string,
  store: SharedStore | undefined,
): Limiter | undefined {
  return limit === false ? undefined : new Limiter({ limit, keyPrefix, store });
}

function inFlightOf({ inFlightPerPrincipal }: RateLimits): InFlight | undefined {
  return inFlightPerPrincipal === false ? undefined : new InFlight(inFlightPerPrincipal);
}

class PeerLimit {
  readonly #layer: string;
  readonly #limiters: Limiters;

  constructor(layer: string, limiters: Limiters) {
    this.#layer = layer;
    this.#limiters = limiters;
  }

  get limits(): boolean {
    return this.#limiters.perPeer !== undefined;
  }

  admit(call: CallContext): void | Promise<void> {
    return consume(call, this.#layer, this.#limiters.perPeer, peerKey(call.peer), this.#limiters, byPeer);
  }
}

/** The store is being asked for the call. Released in the meantime, the call has ended and takes no counter. */
const asking = Symbol("asking");

class PrincipalLimit {
  readonly #layer: string;
  readonly #limiters: Limiters;
  /** Of this limit alone: two middleware on one call must not release each other's counter. */
  readonly #taken = new ContextKey<InFlightCounter | typeof asking | undefined>("rate-limit.in-flight");

  constructor(layer: string, limiters: Limiters) {
    this.#layer = layer;
    this.#limiters = limiters;
  }

  get limits(): boolean {
    return this.#limiters.perPrincipal !== undefined || this.#limiters.inFlight !== undefined;
  }

  admit(call: CallContext): void | Promise<void> {
    const key = callerKey(call);
    const consumed = consume(
      call,
      this.#layer,
      this.#limiters.perPrincipal,
      key,
      this.#limiters,
      byPrincipal,
    );
    if (!isThenable(consumed)) return this.#take(call, key);
    call.set(this.#taken, asking);
    return consumed.then(() => {
      if (call.get(this.#taken) !== asking) return;
      call.set(this.#taken, undefined);
      this.#take(call, key);
    });
  }

  #take(call: CallContext, key: string): void {
    const { inFlight, enforcement } = this.#limiters;
    if (inFlight === undefined) return;
    const taken = inFlight.take(key);
    if (taken === undefined) {
      byInFlight.limited.value += 1;
      refuseOneMore(call, this.#layer, enforcement);
      return;
    }
    byInFlight.allowed.value += 1;
    call.set(this.#taken, taken);
  }

  release(call: CallContext): void {
    const taken = call.get(this.#taken);
    if (taken === undefined) return;
    call.set(this.#taken, undefined);
    if (taken !== asking) this.#limiters.inFlight?.release(taken);
  }
}

interface MessageWindow {
  endsAt: number;
  messages: number;
}

/** One window for each call: it goes with the call, so nothing has to be bounded. */
class MessageCount {
  readonly #layer: string;
  readonly #limiters: Limiters;
  readonly #window = new ContextKey<MessageWindow>("rate-limit.messages");

  constructor(layer: string, limiters: Limiters) {
    this.#layer = layer;
    this.#limiters = limiters;
  }

  get limits(): boolean {
    return this.#limiters.messages !== undefined;
  }

  admit(call: CallContext): void {
    const { messages: allowed, enforcement } = this.#limiters;
    if (allowed === undefined) return;
    const now = performance.now();
    const window = this.#windowOf(call);
    if (now >= window.endsAt) {
      window.endsAt = now + allowed.durationSec * 1000;
      window.messages = 0;
    }
    window.messages += 1;
    if (window.messages > allowed.points)
      refuseForNow(call, this.#layer, enforcement, Math.max(1, Math.ceil(window.endsAt - now)));
  }

  #windowOf(call: CallContext): MessageWindow {
    const known = call.get(this.#window);
    if (known !== undefined) return known;
    const made: MessageWindow = { endsAt: Number.NEGATIVE_INFINITY, messages: 0 };
    call.set(this.#window, made);
    return made;
  }
}

/** An anonymous principal is everybody and nobody: such callers are told apart by their peer. */
function callerKey({ principal, actor, peer }: CallContext): string {
  if (principal === undefined || principal.kind === "anonymous") return peerKey(peer);
  // Nobody verified such a user but the application that names it: another one's user of that name is another user.
  if (principal.scheme === forwardedScheme && actor !== undefined)
    return boundedKey(`${principalKey(principal)} ${principalKey(actor)}`);
  return boundedKey(principalKey(principal));
}

/** The number of keys is bounded, so their length must be too: a subject can be as long as a token may be. */
function boundedKey(key: string): string {
  return key.length <= 256 ? key : createHash("sha256").update(key).digest("base64");
}

/** Without a promise where nobody has to be waited for. */
function consume(
  call: CallContext,
  layer: string,
  limiter: Limiter | undefined,
  key: string,
  { cost, enforcement }: Limiters,
  decided: Decided,
): void | Promise<void> {
  if (limiter === undefined) return;
  const refusedForMs = limiter.consume(call, key, cost);
  if (isThenable(refusedForMs))
    return refusedForMs.then((later) => conclude(call, layer, enforcement, decided, later));
  conclude(call, layer, enforcement, decided, refusedForMs);
}

function conclude(
  call: CallContext,
  layer: string,
  enforcement: Enforcement,
  decided: Decided,
  refusedForMs: number,
): void {
  if (refusedForMs === 0) {
    decided.allowed.value += 1;
    return;
  }
  decided.limited.value += 1;
  refuseForNow(call, layer, enforcement, refusedForMs);
}
