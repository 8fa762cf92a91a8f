// The server's `tls` option: its shape, its defaults, and the files it names, read and checked.
import type { Buffer } from "node:buffer";
import { z } from "zod";
import { parseOptions } from "../call/options.ts";
import {
  type KeyPair,
  loadKeyPair,
  loadTrustedCertificates,
  type PemSource,
  pemSourceSchema,
} from "./load-pem.ts";
import {
  ciphersProblem,
  ciphersSchema,
  defaultMinVersion,
  minVersionSchema,
  type TlsVersion,
} from "./protocol.ts";

/**
 * What the server asks of its clients: nothing; a certificate if they have one; or a certificate that verifies, without
 * which there is no connection.
 */
export type ClientAuth = "none" | "request" | "require";

/**
 * TLS on the server. Each file is a path or a Buffer, in PEM.
 *
 * @example
 * { cert: "certs-dev/server.crt", key: "certs-dev/server.key", clientCa: "certs-dev/ca.crt" }
 */
export interface ServerTlsOptions {
  /** The server's certificate, followed by its intermediates. */
  readonly cert: PemSource;
  /** Its private key, not encrypted. */
  readonly key: PemSource;
  /** The roots that client certificates are verified against. Only these: the system's roots vouch for no client. */
  readonly clientCa?: PemSource;
  /** Default: `"require"` where `clientCa` is given, else `"none"`. */
  readonly clientAuth?: ClientAuth;
  /** The oldest version of TLS that is accepted. Default: `"TLSv1.3"`. */
  readonly minVersion?: TlsVersion;
  /**
   * Names as in OpenSSL with colons between them, in the server's order of preference. Default: Node's. With
   * `minVersion: "TLSv1.2"` a list without TLS 1.3 suites leaves those at their default.
   */
  readonly ciphers?: string;
}

/** The `tls` option with its defaults filled in; files are not read yet. */
export interface ServerTlsSettings {
  readonly cert: PemSource;
  readonly key: PemSource;
  readonly clientCa?: PemSource;
  readonly clientAuth: ClientAuth;
  readonly minVersion: TlsVersion;
  readonly ciphers?: string;
}

/** The `tls` option with its files read and checked. */
export interface ServerTls extends KeyPair {
  readonly clientCa?: Buffer;
  readonly clientAuth: ClientAuth;
  readonly minVersion: TlsVersion;
  readonly ciphers?: string;
}

/** The shape of the server's `tls` option, and what its parts demand of each other. */
export const serverTlsSchema: z.ZodType<ServerTlsSettings, ServerTlsOptions> = z
  .strictObject({
    cert: pemSourceSchema,
    key: pemSourceSchema,
    // Not `optional`: a `clientCa` that is undefined by mistake (an unset variable) must not end in no client checks.
    clientCa: pemSourceSchema.exactOptional(),
    clientAuth: z.enum(["none", "request", "require"]).exactOptional(),
    minVersion: minVersionSchema.exactOptional(),
    ciphers: ciphersSchema.exactOptional(),
  })
  .superRefine((tls, context) => {
    const wantsCertificates = tls.clientAuth === "request" || tls.clientAuth === "require";
    if (wantsCertificates && tls.clientCa === undefined) {
      context.addIssue({
        code: "custom",
        path: ["clientCa"],
        message: `clientAuth "${tls.clientAuth}" needs clientCa, the roots that client certificates are verified against`,
      });
    }
    if (tls.clientAuth === "none" && tls.clientCa !== undefined) {
      context.addIssue({
        code: "custom",
        path: ["clientAuth"],
        message:
          'with "none" nothing is verified against clientCa; remove clientCa, or say "request" or "require"',
      });
    }
    const problem =
      tls.ciphers === undefined
        ? undefined
        : ciphersProblem(tls.ciphers, tls.minVersion ?? defaultMinVersion);
    if (problem !== undefined) context.addIssue({ code: "custom", path: ["ciphers"], message: problem });
  })
  .transform((tls) => ({
    ...tls,
    clientAuth: tls.clientAuth ?? (tls.clientCa === undefined ? "none" : "require"),
    minVersion: tls.minVersion ?? defaultMinVersion,
  }));

/**
 * Checks the server's `tls` option and reads its files. Throws `ConfigError` with the path of what is wrong, led by
 * `where`.
 */
export function loadServerTls(options: ServerTlsOptions, where = "tls"): ServerTls {
  const { cert, key, clientCa, ...settings } = parseOptions(serverTlsSchema, options, where);
  const pair = loadKeyPair({ cert, key }, where);
  if (clientCa === undefined) return { ...settings, ...pair };
  return { ...settings, ...pair, clientCa: loadTrustedCertificates(clientCa, `${where}.clientCa`) };
}
