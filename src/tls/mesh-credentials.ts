// Channel credentials without encryption that carry call credentials, for a target that a sidecar encrypts.
// grpc-js lets insecure credentials compose with none; whoever asks for these has named the mesh.
import { type CallCredentials, ChannelCredentials } from "@grpc/grpc-js";
import { ForwardingCredentials } from "../transport/credentials.ts";

const plain = ChannelCredentials.createInsecure();

export class MeshCredentials extends ForwardingCredentials {
  readonly #callCredentials: CallCredentials | undefined;

  constructor(callCredentials?: CallCredentials) {
    super({ isSecure: false, current: () => plain, callCredentials });
    this.#callCredentials = callCredentials;
  }

  override compose(callCredentials: CallCredentials): MeshCredentials {
    return new MeshCredentials(this.#callCredentials?.compose(callCredentials) ?? callCredentials);
  }
}
