// One connection, as it is known to its calls.
import type { Http2Session } from "node:http2";
import { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { inItsTime, type Peer, type PeerCertificate } from "../grpc/peer.ts";

/** A connection as we know it: computed once, when it is accepted. */
export interface Connection {
  readonly peer: ConnectionPeer;
  /** Undefined where Node did not tell. */
  readonly socket: Socket | undefined;
  /** Calls that are open on it. */
  calls: number;
  /** Was anything of a call handed to HTTP/2 that was not seen leaving with a ping since? */
  handedOver: boolean;
  /** Was it ended by us while calls were open on it? */
  cut: boolean;
}

/** Kept on the session itself, as a call is on its stream. */
export const connectionKey: unique symbol = Symbol("palisade.connection");

export interface MarkedSession {
  [connectionKey]?: Connection;
}

/**
 * Where a connection comes from, also after it was destroyed: the socket under TLS remembers its address where it was
 * read in time, which `rememberAddress` does.
 */
export function addressOf(socket: Socket): string {
  const address = socket.remoteAddress ?? underlying(socket).remoteAddress;
  return address ?? (socket instanceof TLSSocket || socket.destroyed ? "unknown" : "unix");
}

/** The socket that was accepted, under TLS or not. */
export function underlying(socket: Socket & { readonly _parent?: unknown }): Socket {
  const { _parent: under } = socket;
  return under instanceof Socket ? under : socket;
}

export function rememberAddress(socket: Socket): string | undefined {
  return socket.remoteAddress;
}

export class ConnectionPeer implements Peer {
  readonly address: string;
  readonly port: number | undefined;
  readonly secure: boolean;
  #certificate: PeerCertificate | undefined;
  #certificateLost = false;

  constructor(socket: Socket | undefined, certificate: PeerCertificate | undefined) {
    this.address = socket === undefined ? "unknown" : (socket.remoteAddress ?? "unix");
    this.port = socket?.remotePort;
    this.secure = socket instanceof TLSSocket;
    this.#certificate = certificate;
  }

  get certificate(): PeerCertificate | undefined {
    return inItsTime(this.#certificate);
  }

  /** From here on the connection proves nothing any more. Returns the certificate that it had. */
  loseCertificate(): PeerCertificate | undefined {
    const lost = this.#certificate;
    this.#certificate = undefined;
    this.#certificateLost = true;
    return lost;
  }

  get certificateLost(): boolean {
    return this.#certificateLost;
  }
}

export const unknownConnection: Connection = {
  peer: new ConnectionPeer(undefined, undefined),
  socket: undefined,
  calls: 0,
  handedOver: false,
  cut: false,
};

/** What is known of the connection a stream runs on. */
export function connectionOf(session: Http2Session | undefined): Connection {
  return (session as MarkedSession | undefined)?.[connectionKey] ?? unknownConnection;
}
