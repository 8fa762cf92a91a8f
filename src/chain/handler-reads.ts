/**
 * Tells when a handler waits for a message of its stream. A stream asks for messages on its own account, sixteen of them
 * before anybody has read one (its high water mark); where each can grow to megabytes, what counts is that the
 * handler reads. Public members of the stream alone are read and put in place, on the handler's own call object.
 */
import type { Readable } from "node:stream";
import type { Decompression, MessageReader } from "../transport/decompression.ts";

/** For the stream of one call whose messages are compressed, behind the guard: its `emit` and its loops are in place. */
export function readWhenWanted(stream: Readable, decompression: Decompression): void {
  const { read, on, emit } = stream;
  const loop = stream[Symbol.asyncIterator];
  /** Somebody asked for a message, and there was none. */
  let cameForNothing = false;
  /** A loop listens for "readable" all the time, and reads when its body is done. */
  let isLooped = false;
  const reader: MessageReader = {
    get waits() {
      if (stream.readableLength > 0) return false;
      if (stream.readableFlowing === true || cameForNothing) return true;
      // Who listens for it expects a message to be there when it is emitted.
      return !isLooped && stream.listenerCount("readable") > 0;
    },
  };
  decompression.reader = reader;
  stream.read = (size) => {
    const message: unknown = read.call(stream, size);
    // 0 is asked by the stream itself, in advance.
    if (message !== null || size === 0) return message;
    cameForNothing = true;
    decompression.next();
    return message;
  };
  const listen = (event: string | symbol, listener: (...args: unknown[]) => void): Readable => {
    on.call(stream, event, listener);
    if (event === "readable") decompression.next();
    return stream;
  };
  stream.on = listen as Readable["on"];
  stream.addListener = listen as Readable["addListener"];
  // Whichever way a message is read, it is emitted.
  stream.emit = (event: string | symbol, ...args: unknown[]) => {
    if (event === "data") {
      cameForNothing = false;
      decompression.taken();
    }
    return Reflect.apply(emit, stream, [event, ...args]);
  };
  stream[Symbol.asyncIterator] = () => {
    isLooped = true;
    return loop.call(stream);
  };
}
