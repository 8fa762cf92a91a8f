// The gate before a server's connections: how many there may be, in all and from one address, and how long each may
// take until it speaks HTTP/2.
import type { Socket } from "node:net";
import type { Peer } from "../grpc/peer.ts";
import { Holders } from "./holders.ts";
import type { RefusedBelow } from "./refused-below.ts";

export interface ConnectionGateOptions {
  readonly maxConnections: number;
  readonly maxConnectionsPerPeer: number;
  /** From the accepted socket to the client's first SETTINGS, TLS included. */
  readonly handshakeTimeoutMs: number;
  /** Under which key an address is counted; undefined where it stands for many callers and is not limited by itself. */
  readonly keyOf: (address: string) => string | undefined;
  /**
   * Where no place is left: the newest connection is refused (default), or the oldest is ended for it: of the address
   * that has all its places, or else of the one that has most of all.
   */
  readonly whenFull?: "refuse-newest" | "end-oldest";
  /** Why nothing of this address is let in at present, for the log; undefined where it is. */
  readonly refuseAddress?: (address: string) => string | undefined;
}

export interface GateRefusal {
  readonly reason: Extract<RefusedBelow, "connection_limit" | "peer_connection_limit" | "address_over_limit">;
  readonly detail: string;
}

/** A connection that was in was ended by the gate. */
export type OnEnded = (
  reason: Extract<RefusedBelow, "handshake_timeout" | "health_connection_limit" | "address_over_limit">,
  detail: string,
) => void;

interface Place {
  readonly key: string | undefined;
  readonly onEnded: OnEnded;
  readonly greeting: NodeJS.Timeout;
}

/** Counts open sockets. Its tables hold open connections alone, and so no more than `maxConnections` entries. */
export class ConnectionGate {
  readonly #options: ConnectionGateOptions;
  readonly #byKey: Holders<string | undefined, Socket> = new Holders();
  readonly #open: Map<Socket, Place> = new Map();
  readonly #socketOf: WeakMap<Peer, Socket> = new WeakMap();
  readonly #gaveUp: WeakSet<Socket> = new WeakSet();

  constructor(options: ConnectionGateOptions) {
    this.#options = options;
  }

  /** Why the socket is refused; undefined where it is in. `onEnded` is told where the gate ends it later. */
  admit(socket: Socket, address: string, onEnded: OnEnded): GateRefusal | undefined {
    const detail = this.#options.refuseAddress?.(address);
    if (detail !== undefined) return { reason: "address_over_limit", detail };
    const key = this.#options.keyOf(address);
    const full = this.#fullFor(key);
    if (full !== undefined) {
      if (this.#options.whenFull !== "end-oldest") return full;
      // Who has one place keeps it as long as somebody has two.
      const greediest = full.reason === "peer_connection_limit" ? key : this.#byKey.greediest()?.key;
      this.#endOldest(greediest, full.detail);
    }
    this.#byKey.add(key, socket);
    this.#open.set(socket, { key, onEnded, greeting: this.#giveUpLater(socket, onEnded) });
    socket.once("close", () => this.#release(socket));
    return undefined;
  }

  /** Calls of the socket's connection have this peer. */
  speaksFor(peer: Peer, socket: Socket): void {
    this.#socketOf.set(peer, socket);
  }

  /** Ends the connection whose calls have this peer, where it is open: its address is refused. */
  end(peer: Peer, detail: string): void {
    const socket = this.#socketOf.get(peer);
    const place = socket === undefined ? undefined : this.#open.get(socket);
    if (socket === undefined || place === undefined) return;
    this.#release(socket);
    place.onEnded("address_over_limit", detail);
    socket.destroy();
  }

  /** The client's SETTINGS are here: it speaks HTTP/2. */
  greeted(socket: Socket): void {
    clearTimeout(this.#open.get(socket)?.greeting);
  }

  /** Was this socket ended because it took too long? */
  gaveUpOn(socket: Socket): boolean {
    return this.#gaveUp.has(socket);
  }

  #fullFor(key: string | undefined): GateRefusal | undefined {
    const { maxConnections, maxConnectionsPerPeer } = this.#options;
    if (key !== undefined && this.#byKey.countOf(key) >= maxConnectionsPerPeer)
      return {
        reason: "peer_connection_limit",
        detail: `${maxConnectionsPerPeer} connections from this address are open`,
      };
    if (this.#open.size >= maxConnections)
      return { reason: "connection_limit", detail: `${maxConnections} connections are open` };
    return undefined;
  }

  #endOldest(key: string | undefined, detail: string): void {
    const socket = this.#byKey.oldestOf(key);
    const place = socket === undefined ? undefined : this.#open.get(socket);
    if (socket === undefined || place === undefined) return;
    this.#release(socket);
    place.onEnded("health_connection_limit", detail);
    socket.destroy();
  }

  #giveUpLater(socket: Socket, onEnded: OnEnded): NodeJS.Timeout {
    const { handshakeTimeoutMs } = this.#options;
    return setTimeout(() => {
      this.#gaveUp.add(socket);
      onEnded("handshake_timeout", `no HTTP/2 within ${handshakeTimeoutMs} ms`);
      socket.destroy();
    }, handshakeTimeoutMs).unref();
  }

  #release(socket: Socket): void {
    const place = this.#open.get(socket);
    if (place === undefined) return;
    clearTimeout(place.greeting);
    this.#open.delete(socket);
    this.#byKey.remove(place.key, socket);
  }
}
