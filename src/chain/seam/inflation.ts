// Compressed messages, one after another.
import type { BaseCall } from "./inside.ts";

/**
 * grpc-js inflates every message of a frame as it arrives, all at once, read or not, ended or not: sixteen kilobytes of
 * them are a thousand inflaters, or as many megabytes. Here the next one is inflated when the compressed one before it
 * was delivered, whatever came uncompressed in between.
 */
export class Inflation {
  readonly #waiting: (() => void)[] = [];
  /** Of each message that was not delivered yet, in their order: was it compressed? */
  readonly #compressed: boolean[] = [];
  #underWay = false;

  constructor(base: BaseCall) {
    const inflate = base.decompressMessage;
    base.decompressMessage = (message, encoding) => {
      const compressed = encoding !== "identity";
      this.#compressed.push(compressed);
      return compressed
        ? this.#turn().then(() => inflate.call(base, message, encoding))
        : inflate.call(base, message, encoding);
    };
  }

  #turn(): Promise<void> {
    if (this.#underWay) return new Promise((resolve) => this.#waiting.push(resolve));
    this.#underWay = true;
    return Promise.resolve();
  }

  /** A message was delivered, in the order in which they came. Where it was compressed, the next one may be inflated. */
  next(): void {
    if (this.#compressed.shift() !== true) return;
    const waiting = this.#waiting.shift();
    if (waiting === undefined) this.#underWay = false;
    else waiting();
  }

  /** The call ended: what waits is never inflated. */
  stop(): void {
    this.#waiting.length = 0;
    this.#compressed.length = 0;
    this.#underWay = true;
  }
}

/** Undefined where the caller does not compress. */
export function inflationOf(base: BaseCall): Inflation | undefined {
  return base.incomingEncoding === "identity" ? undefined : new Inflation(base);
}
