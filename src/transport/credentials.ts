// grpc-js's credentials with what they do not document, as two thin classes that only call back. What is loaded, watched and
// checked is in tls/.
import { isIP } from "node:net";
import type { SecureContextOptions } from "node:tls";
import {
  type CallCredentials,
  ChannelCredentials,
  type ChannelOptions,
  ServerCredentials,
} from "@grpc/grpc-js";

import { checkServerCredentials } from "./grpc-js.ts";

type Watcher = Parameters<ServerCredentials["_addWatcher"]>[0];

export interface ServerCredentialsEvents {
  /** A port was bound with these credentials. */
  onBound(): void;
  /** No port is bound with them any more. */
  onUnbound(): void;
  /** May a port be shared with these others? */
  equals(other: ServerCredentials): boolean;
}

export class WatchedServerCredentials extends ServerCredentials {
  readonly #events: ServerCredentialsEvents;

  constructor(
    connection: SecureContextOptions,
    context: SecureContextOptions,
    events: ServerCredentialsEvents,
  ) {
    checkServerCredentials();
    super(connection, context);
    this.#events = events;
  }

  /** Every bound port is one watcher. */
  override _addWatcher(watcher: Watcher): void {
    super._addWatcher(watcher);
    this.#events.onBound();
  }

  override _removeWatcher(watcher: Watcher): void {
    super._removeWatcher(watcher);
    if (this.getWatcherCount() === 0) this.#events.onUnbound();
  }

  override _equals(other: ServerCredentials): boolean {
    return this === other || this.#events.equals(other);
  }
}

type ChannelTarget = Parameters<ChannelCredentials["_createSecureConnector"]>[0];
type SecureConnector = ReturnType<ChannelCredentials["_createSecureConnector"]>;
export type Connecting = ReturnType<SecureConnector["connect"]>;

export interface ChannelCredentialsParts {
  readonly isSecure: boolean;
  /** grpc-js's own, which make the connections; asked anew for each of them. */
  current(): ChannelCredentials;
  /** Go with every call. */
  readonly callCredentials?: CallCredentials | undefined;
  /** A connector was made, or one is not needed any more: grpc-js holds one for each subchannel. */
  onConnector?(change: 1 | -1): void;
  onConnecting?(connecting: Connecting): Connecting;
}

/** Others never share a connection with these: what they verify and carry may differ. */
export class ForwardingCredentials extends ChannelCredentials {
  readonly #parts: ChannelCredentialsParts;

  constructor(parts: ChannelCredentialsParts) {
    super();
    this.#parts = parts;
  }

  override _isSecure(): boolean {
    return this.#parts.isSecure;
  }

  override _equals(other: ChannelCredentials): boolean {
    return this === other;
  }

  override _createSecureConnector(
    target: ChannelTarget,
    options: ChannelOptions,
    callCredentials?: CallCredentials,
  ): SecureConnector {
    const parts = this.#parts;
    const all = composed(parts.callCredentials, callCredentials);
    const connector = (): SecureConnector =>
      withoutAddressAsName(parts.current()._createSecureConnector(target, options, all));
    const first = connector();
    parts.onConnector?.(1);
    let held = true;
    return {
      connect: (socket) => {
        const connecting = connector().connect(socket);
        return parts.onConnecting?.(connecting) ?? connecting;
      },
      waitForReady: () => first.waitForReady(),
      getCallCredentials: () => first.getCallCredentials(),
      destroy: () => {
        if (held) parts.onConnector?.(-1);
        held = false;
      },
    };
  }
}

function composed(
  own: CallCredentials | undefined,
  others: CallCredentials | undefined,
): CallCredentials | undefined {
  return own === undefined || others === undefined ? (own ?? others) : own.compose(others);
}

/**
 * grpc-js 1.14 asks for a server by its address too, which RFC 6066 section 3 forbids, and Node 26 then refuses to connect.
 * Without the name Node verifies the certificate against the address all the same: it is `host`.
 */
function withoutAddressAsName(connector: SecureConnector): SecureConnector {
  const { connectionOptions } = connector as { readonly connectionOptions?: { servername?: string } };
  if (isIP(connectionOptions?.servername ?? "") !== 0) delete connectionOptions?.servername;
  return connector;
}
