// How large messages are on the wire, and how large they may be.
import type { Buffer } from "node:buffer";
import type { BaseCall } from "./inside.ts";
import type { OwnedBaseCall } from "./own-statuses.ts";
import { framingBytes } from "./whole-message.ts";

/** Another limit for this call's messages than the server's (L4), compressed and decompressed. */
export function limitMessages(base: BaseCall, maxBytes: number): void {
  base.maxReceiveMessageSize = maxBytes;
  base.decoder.maxReadMessageLength = maxBytes;
}

/** What was put in place of the base call's own before the counting: it must go on being asked. */
const ownInflation: unique symbol = Symbol("palisade.inflation");

type CountingCall = OwnedBaseCall & { [ownInflation]?: OwnedBaseCall["decompressMessage"] };

/**
 * Tells the receiver the size of each message: the base call takes every inbound message through
 * `this.decompressMessage`, compressed or not, and every outbound one through `this.serializeMessage`. Needs
 * `interceptOwnStatuses` first. False, and no sizes, where this grpc-js has neither.
 */
export function countMessageBytes(base: BaseCall): boolean {
  const owned = base as CountingCall;
  if (typeof owned.decompressMessage !== "function" || typeof owned.serializeMessage !== "function")
    return false;
  if (Object.hasOwn(owned, "decompressMessage")) owned[ownInflation] = owned.decompressMessage;
  owned.decompressMessage = countReceived;
  owned.serializeMessage = countSent;
  return true;
}

function countReceived(this: CountingCall, message: Buffer, encoding: string): Buffer | Promise<Buffer> {
  this.palisade.onBytesReceived(message.length - framingBytes);
  const prototype = Object.getPrototypeOf(this) as OwnedBaseCall;
  const inflate = this[ownInflation] ?? prototype.decompressMessage;
  return inflate.call(this, message, encoding);
}

function countSent(this: OwnedBaseCall, value: unknown): Buffer {
  const prototype = Object.getPrototypeOf(this) as OwnedBaseCall;
  const message = prototype.serializeMessage.call(this, value);
  const bytes = message.length - framingBytes;
  // The base call sends no message beyond its limit.
  if (this.maxSendMessageSize === -1 || bytes <= this.maxSendMessageSize) this.palisade.onBytesSent(bytes);
  return message;
}
