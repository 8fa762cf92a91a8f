// TLS channel credentials whose certificates may change: each new connection is made with those of its time.
import type { Buffer } from "node:buffer";
import { isIP } from "node:net";
import { createSecureContext, type SecureContext, type SecureContextOptions } from "node:tls";
import { type CallCredentials, ChannelCredentials, type ChannelOptions } from "@grpc/grpc-js";
import { ConfigError } from "../call/errors.ts";
import type { CertificateInUse } from "./certificate-expiry.ts";
import { CertificateReload } from "./certificate-reload.ts";
import type { CertificateReporting } from "./certificate-reporting.ts";
import { advise } from "./handshake-advice.ts";
import { certificatesIn } from "./load-pem.ts";

/** The files of a client, read and checked. */
export interface ClientCertificates {
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
}

export interface ReloadingCredentialsOptions {
  /** Reads and checks the files. Throws `ConfigError`. */
  readonly load: () => ClientCertificates;
  /** What every context repeats. */
  readonly protocol: SecureContextOptions;
  /** The files to watch. */
  readonly paths: readonly string[];
  readonly reporting: CertificateReporting;
}

type ChannelTarget = Parameters<ChannelCredentials["_createSecureConnector"]>[0];
type SecureConnector = ReturnType<ChannelCredentials["_createSecureConnector"]>;

/** The files are watched as long as grpc-js holds a connector, which each subchannel does. */
export class ReloadingCredentials extends ChannelCredentials {
  readonly #certificates: CertificateReload<ClientCertificates>;
  #secure: ChannelCredentials;
  #connectors = 0;

  constructor({ load, protocol, paths, reporting }: ReloadingCredentialsOptions) {
    super();
    const first = load();
    this.#secure = fromContext(contextOf(first, protocol));
    this.#certificates = new CertificateReload(
      {
        role: "client",
        paths,
        first,
        load,
        same,
        take: (changed) => {
          this.#secure = fromContext(contextOf(changed, protocol));
        },
        certificatesIn: inUse,
      },
      reporting,
    );
  }

  override _isSecure(): boolean {
    return true;
  }

  /** Others never share a connection with these: what they verify may change apart. */
  override _equals(other: ChannelCredentials): boolean {
    return this === other;
  }

  override _createSecureConnector(
    target: ChannelTarget,
    options: ChannelOptions,
    callCredentials?: CallCredentials,
  ): SecureConnector {
    const connector = (): SecureConnector =>
      withoutAddressAsName(this.#secure._createSecureConnector(target, options, callCredentials));
    const first = connector();
    this.#connectors += 1;
    this.#certificates.start();
    let held = true;
    return {
      connect: (socket) => advised(connector().connect(socket)),
      waitForReady: () => first.waitForReady(),
      getCallCredentials: () => first.getCallCredentials(),
      destroy: () => {
        if (!held) return;
        held = false;
        this.#connectors -= 1;
        if (this.#connectors === 0) this.stopWatching();
      },
    };
  }

  /** Ends the watch on the files at once. What is in use stays in use. */
  stopWatching(): void {
    this.#certificates.stop();
  }
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

/** Under TLS 1.3 the server answers the client's certificate after the handshake: then the socket fails, not the promise. */
async function advised(
  connecting: ReturnType<SecureConnector["connect"]>,
): ReturnType<SecureConnector["connect"]> {
  try {
    const connected = await connecting;
    connected.socket.prependListener("error", advise);
    return connected;
  } catch (error) {
    advise(error);
    throw error;
  }
}

function contextOf(certificates: ClientCertificates, protocol: SecureContextOptions): SecureContext {
  try {
    return createSecureContext({ ...protocol, ...certificates });
  } catch (cause) {
    throw new ConfigError("tls: OpenSSL refuses the files together", { cause });
  }
}

function fromContext(context: SecureContext): ChannelCredentials {
  // Said aloud: left out, the environment variable NODE_TLS_REJECT_UNAUTHORIZED decides.
  return ChannelCredentials.createFromSecureContext(context, {
    rejectUnauthorized: /* protection: server-certificate */ true,
  });
}

function same(a: ClientCertificates, b: ClientCertificates): boolean {
  return sameBytes(a.ca, b.ca) && sameBytes(a.cert, b.cert) && sameBytes(a.key, b.key);
}

function sameBytes(a: Buffer | undefined, b: Buffer | undefined): boolean {
  return a === undefined || b === undefined ? a === b : a.equals(b);
}

function inUse({ cert, ca }: ClientCertificates): readonly CertificateInUse[] {
  return [
    ...certificatesIn(cert).map((certificate) => ({ role: "client", certificate }) as const),
    ...certificatesIn(ca).map((certificate) => ({ role: "ca", certificate }) as const),
  ];
}
