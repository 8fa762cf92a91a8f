// Server credentials for grpc-js, made from the `tls` option: what createSsl cannot say (minimum version, ciphers,
// optional client certificates) is said here.
import type { SecureServerOptions } from "node:http2";
import type { SecureContextOptions } from "node:tls";
import { ServerCredentials } from "@grpc/grpc-js";
import { type ClientAuth, loadServerTls, type ServerTls, type ServerTlsOptions } from "./server-options.ts";

/** TLS credentials of a server, and what they ask of its clients. */
export class TlsServerCredentials extends ServerCredentials {
  readonly clientAuth: ClientAuth;
  readonly #tls: ServerTls;

  constructor(tls: ServerTls) {
    super(connectionOptions(tls), contextOptions(tls));
    this.clientAuth = tls.clientAuth;
    this.#tls = tls;
  }

  /** The same files' contents and the same demands: a port may be shared only by credentials that agree in all. */
  override _equals(other: ServerCredentials): boolean {
    if (this === other) return true;
    if (!(other instanceof TlsServerCredentials)) return false;
    const [a, b] = [this.#tls, other.#tls];
    return (
      a.cert.equals(b.cert) &&
      a.key.equals(b.key) &&
      (a.clientCa === undefined || b.clientCa === undefined
        ? a.clientCa === b.clientCa
        : a.clientCa.equals(b.clientCa)) &&
      a.clientAuth === b.clientAuth &&
      a.minVersion === b.minVersion &&
      a.ciphers === b.ciphers
    );
  }
}

/**
 * TLS credentials for a `grpc.Server` (T1, T2): TLS 1.3 unless `minVersion` says otherwise, client certificates as
 * `clientAuth` says. `createSecureServer` makes its own; this is for servers that other code makes.
 *
 * There, with `clientAuth: "request"`, grpc-js keeps connections whose client certificate does not verify. They carry
 * no identity, but they are not ended: `createSecureServer` ends them.
 *
 * @throws ConfigError with the path of the option that is wrong, or of the file that cannot be used
 * @example
 * server.bindAsync("0.0.0.0:50051", serverCredentials({ cert: "server.crt", key: "server.key" }), done);
 */
export function serverCredentials(tls: ServerTlsOptions): TlsServerCredentials {
  return new TlsServerCredentials(loadServerTls(tls));
}

/** What every context repeats: Node forgets what a new one (after a reload) does not say, TLS 1.2 was accepted again. */
function protocolOptions(tls: ServerTls): SecureContextOptions {
  return {
    minVersion: tls.minVersion,
    honorCipherOrder: true,
    ...(tls.ciphers === undefined ? {} : { ciphers: tls.ciphers }),
  };
}

function connectionOptions(tls: ServerTls): SecureServerOptions {
  return {
    ...protocolOptions(tls),
    requestCert: tls.clientAuth !== "none",
    rejectUnauthorized: tls.clientAuth === "require",
  };
}

function contextOptions(tls: ServerTls): SecureContextOptions {
  return {
    ...protocolOptions(tls),
    cert: tls.cert,
    key: tls.key,
    ...(tls.clientCa === undefined ? {} : { ca: tls.clientCa }),
  };
}
