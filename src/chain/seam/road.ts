// The two ways by which calls come: our own server, and one that somebody else made.
import type { Http2Session } from "node:http2";
import { TLSSocket } from "node:tls";
import type { Metadata } from "@grpc/grpc-js";
import type { Peer, PeerCertificate } from "../../call/peer.ts";
import { type Arrival, arrivalOf } from "./arrival.ts";
import {
  ConnectionPeer,
  connectionKey,
  connectionOf,
  type MarkedSession,
  unknownConnection,
} from "./connection.ts";
import type { BaseCall } from "./inside.ts";
import { metadataSize } from "./metadata.ts";

/** Where a chain learns what grpc-js does not tell of a call. */
export interface Road {
  arrivalOf(base: BaseCall, metadata: Metadata): Arrival;
  peerOf(session: Http2Session | undefined): Peer;
}

/** Our own server: connections were watched, and HEADERS frames read, before grpc-js saw them. */
export const ownRoad: Road = {
  arrivalOf: ({ stream }) => arrivalOf(stream),
  peerOf: (session) => connectionOf(session).peer,
};

/**
 * A server that somebody else made: what can still be known when the call is there. The metadata is counted as grpc-js
 * hands it on (without pseudo-header fields), and the deadline is as grpc-js read it.
 */
export function attachedRoad(certificateOf: (socket: TLSSocket) => PeerCertificate | undefined): Road {
  return {
    arrivalOf(base, metadata) {
      const deadline = Number(base.getDeadline());
      const metadataBytes = metadataSize(metadata);
      // Nobody here knows who its sender is (T8).
      metadata.remove("x-forwarded-client-cert");
      return {
        metadataBytes,
        timeoutMs: Number.isFinite(deadline) ? Math.max(0, deadline - Date.now()) : undefined,
        forwardedCertificate: undefined,
      };
    },
    peerOf(session) {
      if (session === undefined) return unknownConnection.peer;
      const marked = session as MarkedSession;
      marked[connectionKey] ??= {
        peer: peerBehind(session, certificateOf),
        calls: 0,
        handedOver: false,
      };
      return marked[connectionKey].peer;
    },
  };
}

function peerBehind(
  session: Http2Session,
  certificateOf: (socket: TLSSocket) => PeerCertificate | undefined,
): Peer {
  if (session.destroyed) return unknownConnection.peer;
  // Node's stand-in for the socket: what only reads passes through it.
  const { socket } = session;
  return new ConnectionPeer(socket, socket instanceof TLSSocket ? certificateOf(socket) : undefined);
}
