// TLS channel credentials whose certificates may change: each new connection is made with those of its time.
import type { Buffer } from "node:buffer";
import { createSecureContext, type SecureContext, type SecureContextOptions } from "node:tls";
import { ChannelCredentials } from "@grpc/grpc-js";
import { ConfigError } from "../grpc/errors.ts";
import { type Connecting, ForwardingCredentials } from "../transport/credentials.ts";
import type { CertificateInUse } from "./certificate-expiry.ts";
import { CertificateReload } from "./certificate-reload.ts";
import type { CertificateReporting } from "./certificate-reporting.ts";
import { advise, closedAtOnce } from "./handshake-advice.ts";
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

/** The files are watched as long as grpc-js holds a connector, which each subchannel does. */
export class ReloadingCredentials extends ForwardingCredentials {
  readonly #certificates: CertificateReload<ClientCertificates>;

  constructor({ load, protocol, paths, reporting }: ReloadingCredentialsOptions) {
    const first = load();
    let current = fromContext(contextOf(first, protocol));
    let connectors = 0;
    super({
      isSecure: true,
      current: () => current,
      onConnector: (change) => {
        connectors += change;
        if (connectors === 0) this.stopWatching();
        else this.#certificates.start();
      },
      onConnecting: advised,
    });
    this.#certificates = new CertificateReload(
      {
        role: "client",
        paths,
        first,
        load,
        same,
        take: (changed) => {
          current = fromContext(contextOf(changed, protocol));
        },
        certificatesIn: inUse,
      },
      reporting,
    );
  }

  /** Ends the watch on the files at once. What is in use stays in use. */
  stopWatching(): void {
    this.#certificates.stop();
  }
}

/** Under TLS 1.3 the server answers the client's certificate after the handshake: then the socket fails, not the promise. */
async function advised(connecting: Connecting): Connecting {
  try {
    const connected = await connecting;
    const { socket } = connected;
    const connectedAt = performance.now();
    socket.prependListener("error", advise);
    socket.prependOnceListener("close", (hadError: boolean) => {
      // What fails here is the HTTP/2 session, whose error grpc-js shows.
      if (!hadError && performance.now() - connectedAt < atOnceMs) socket.emit("error", closedAtOnce());
    });
    return connected;
  } catch (error) {
    advise(error);
    throw error;
  }
}

/** A server that refuses a client's certificate may close the connection without a TLS alert, as Node's do. */
const atOnceMs = 1_000;

function contextOf(certificates: ClientCertificates, protocol: SecureContextOptions): SecureContext {
  try {
    return createSecureContext({ ...protocol, ...certificates });
  } catch (cause) {
    throw new ConfigError("tls: OpenSSL refuses the files together", { cause });
  }
}

function fromContext(context: SecureContext): ChannelCredentials {
  // Set explicitly: left out, the environment variable NODE_TLS_REJECT_UNAUTHORIZED decides.
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
