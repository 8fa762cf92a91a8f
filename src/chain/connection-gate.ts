// The gate before a server's connections (L9): how many there may be, in all and from one address, and how long each may
// take until it speaks HTTP/2.
import type { Socket } from "node:net";

export interface ConnectionGateOptions {
  readonly maxConnections: number;
  readonly maxConnectionsPerPeer: number;
  /** From the accepted socket to the client's first SETTINGS, TLS included. */
  readonly handshakeTimeoutMs: number;
  /** Under which key an address is counted; undefined where it stands for many callers and is not limited by itself. */
  readonly keyOf: (address: string) => string | undefined;
}

export interface GateRefusal {
  readonly reason: "connection_limit" | "peer_connection_limit";
  readonly detail: string;
}

/** Counts open sockets. Its tables hold open connections alone, and so no more than `maxConnections` entries (L10). */
export class ConnectionGate {
  readonly #options: ConnectionGateOptions;
  readonly #byKey: Map<string, number> = new Map();
  readonly #greeting: Map<Socket, NodeJS.Timeout> = new Map();
  readonly #gaveUp: WeakSet<Socket> = new WeakSet();
  #open = 0;

  constructor(options: ConnectionGateOptions) {
    this.#options = options;
  }

  /** How many connections are open. */
  get open(): number {
    return this.#open;
  }

  /** Why the socket is refused; undefined where it is in. `onTimeout` is told where it takes too long to greet. */
  admit(socket: Socket, address: string, onTimeout: (detail: string) => void): GateRefusal | undefined {
    const { maxConnections, maxConnectionsPerPeer, keyOf } = this.#options;
    if (this.#open >= maxConnections)
      return { reason: "connection_limit", detail: `${maxConnections} connections are open` };
    const key = keyOf(address);
    const ofPeer = key === undefined ? 0 : (this.#byKey.get(key) ?? 0);
    if (ofPeer >= maxConnectionsPerPeer)
      return {
        reason: "peer_connection_limit",
        detail: `${maxConnectionsPerPeer} connections of it are open`,
      };
    this.#open += 1;
    if (key !== undefined) this.#byKey.set(key, ofPeer + 1);
    this.#greeting.set(socket, this.#giveUpLater(socket, onTimeout));
    socket.once("close", () => this.#release(socket, key));
    return undefined;
  }

  /** The client's SETTINGS are here: it speaks HTTP/2. */
  greeted(socket: Socket): void {
    clearTimeout(this.#greeting.get(socket));
    this.#greeting.delete(socket);
  }

  /** Was this socket ended because it took too long? */
  gaveUpOn(socket: Socket): boolean {
    return this.#gaveUp.has(socket);
  }

  #giveUpLater(socket: Socket, onTimeout: (detail: string) => void): NodeJS.Timeout {
    const { handshakeTimeoutMs } = this.#options;
    return setTimeout(() => {
      this.#gaveUp.add(socket);
      onTimeout(`no HTTP/2 within ${handshakeTimeoutMs} ms`);
      socket.destroy();
    }, handshakeTimeoutMs).unref();
  }

  #release(socket: Socket, key: string | undefined): void {
    this.greeted(socket);
    this.#open -= 1;
    if (key === undefined) return;
    const left = (this.#byKey.get(key) ?? 1) - 1;
    if (left === 0) this.#byKey.delete(key);
    else this.#byKey.set(key, left);
  }
}
