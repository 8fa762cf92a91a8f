/**
 * Throttles failed authentication: who shows too many bad credentials is refused before the next one is verified.
 *
 * Counted are `invalid credentials`, and nothing else: an expired one was good once, and one that could not be judged
 * says nothing. A failure counts when the authenticator says so, whether or not its call is still there. A call that
 * presents no credential guesses nothing: it is neither counted nor refused.
 *
 * Failures are counted by peer: its certificate, its address, or the address that a configured proxy forwards. Where the
 * peer cannot be told (a Unix socket, a configured proxy that forwarded no address) they are counted by credential, so
 * that one caller's failures are not held against all who come the same way.
 *
 * A peer has no more unproven credentials verified at once than it has points left; further ones wait. So nobody gets
 * more tries by sending guesses faster than they are judged, and many users behind one address are all served.
 *
 * An address can be shared, by a NAT or a balancer that nobody configured. Therefore these pass while a peer is blocked:
 * - a credential that verified from this peer since its failures began, or as the last one on this connection;
 * - any other on a connection on which none has failed, one at a time, as long as the connections of the peer on which one
 *   has failed are fewer than the points of a window.
 *
 * With a store that instances share, failures and blocks are those of all instances. Everything else is this process's own:
 * what verified, and what is being verified.
 */
import { type CallContext, ContextKey, type ReadonlyMetadata } from "../../chain/context.ts";
import type { Middleware } from "../../chain/middleware.ts";
import type { CredentialProblem } from "../../grpc/errors.ts";
import { isHealthProbe } from "../../grpc/method.ts";
import type { Peer } from "../../grpc/peer.ts";
import { peerKey } from "../../grpc/peer-key.ts";
import { Holders } from "../../transport/holders.ts";
import { sharedKeyPrefix } from "./limiter.ts";
import { MemoryRateLimiter } from "./memory-rate-limiter.ts";
import type { RateLimit } from "./rate-limit-store.ts";
import { type Enforcement, rateLimitExceeded, refuseForNow } from "./refusal.ts";
import { SharedFailures } from "./shared-failures.ts";
import type { SharedStore } from "./shared-store.ts";
import { type CredentialKeys, type Decision, VerificationPlaces } from "./verification-places.ts";

export interface FailedAuthenticationOptions {
  readonly limit: RateLimit;
  /** Reads what calls present. */
  readonly credentials: Credentials;
  readonly enforcement: Enforcement;
  /** Is every address that of a sidecar, so that only a certificate tells who calls? Default: false. */
  readonly addressesAreShared?: boolean;
  /** Counts the failures of all instances. Default: this process counts alone. */
  readonly store?: SharedStore | undefined;
}

interface Credentials {
  arePresentedBy(call: CallContext): boolean;
  /** Never the credentials themselves: the tables here outlive the call. */
  digestOf(metadata: ReadonlyMetadata): string;
}

export interface FailedAuthenticationLimit {
  /** Stands before authentication. */
  readonly middleware: Middleware;
  /**
   * To be called while another answer of the store is waited for: asks what the middleware will need. Undefined where there
   * is no store.
   */
  readonly askMeanwhile: ((call: CallContext) => void) | undefined;
  /** To be told how authentication judged each call. */
  readonly verdicts: {
    pending(call: CallContext): void;
    settled(call: CallContext, verdict: "verified" | CredentialProblem | "undecided"): void;
  };
}

const middlewareName = "failed-authentication";
/** How many credentials that verified are remembered, over all peers. Where it is full, the peer with most of them makes room. */
const maxProven = 10_000;

export function failedAuthenticationLimit(options: FailedAuthenticationOptions): FailedAuthenticationLimit {
  const failures = new FailedAuthentications(options);
  return {
    middleware: Object.freeze<Middleware>({
      name: middlewareName,
      appliesTo: (method) => !isHealthProbe(method),
      onCall: (call) => failures.admit(call),
    }),
    askMeanwhile: options.store === undefined ? undefined : (call) => void failures.learn(call),
    verdicts: failures,
  };
}

class FailedAuthentications {
  readonly #limiter: MemoryRateLimiter;
  /** The same two, of all instances. */
  readonly #shared: SharedFailures | undefined;
  readonly #sharedConnections: SharedFailures | undefined;
  /** Connections of a peer on which a credential failed, by window. */
  readonly #connections: MemoryRateLimiter;
  readonly #points: number;
  readonly #credentials: Credentials;
  readonly #enforcement: Enforcement;
  readonly #addressesAreShared: boolean;
  readonly #memoryMs: number;
  readonly #places: VerificationPlaces;
  readonly #keys: ContextKey<CredentialKeys> = new ContextKey("failed-authentication.keys");
  /** Connections on which a credential failed, by the peer that is theirs for as long as they last. */
  readonly #tainted: WeakSet<Peer> = new WeakSet();
  /** Of each peer the credentials that verified, the one used last at the end. */
  readonly #proven: Holders<string, string> = new Holders();
  /** What verified last on a connection while nobody failed. Only looked into when its peer is blocked. */
  readonly #lastVerified: WeakMap<Peer, ReadonlyMetadata> = new WeakMap();
  /** While nobody has failed, a call costs one comparison. */
  #watchfulUntil = Number.NEGATIVE_INFINITY;
  /** Was it so when the last call came? */
  #isQuiet = true;

  constructor(options: FailedAuthenticationOptions) {
    const { limit, credentials, enforcement, addressesAreShared = false, store } = options;
    this.#limiter = new MemoryRateLimiter(limit);
    const ofConnections: RateLimit = { points: limit.points, durationSec: limit.durationSec };
    this.#connections = new MemoryRateLimiter(ofConnections);
    if (store !== undefined) {
      const onLearned = (key: string): void => this.#learned(key);
      const shared = { store, onLearned };
      this.#shared = new SharedFailures({
        ...shared,
        limit,
        keyPrefix: sharedKeyPrefix("login"),
        local: this.#limiter,
      });
      this.#sharedConnections = new SharedFailures({
        ...shared,
        limit: ofConnections,
        keyPrefix: sharedKeyPrefix("login-connection"),
        local: this.#connections,
      });
    }
    this.#points = limit.points;
    this.#credentials = credentials;
    this.#enforcement = enforcement;
    this.#addressesAreShared = addressesAreShared;
    this.#memoryMs = (limit.durationSec + (limit.blockDurationSec ?? 0)) * 1000;
    this.#places = new VerificationPlaces({
      decide: (call, keys) => this.#decide(call, keys),
      isProven: (call, keys) => this.#isProven(call, keys),
      refusal: rateLimitExceeded,
    });
  }

  admit(call: CallContext): void | Promise<void> {
    const learning = this.learn(call);
    return learning === undefined ? this.#admit(call) : learning.then(() => this.#admit(call));
  }

  /** Resolves when it is known what other instances counted of the call's peer; undefined where nothing is to be waited for. */
  learn(call: CallContext): Promise<void> | undefined {
    if (this.#shared === undefined || !this.#credentials.arePresentedBy(call)) return undefined;
    const { peer } = call;
    const told = this.#canBeTold(peer);
    return this.#shared.learn(call, told ? peerKey(peer) : this.#keysOf(call).limit);
  }

  /** Other instances counted failures too. */
  #learned(limit: string): void {
    this.#watchfulUntil = performance.now() + this.#memoryMs;
    this.#places.refuseWaiting(limit);
  }

  #admit(call: CallContext): void | Promise<void> {
    // With fewer places taken in all than a peer has points, no peer can have too many.
    this.#isQuiet = performance.now() >= this.#watchfulUntil && this.#places.taken < this.#points;
    if (this.#isQuiet) return;
    if (!this.#credentials.arePresentedBy(call)) return;
    const keys = this.#keysOf(call);
    const decision = this.#decide(call, keys);
    if (decision === "pass") return;
    if (decision !== "wait") refuseForNow(call, middlewareName, this.#enforcement, decision.refusedForMs);
    else if (this.#enforcement === "refuse") return this.#places.wait(call, keys);
  }

  pending(call: CallContext): void {
    if (this.#credentials.arePresentedBy(call)) this.#places.begin(call, this.#keysOf(call));
  }

  settled(call: CallContext, verdict: "verified" | CredentialProblem | "undecided"): void {
    const verification = this.#places.end(call);
    // Where the authenticator answers at once, `admit` looked at the clock just now.
    if (verification === undefined && verdict === "verified" && this.#isQuiet) {
      // Behind a proxy a peer is no connection, and others are not held to account for it.
      if (call.peer.forwardedBy === undefined) this.#lastVerified.set(call.peer, call.metadata);
      return;
    }
    if (verification === undefined && !this.#credentials.arePresentedBy(call)) return;
    const keys = verification?.keys ?? this.#keysOf(call);
    if (verification !== undefined && (verdict === "verified" || verdict === "invalid"))
      this.#places.close(verification);
    if (verdict === "verified") this.#prove(call.peer, keys.credential);
    if (verdict === "invalid") {
      const changed = this.#failed(call, keys, verification?.counted === true);
      if (verification !== undefined) verification.counted = true;
      if (changed) this.#places.refuseWaiting(keys.limit);
    }
    this.#places.serve(keys.limit);
  }

  #decide(call: CallContext, keys: CredentialKeys): Decision {
    const now = performance.now();
    const blockedForMs = this.#limiter.refusedFor(keys.limit, now);
    const told = this.#canBeTold(call.peer);
    if (blockedForMs > 0 && !told) return { refusedForMs: blockedForMs };
    if (this.#isProven(call, keys)) return "pass";
    if (blockedForMs === 0) return this.#places.among(this.#limiter.left(keys.limit, now), keys);
    if (!hasOwnConnection(call.peer) || this.#tainted.has(call.peer)) return { refusedForMs: blockedForMs };
    const closedForMs = this.#connections.refusedFor(keys.limit, now);
    if (closedForMs > 0) return { refusedForMs: Math.min(blockedForMs, closedForMs) };
    return this.#places.among(1, keys);
  }

  /** May it have changed what those who wait are to be told? */
  #failed(call: CallContext, { limit, credential }: CredentialKeys, counted: boolean): boolean {
    const now = performance.now();
    const { peer } = call;
    this.#rememberLastVerified(call);
    this.#watchfulUntil = now + this.#memoryMs;
    this.#proven.remove(peerKey(peer), credential);
    const first = this.#canBeTold(peer) && hasOwnConnection(peer) && !this.#tainted.has(peer);
    if (first) {
      this.#tainted.add(peer);
      this.#connections.consume(limit, 1, now);
      this.#sharedConnections?.count(call, limit);
    }
    // Failures of calls that were under way when their peer was blocked do not make the block longer.
    if (counted || this.#limiter.refusedFor(limit, now) > 0) return first;
    this.#limiter.consume(limit, 1, now);
    // That was the last one: the block begins now, and the next call is refused before its credential is verified.
    if (this.#limiter.refusedFor(limit, now) > 0) this.#limiter.consume(limit, 1, now);
    // Only now: the answer has this failure in it.
    this.#shared?.count(call, limit);
    return true;
  }

  #isProven(call: CallContext, { credential }: CredentialKeys): boolean {
    const peer = peerKey(call.peer);
    if (this.#proven.has(peer, credential)) {
      // It was used last.
      this.#proven.remove(peer, credential);
      this.#proven.add(peer, credential);
      return true;
    }
    // While nobody fails nothing depends on it, and a digest costs more than what it would save.
    if (performance.now() >= this.#watchfulUntil) return false;
    this.#rememberLastVerified(call);
    return this.#proven.has(peer, credential);
  }

  /** What verified on this connection before its peer's failures began counts as proven too. */
  #rememberLastVerified({ peer }: CallContext): void {
    const metadata = this.#lastVerified.get(peer);
    if (metadata === undefined) return;
    this.#lastVerified.delete(peer);
    this.#prove(peer, this.#credentialKey(peer, metadata));
  }

  #prove(peer: Peer, credential: string): void {
    const key = peerKey(peer);
    this.#proven.remove(key, credential);
    if (this.#proven.size >= maxProven) {
      const most = this.#proven.greediest()?.key;
      const oldest = most === undefined ? undefined : this.#proven.oldestOf(most);
      if (most !== undefined && oldest !== undefined) this.#proven.remove(most, oldest);
    }
    this.#proven.add(key, credential);
  }

  /** Worked out once for each call, from its metadata as they came. */
  #keysOf(call: CallContext): CredentialKeys {
    const known = call.get(this.#keys);
    if (known !== undefined) return known;
    const { peer, metadata } = call;
    const credential = this.#credentialKey(peer, metadata);
    const keys = { limit: this.#canBeTold(peer) ? peerKey(peer) : credential, credential };
    call.set(this.#keys, keys);
    return keys;
  }

  #credentialKey(peer: Peer, metadata: ReadonlyMetadata): string {
    return `${peerKey(peer)} ${this.#credentials.digestOf(metadata)}`;
  }

  /** Does the address, or the certificate, stand for one caller? */
  #canBeTold({ address, certificate, forwardedBy }: Peer): boolean {
    if (certificate?.forwarded === true) return true;
    if (forwardedBy !== undefined) return forwardedBy !== address;
    if (certificate !== undefined) return true;
    return !this.#addressesAreShared && address !== "unix" && address !== "unknown";
  }
}

/** A peer that a proxy told of shares the proxy's connection with others. */
function hasOwnConnection({ forwardedBy, certificate }: Peer): boolean {
  return forwardedBy === undefined && certificate?.forwarded !== true;
}
