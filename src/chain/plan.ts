// What one call needs from its chain: the ready-made lists of its method, and the services that all calls share.
import type { Logger } from "pino";
import type { MethodInfo } from "../grpc/method.ts";
import type { Peer } from "../grpc/peer.ts";
import type { CallContext, ListenerGuard, ReadonlyMetadata } from "./context.ts";
import type { Middleware } from "./middleware.ts";
import type { Recovery } from "./public-status.ts";

/** What a method's calls walk through. */
export interface Plan {
  readonly method: MethodInfo;
  readonly chain: readonly Middleware[];
  readonly onRequest: readonly Middleware[];
  readonly onResponse: readonly Middleware[];
  /** The middleware that may decide on the first message, where a stream handler would start without one. */
  readonly holding: readonly Middleware[];
  /** Those that are asked again right before the handler starts or gets a message. */
  readonly confirming: readonly Middleware[];
  /** The largest message that calls of this method may send, where it is not the server's. */
  readonly maxReceiveMessageBytes: number | undefined;
  /** How long one hook may take to answer. */
  readonly checkTimeoutMs: number;
}

/**
 * The peer of one call from the connection's, the `x-forwarded-client-cert` that came with the call, and what else its
 * metadata says of who forwarded it. Must not throw: a
 * call whose peer cannot be told is refused by a middleware.
 */
export type PeerOf = (
  connection: Peer,
  forwardedCertificate: string | undefined,
  metadata: ReadonlyMetadata,
) => Peer;

export interface ChainServices extends ListenerGuard {
  readonly recovery: Recovery;
  readonly logger: Logger;
  /** Who is behind the connection on this call, where a proxy tells; undefined where it is always the connection's peer. */
  readonly peerOf: PeerOf | undefined;
  /** Does the server's shutdown cut what is still open? */
  readonly cutsCalls: boolean;
  /** An observing middleware failed, or any middleware in `onEnd`. The call does not notice. */
  reportMiddlewareFailure(middleware: Middleware, error: unknown): void;
  /** A handler failed after its call had ended: too late for the caller, not for the log. */
  reportFailureAfterEnd(call: CallContext, error: unknown, unexpected: boolean): void;
  reportDroppedMetadata(call: CallContext, key: string): void;
}

/**
 * The middleware of both, one after the other: two interceptors of ours on one server. The method stays the first one's:
 * whoever needs another to be taken for unknown must come first.
 */
export function joinPlans(first: Plan, second: Plan): Plan {
  return {
    method: first.method,
    chain: [...first.chain, ...second.chain],
    onRequest: [...first.onRequest, ...second.onRequest],
    onResponse: [...first.onResponse, ...second.onResponse],
    holding: [...first.holding, ...second.holding],
    confirming: [...first.confirming, ...second.confirming],
    maxReceiveMessageBytes: smaller(first.maxReceiveMessageBytes, second.maxReceiveMessageBytes),
    checkTimeoutMs: Math.min(first.checkTimeoutMs, second.checkTimeoutMs),
  };
}

function smaller(first: number | undefined, second: number | undefined): number | undefined {
  return first === undefined || second === undefined ? (first ?? second) : Math.min(first, second);
}
