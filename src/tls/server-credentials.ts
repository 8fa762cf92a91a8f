// Server credentials for grpc-js, made from the `tls` option: what createSsl cannot say (minimum version, ciphers,
// optional client certificates, files that change) is said here.
import type { Buffer } from "node:buffer";
import { constants, type X509Certificate } from "node:crypto";
import type { SecureServerOptions } from "node:http2";
import { createSecureContext, type SecureContextOptions } from "node:tls";
import { ChangeListeners } from "../config/change-listeners.ts";
import { parseOptions } from "../config/options.ts";
import { ConfigError } from "../grpc/errors.ts";
import { WatchedServerCredentials } from "../transport/credentials.ts";
import type { CertificateInUse } from "./certificate-expiry.ts";
import { CertificateReload } from "./certificate-reload.ts";
import { type CertificateReporting, sayWarning } from "./certificate-reporting.ts";
import type { CertificateRevocations } from "./certificate-revocations.ts";
import { certificatesIn } from "./load-pem.ts";
import {
  type ClientAuth,
  readServerTls,
  type ServerTls,
  type ServerTlsOptions,
  type ServerTlsSettings,
  serverTlsSchema,
  watchedPaths,
} from "./server-tls-options.ts";

/** TLS credentials of a server, what they ask of its clients, and the watch on their files while a port is bound. */
export class TlsServerCredentials extends WatchedServerCredentials {
  readonly clientAuth: ClientAuth;
  readonly #certificates: CertificateReload<ServerTls>;
  readonly #reporting: CertificateReporting;
  readonly #revocations: CertificateRevocations | undefined;
  readonly #rootsListeners = new ChangeListeners();
  #roots: readonly X509Certificate[];

  constructor(settings: ServerTlsSettings, reporting: CertificateReporting) {
    const tls = readServerTls(settings, "tls");
    const roots = certificatesIn(tls.clientCa);
    settings.crl?.useRoots?.(roots);
    super(connectionOptions(tls), contextOptions(tls), {
      onBound: () => this.#certificates.start(),
      onUnbound: () => this.#certificates.stop(),
      // The same files' contents and the same demands: a port may be shared only by credentials that agree in all.
      equals: (other) =>
        other instanceof TlsServerCredentials &&
        same(this.#certificates.current, other.#certificates.current),
    });
    this.clientAuth = tls.clientAuth;
    this.#reporting = reporting;
    this.#revocations = settings.crl;
    this.#roots = roots;
    this.#certificates = new CertificateReload(
      {
        role: "server",
        paths: watchedPaths(settings.reload, [settings.cert, settings.key, settings.clientCa]),
        first: tls,
        load: () => readServerTls(settings, "tls"),
        same,
        take: (changed) => this.#take(changed),
        certificatesIn: inUse,
      },
      reporting,
    );
  }

  /** What client certificates are verified against, now. */
  get roots(): readonly X509Certificate[] {
    return this.#roots;
  }

  /** Calls `listener` when other roots are in use. */
  onRootsChange(listener: () => void): void {
    this.#rootsListeners.add(listener);
  }

  /** Ends the watch on the files at once. What is in use stays in use. */
  stopWatching(): void {
    this.#certificates.stop();
  }

  /**
   * New connections use the new context. It has ticket keys of its own, so that sessions from before are not resumed: they
   * would carry on what an earlier CA vouched for.
   */
  #take(tls: ServerTls): void {
    const options = contextOptions(tls);
    try {
      createSecureContext(options);
    } catch (cause) {
      // grpc-js would write it to standard error and refuse every connection from then on.
      throw new ConfigError("tls: OpenSSL refuses the changed files together", { cause });
    }
    this.updateSecureContextOptions(options);
    if (!sameBytes(tls.clientCa, this.#certificates.current.clientCa))
      this.#takeRoots(certificatesIn(tls.clientCa));
  }

  #takeRoots(roots: readonly X509Certificate[]): void {
    this.#roots = roots;
    try {
      this.#revocations?.useRoots?.(roots);
    } catch (error) {
      const problem = error instanceof ConfigError ? error.message : "tls.crl failed";
      const message =
        "revocation lists do not fit the changed client CA; client certificates that it issued may be refused";
      sayWarning(this.#reporting, { role: "ca", problem }, message, problem);
    }
    this.#rootsListeners.notify();
  }
}

function same(a: ServerTls, b: ServerTls): boolean {
  return (
    a.cert.equals(b.cert) &&
    a.key.equals(b.key) &&
    sameBytes(a.clientCa, b.clientCa) &&
    a.clientAuth === b.clientAuth &&
    a.resumes === b.resumes &&
    a.minVersion === b.minVersion &&
    a.ciphers === b.ciphers
  );
}

function sameBytes(a: Buffer | undefined, b: Buffer | undefined): boolean {
  return a === undefined || b === undefined ? a === b : a.equals(b);
}

function inUse({ cert, clientCa }: ServerTls): readonly CertificateInUse[] {
  return [
    ...certificatesIn(cert).map((certificate) => ({ role: "server", certificate }) as const),
    ...certificatesIn(clientCa).map((certificate) => ({ role: "ca", certificate }) as const),
  ];
}

/**
 * TLS credentials for a `grpc.Server`: TLS 1.3 unless `minVersion` says otherwise, client certificates as
 * `clientAuth` says, files watched while a port is bound; problems with changed files become process warnings
 * (`PalisadeWarning`). `createSecureServer` makes its own; this is for servers that other code makes.
 *
 * There, with `clientAuth: "request"`, grpc-js keeps connections whose client certificate does not verify. They carry
 * no identity, but they are not ended: `createSecureServer` ends them, and those whose client CA was taken out.
 *
 * @throws ConfigError with the path of the option that is wrong, or of the file that cannot be used
 * @example
 * server.bindAsync("0.0.0.0:50051", serverCredentials({ cert: "server.crt", key: "server.key" }), done);
 */
export function serverCredentials(tls: ServerTlsOptions): TlsServerCredentials {
  const settings = parseOptions(serverTlsSchema, tls, "tls");
  if (settings.plaintext !== undefined) {
    throw new ConfigError("tls.plaintext: there are no TLS credentials without TLS; use createSecureServer");
  }
  if (settings.crl !== undefined)
    throw new ConfigError(
      "tls.crl: nobody would ask it on a server that other code makes; use createSecureServer",
    );
  return new TlsServerCredentials(settings, { metrics: true });
}

/** What every context repeats: Node forgets what a new one (after a reload) does not say, TLS 1.2 was accepted again. */
function protocolOptions(tls: ServerTls): SecureContextOptions {
  return {
    minVersion: /* protection: tls-version */ tls.minVersion,
    honorCipherOrder: true,
    ...(tls.resumes ? {} : { secureOptions: constants.SSL_OP_NO_TICKET }),
    ...(tls.ciphers === undefined ? {} : { ciphers: tls.ciphers }),
  };
}

function connectionOptions(tls: ServerTls): SecureServerOptions {
  return {
    ...protocolOptions(tls),
    requestCert: tls.clientAuth !== "none",
    rejectUnauthorized: /* protection: client-certificate */ tls.clientAuth === "require",
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
