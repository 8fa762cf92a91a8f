/**
 * Room for decompressed messages that no handler has taken yet: so many bytes for all calls of the process, given to
 * connections in turn. A message asks for the most that it can grow to before a byte of it is decompressed, gives back the
 * difference when its size is known, and the rest when the handler took it or its call ended.
 */

/** What one message has of the budget, or waits for. */
export interface Room {
  /** It is decompressed and so large: the difference is free again. */
  keep(bytes: number): void;
  /** Gives everything back, or stops waiting. A second time does nothing. */
  release(): void;
}

/**
 * - Connections take turns, and each message waits for those of its own connection that came before it.
 * - One connection has at most half of the budget, so that it alone cannot keep others waiting, whatever its handlers do.
 * - Nobody is overtaken because it needs more: what is next waits until there is room.
 * - A message that may be larger than the budget, or than a connection's half of it, passes where it is alone: the first
 *   when nothing is being decompressed, the second when its connection has nothing. What is being decompressed ends by itself, so
 *   that each gets its turn.
 *
 * There are as many entries as there are connections with messages that were not taken, and no timers.
 */
export class DecompressionBudget {
  readonly #maxBytes: number;
  readonly #maxBytesOfOne: number;
  readonly #shares: Map<object, Share> = new Map();
  /** Those that have something waiting and may have more, the next one first. */
  readonly #turns: Set<Share> = new Set();
  #heldBytes = 0;
  #decompressing = 0;
  #granting = false;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
    this.#maxBytesOfOne = Math.floor(maxBytes / 2);
  }

  /** Bytes that are reserved or decompressed. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** How many connections have something waiting or held. */
  get size(): number {
    return this.#shares.size;
  }

  /**
   * Asks for room for one message. `onRoom` is called once there is some, perhaps at once, and never after `release`. Then
   * the message is being decompressed, until `keep` or `release`.
   */
  ask(connection: object, bytes: number, onRoom: (room: Room) => void): Room {
    let share = this.#shares.get(connection);
    if (share === undefined) {
      share = new Share(connection);
      this.#shares.set(connection, share);
    }
    const claim = new Claim(this, share, bytes, onRoom);
    share.waiting.add(claim);
    this.#turns.add(share);
    this.#grant();
    return claim;
  }

  /** For `Claim`: it is no longer what it was, and `bytes` of it are free. */
  changed({ share }: Claim, from: ClaimState, bytes: number): void {
    if (from === "decompressing") this.#decompressing -= 1;
    share.heldBytes -= bytes;
    this.#heldBytes -= bytes;
    if (share.waiting.size > 0) this.#turns.add(share);
    else this.#turns.delete(share);
    if (share.waiting.size === 0 && share.heldBytes === 0) this.#shares.delete(share.connection);
    this.#grant();
  }

  #grant(): void {
    // `onRoom` may ask, keep or release: the loop below sees it.
    if (this.#granting) return;
    this.#granting = true;
    try {
      for (let share = firstOf(this.#turns); share !== undefined; share = firstOf(this.#turns)) {
        const claim = firstOf(share.waiting);
        if (claim === undefined || this.#hasItsShare(share, claim)) {
          // It has a turn again when it gives something back.
          this.#turns.delete(share);
          continue;
        }
        if (!this.#hasRoomFor(claim)) return;
        this.#turns.delete(share);
        share.waiting.delete(claim);
        if (share.waiting.size > 0) this.#turns.add(share);
        share.heldBytes += claim.bytes;
        this.#heldBytes += claim.bytes;
        this.#decompressing += 1;
        claim.granted();
      }
    } finally {
      this.#granting = false;
    }
  }

  #hasItsShare(share: Share, { bytes }: Claim): boolean {
    return share.heldBytes > 0 && share.heldBytes + bytes > this.#maxBytesOfOne;
  }

  #hasRoomFor({ bytes }: Claim): boolean {
    if (bytes > this.#maxBytes) return this.#decompressing === 0;
    return this.#heldBytes + bytes <= this.#maxBytes;
  }
}

/** What one connection has, and waits for. */
class Share {
  readonly connection: object;
  readonly waiting: Set<Claim> = new Set();
  heldBytes = 0;

  constructor(connection: object) {
    this.connection = connection;
  }
}

type ClaimState = "waiting" | "decompressing" | "decompressed" | "released";

class Claim implements Room {
  readonly share: Share;
  readonly #budget: DecompressionBudget;
  readonly #onRoom: (room: Room) => void;
  #state: ClaimState = "waiting";
  bytes: number;

  constructor(budget: DecompressionBudget, share: Share, bytes: number, onRoom: (room: Room) => void) {
    this.#budget = budget;
    this.share = share;
    this.bytes = bytes;
    this.#onRoom = onRoom;
  }

  granted(): void {
    this.#state = "decompressing";
    this.#onRoom(this);
  }

  keep(bytes: number): void {
    if (this.#state !== "decompressing") return;
    this.#become("decompressed", this.bytes - bytes);
  }

  release(): void {
    if (this.#state === "released") return;
    this.share.waiting.delete(this);
    this.#become("released", this.#state === "waiting" ? 0 : this.bytes);
  }

  #become(state: ClaimState, freed: number): void {
    const from = this.#state;
    this.#state = state;
    this.bytes -= freed;
    this.#budget.changed(this, from, freed);
  }
}

function firstOf<Item>(items: ReadonlySet<Item>): Item | undefined {
  for (const item of items) return item;
  return undefined;
}
