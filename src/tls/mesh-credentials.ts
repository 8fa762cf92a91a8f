// Channel credentials without encryption that carry call credentials, for a target that a sidecar encrypts (T6, K2).
// grpc-js lets insecure credentials compose with none; whoever asks for these has named the mesh.
import { type CallCredentials, ChannelCredentials, type ChannelOptions } from "@grpc/grpc-js";

type ChannelTarget = Parameters<ChannelCredentials["_createSecureConnector"]>[0];
type SecureConnector = ReturnType<ChannelCredentials["_createSecureConnector"]>;

export class MeshCredentials extends ChannelCredentials {
  readonly #plain: ChannelCredentials = ChannelCredentials.createInsecure();
  readonly #callCredentials: CallCredentials | undefined;

  constructor(callCredentials?: CallCredentials) {
    super();
    this.#callCredentials = callCredentials;
  }

  override compose(callCredentials: CallCredentials): MeshCredentials {
    return new MeshCredentials(this.#callCredentials?.compose(callCredentials) ?? callCredentials);
  }

  override _isSecure(): boolean {
    return false;
  }

  override _equals(other: ChannelCredentials): boolean {
    return this === other;
  }

  override _createSecureConnector(
    target: ChannelTarget,
    options: ChannelOptions,
    callCredentials?: CallCredentials,
  ): SecureConnector {
    const own = this.#callCredentials;
    const all =
      own === undefined || callCredentials === undefined
        ? (own ?? callCredentials)
        : own.compose(callCredentials);
    return this.#plain._createSecureConnector(target, options, all);
  }
}
