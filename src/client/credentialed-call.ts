// A call that carries the credentials of the client's sources, for the handler that made it.
import type { CallCredentials } from "@grpc/grpc-js";
import { type ChannelCall, DelegatingCall } from "./channel-call.ts";

/**
 * The sources are not put on the channel's credentials, because grpc-js asks those when a connection is ready, in whatever
 * asynchronous context that happens: often that of another caller's call.
 */
export class CredentialedCall extends DelegatingCall {
  readonly #credentials: CallCredentials;

  constructor(call: ChannelCall, credentials: CallCredentials) {
    super(call);
    this.#credentials = credentials;
    super.setCredentials(credentials);
  }

  /** What a single call brings goes in addition. */
  override setCredentials(credentials: CallCredentials): void {
    super.setCredentials(this.#credentials.compose(credentials));
  }
}
