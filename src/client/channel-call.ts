// A call as a channel makes it, and what stands in front of one. Below interceptors, so that no call can do without.
import { AsyncResource } from "node:async_hooks";
import { type CallCredentials, type Channel, credentials, type Metadata, status } from "@grpc/grpc-js";
import { StatusError } from "../grpc/errors.ts";

export type ChannelCall = ReturnType<Channel["createCall"]>;
export type CallListener = Parameters<ChannelCall["start"]>[1];
export type SentMessage = Parameters<ChannelCall["sendMessageWithContext"]>;

/** Does nothing of its own. */
export class DelegatingCall implements ChannelCall {
  protected call: ChannelCall;

  constructor(call: ChannelCall) {
    this.call = call;
  }

  setCredentials(credentials: CallCredentials): void {
    this.call.setCredentials(credentials);
  }

  start(metadata: Metadata, listener: CallListener): void {
    this.call.start(metadata, listener);
  }

  cancelWithStatus(...how: Parameters<ChannelCall["cancelWithStatus"]>): void {
    this.call.cancelWithStatus(...how);
  }

  getPeer(): string {
    return this.call.getPeer();
  }

  sendMessageWithContext(...message: SentMessage): void {
    this.call.sendMessageWithContext(...message);
  }

  startRead(): void {
    this.call.startRead();
  }

  halfClose(): void {
    this.call.halfClose();
  }

  getCallNumber(): number {
    return this.call.getCallNumber();
  }

  getAuthContext(): ReturnType<ChannelCall["getAuthContext"]> {
    return this.call.getAuthContext();
  }
}

/** What would be sent with it ends the call instead. */
const cancelled: CallCredentials = credentials.createFromMetadataGenerator((_call, answer) =>
  answer(new StatusError(status.CANCELLED, "the call was cancelled before it was sent")),
);

/**
 * Answers in the asynchronous context in which the call was made, and is not sent once it was cancelled. grpc-js answers a call
 * that waited for the connection in the context of the call that opened it: `currentContext()` in its callback would be another
 * caller's.
 */
export class ContextKeepingCall extends DelegatingCall {
  readonly #context = new AsyncResource("PalisadeClientCall");

  override start(metadata: Metadata, listener: CallListener): void {
    const context = this.#context;
    super.start(metadata, {
      onReceiveMetadata: (headers) => context.runInAsyncScope(listener.onReceiveMetadata, listener, headers),
      onReceiveMessage: (message) => context.runInAsyncScope(listener.onReceiveMessage, listener, message),
      onReceiveStatus: (ended) => context.runInAsyncScope(listener.onReceiveStatus, listener, ended),
    });
  }

  override cancelWithStatus(...how: Parameters<ChannelCall["cancelWithStatus"]>): void {
    // grpc-js reads credentials and sends the call a few microtasks after its start, even if it was cancelled until then.
    super.setCredentials(cancelled);
    super.cancelWithStatus(...how);
  }

  override sendMessageWithContext(...[how, message]: SentMessage): void {
    const { callback } = how;
    if (callback === undefined) {
      super.sendMessageWithContext(how, message);
      return;
    }
    const inContext: typeof callback = (error) => this.#context.runInAsyncScope(callback, undefined, error);
    super.sendMessageWithContext({ ...how, callback: inContext }, message);
  }
}
