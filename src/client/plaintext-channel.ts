// A channel without encryption that carries no credentials, whoever adds them to a call.
// grpc-js itself sends the call credentials of a single call over plaintext without complaint. The guard stands in the
// channel because everything above it can be replaced for one call, interceptors included.
import {
  type CallCredentials,
  Channel,
  type ChannelOptions,
  credentials,
  Metadata,
  status,
} from "@grpc/grpc-js";
import { type CallListener, type ChannelCall, ContextKeepingCall, DelegatingCall } from "./channel-call.ts";

/** The headers that carry credentials by convention. A secret under another name is beyond what a channel can know. */
const credentialHeaders = ["authorization", "proxy-authorization", "x-api-key", "cookie"] as const;

/** The plaintext channel of `createSecureClient`: a call that brings credentials ends UNAUTHENTICATED, unsent. */
export class PlaintextChannel extends Channel {
  constructor(target: string, options: ChannelOptions) {
    super(target, credentials.createInsecure(), options);
  }

  override createCall(...call: Parameters<Channel["createCall"]>): ChannelCall {
    return new CredentialFreeCall(new ContextKeepingCall(super.createCall(...call)));
  }
}

class CredentialFreeCall extends DelegatingCall {
  #hasCredentials = false;

  override setCredentials(_credentials: CallCredentials): void {
    this.#hasCredentials = true;
  }

  override start(metadata: Metadata, listener: CallListener): void {
    const found = this.#hasCredentials
      ? "call credentials"
      : credentialHeaders.find((header) => metadata.get(header).length > 0);
    if (/* protection: plaintext-channel */ found === undefined) {
      super.start(metadata, listener);
      return;
    }
    // A call that was cancelled before it starts only delivers its status: it never asks for a connection.
    super.cancelWithStatus(
      status.UNAUTHENTICATED,
      `${found} on a plaintext channel: credentials are not sent without encryption; nothing was sent. Use TLS`,
    );
    super.start(new Metadata(), listener);
  }
}
