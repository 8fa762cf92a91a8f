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

type ChannelCall = ReturnType<Channel["createCall"]>;

/** The headers that carry credentials by convention. A secret under another name is beyond what a channel can know. */
const credentialHeaders = ["authorization", "proxy-authorization", "x-api-key", "cookie"] as const;

/** The plaintext channel of `createSecureClient`: a call that brings credentials ends UNAUTHENTICATED, unsent. */
export class PlaintextChannel extends Channel {
  constructor(target: string, options: ChannelOptions) {
    super(target, credentials.createInsecure(), options);
  }

  override createCall(...call: Parameters<Channel["createCall"]>): ChannelCall {
    return new CredentialFreeCall(super.createCall(...call));
  }
}

class CredentialFreeCall implements ChannelCall {
  readonly #call: ChannelCall;
  #hasCredentials = false;

  constructor(call: ChannelCall) {
    this.#call = call;
  }

  setCredentials(_credentials: CallCredentials): void {
    this.#hasCredentials = true;
  }

  start(metadata: Metadata, listener: Parameters<ChannelCall["start"]>[1]): void {
    const found = this.#hasCredentials
      ? "call credentials"
      : credentialHeaders.find((header) => metadata.get(header).length > 0);
    if (/* protection: plaintext-channel */ found === undefined) {
      this.#call.start(metadata, listener);
      return;
    }
    // A call that was cancelled before it starts only delivers its status: it never asks for a connection.
    this.#call.cancelWithStatus(
      status.UNAUTHENTICATED,
      `${found} on a plaintext channel: credentials are not sent without encryption; nothing was sent. Use TLS`,
    );
    this.#call.start(new Metadata(), listener);
  }

  cancelWithStatus(...how: Parameters<ChannelCall["cancelWithStatus"]>): void {
    this.#call.cancelWithStatus(...how);
  }

  getPeer(): string {
    return this.#call.getPeer();
  }

  sendMessageWithContext(...message: Parameters<ChannelCall["sendMessageWithContext"]>): void {
    this.#call.sendMessageWithContext(...message);
  }

  startRead(): void {
    this.#call.startRead();
  }

  halfClose(): void {
    this.#call.halfClose();
  }

  getCallNumber(): number {
    return this.#call.getCallNumber();
  }

  getAuthContext(): ReturnType<ChannelCall["getAuthContext"]> {
    return this.#call.getAuthContext();
  }
}
