// Did a connection send HEADERS or DATA of a call between two pings? gRFC A8 forgives pings then: clients measure
// bandwidth with them. Node has no event for a frame that left, so it is told from what the socket counts.

/** What passed over a connection by now. TLS is not counted: bytes are those of HTTP/2. */
export interface Traffic {
  readonly bytesWritten: number;
  readonly bytesRead: number;
  /** SETTINGS frames of the client; each is acknowledged. */
  readonly settings: number;
}

/** RFC 9113 sections 6.7, 6.5 and 6.9, with the nine bytes that each frame begins with. */
const pingBytes = 17;
const settingsAckBytes = 9;
const windowUpdateBytes = 13;
/** HTTP/2 renews a window when half of it was used (RFC 9113 section 6.9.2: 65,535 bytes, which the server keeps). */
const halfWindow = 32_767;

export class SentBetweenPings {
  #pings = 0;
  #read = 0;
  /** The most that was ever written besides acknowledgements. They may be due still, so the count falls and rises. */
  #written: number | undefined = undefined;

  /**
   * To be asked once a ping. `handedOver`: something of a call was given to HTTP/2 since the last "yes", and may have left
   * or be waiting for the client's window. Then any byte counts; else only what is more than window updates can be.
   */
  sent({ bytesWritten, bytesRead, settings }: Traffic, handedOver: boolean): boolean {
    const written = bytesWritten - pingBytes * this.#pings - settingsAckBytes * settings;
    const before = this.#written ?? written;
    const grown = written - before;
    const most = handedOver ? 0 : maxWindowUpdates(bytesRead - this.#read);
    this.#pings += 1;
    this.#read = bytesRead;
    this.#written = Math.max(before, written);
    return grown > most;
  }
}

/** Those of the connection and of its streams, each with one that was nearly due before. */
function maxWindowUpdates(bytesRead: number): number {
  return 2 * windowUpdateBytes * (1 + Math.floor(bytesRead / halfWindow));
}
