// Every status of a call passes us, those too that grpc-js sends by itself.
import type { Buffer } from "node:buffer";
import type { BaseCall, PartialStatus } from "./inside.ts";
import { sendDueTrailers, sendPlainSuccess } from "./shorter-way.ts";

/**
 * Shows every status: those that the base call sends by itself (messages too large, decompression, serialization,
 * failed writes) go through `this.sendStatus`, so an own property sees them. Returns nothing; send with `sendOn`.
 */
export function interceptOwnStatuses(base: BaseCall, receiver: BaseCallReceiver): void {
  const owned = base as OwnedBaseCall;
  owned.palisade = receiver;
  // protection: every-status
  owned.sendStatus = sendToReceiver;
  // Our own timer ends the call (L6): the base call's counts in 32 bits and answers with its own text.
  if (base.deadlineTimer !== null) {
    clearTimeout(base.deadlineTimer);
    base.deadlineTimer = null;
  }
}

export interface BaseCallReceiver {
  onBaseStatus(status: PartialStatus): void;
  /** Of one message, as it came over the wire, without its framing. */
  onBytesReceived(bytes: number): void;
  onBytesSent(bytes: number): void;
}

export interface OwnedBaseCall extends BaseCall {
  palisade: BaseCallReceiver;
  readonly maxSendMessageSize: number;
  serializeMessage(value: unknown): Buffer;
}

function sendToReceiver(this: OwnedBaseCall, status: PartialStatus): void {
  this.palisade.onBaseStatus(status);
}

/** Sends a status for real, past our own property. */
export function sendOn(base: BaseCall, status: PartialStatus): void {
  if (sendPlainSuccess(base, status)) return;
  const prototype = Object.getPrototypeOf(base) as BaseCall;
  prototype.sendStatus.call(base, status);
  sendDueTrailers(base);
}
