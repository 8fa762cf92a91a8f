// The server's `tls` option: its shape, its defaults, and the files it names, read and checked.
import type { Buffer } from "node:buffer";
import { z } from "zod";
import { type AddressSet, addressProblem, addressSet } from "../config/address-set.ts";
import { parseOptions } from "../config/options.ts";
import { ConfigError } from "../grpc/errors.ts";
import { type CertificateRevocations, isCertificateRevocations } from "./certificate-revocations.ts";
import {
  expectedPem,
  type KeyPair,
  loadAll,
  loadKeyPair,
  loadTrustedCertificates,
  neededPemSchema,
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
 * TLS on the server. Each file is a path or a Buffer, in PEM. Unlike any other option, one that is given as `undefined` is
 * refused here: a variable that is not set must not end in fewer checks.
 *
 * @example
 * { cert: "certs-dev/server.crt", key: "certs-dev/server.key", clientCa: "certs-dev/ca.crt" }
 */
export interface ServerTlsOptions {
  /** The server's certificate, followed by its intermediates. */
  readonly cert: PemSource;
  /** Its private key, not encrypted. */
  readonly key: PemSource;
  /**
   * The roots that client certificates are verified against. Only these: the system's roots vouch for no client. TLS sessions are
   * not resumed then: a resumed one has no chain that could be looked at again. Default: none.
   */
  readonly clientCa?: PemSource;
  /** What is asked of clients. Default: `"require"` where `clientCa` is given, else `"none"`. */
  readonly clientAuth?: ClientAuth;
  /**
   * Who knows which client certificates were revoked: `crlFiles({ paths })` of `grpc-palisade/crl`. A revoked one gets no
   * connection; where it is revoked later, its connections are closed, and the calls on them end UNAUTHENTICATED
   * (`callsOutliveCredentials` lets them finish). For `createSecureServer`. Default: nobody is asked.
   */
  readonly crl?: CertificateRevocations;
  /** The oldest version of TLS that is accepted. Default: `"TLSv1.3"`. */
  readonly minVersion?: TlsVersion;
  /**
   * Names as in OpenSSL with colons between them, in the server's order of preference. With `minVersion: "TLSv1.2"` a list
   * without TLS 1.3 suites leaves those at their default. Default: Node's.
   */
  readonly ciphers?: string;
  /**
   * Watch the files, and use what they hold by then for new connections. Open ones go on, except those whose client
   * certificate no root of `clientCa` vouches for any more: they are closed as those of a revoked one are. What cannot be used (half
   * written, not a pair, expired, for clients only, gone) is refused and said once, and the last good one stays. TLS sessions from before a
   * change are not resumed. Default: `true` where a path is given.
   */
  readonly reload?: boolean;
}

/** No encryption, because only this machine can connect: `listen()` binds loopback addresses and Unix sockets alone. */
export interface ServerPlaintextLoopback {
  /** `"loopback"`: no encryption, because only this machine can connect. */
  readonly plaintext: "loopback";
}

/**
 * No encryption here, because a sidecar or a mesh in front of this server encrypts and verifies. Only connections
 * from the peers that are named get in; the client certificate that they forward is believed.
 *
 * @example
 * { plaintext: "mesh", trustForwardedClientCertFrom: ["127.0.0.6", "::6", "unix"] }
 */
export interface ServerPlaintextMesh {
  /** `"mesh"`: no encryption here, because a sidecar encrypts and verifies. */
  readonly plaintext: "mesh";
  /**
   * Where the mesh connects from: IP addresses, networks in CIDR notation, or `"unix"` for Unix sockets. Every other
   * connection is refused. What the last element of their `x-forwarded-client-cert` says (Envoy's format, `Hash`
   * included) becomes `peer.certificate`. The proxy must write or append that element itself (Envoy: `SANITIZE_SET` or
   * `APPEND_FORWARD`), never pass on what a client sent.
   */
  readonly trustForwardedClientCertFrom: readonly string[];
}

export type ServerPlaintext = ServerPlaintextLoopback | ServerPlaintextMesh;

/** The `tls` option with its defaults filled in; files are not read yet. */
export interface ServerTlsSettings {
  readonly plaintext?: undefined;
  readonly cert: PemSource;
  readonly key: PemSource;
  readonly clientCa?: PemSource;
  readonly clientAuth: ClientAuth;
  readonly crl?: CertificateRevocations;
  readonly minVersion: TlsVersion;
  readonly ciphers?: string;
  readonly reload: boolean;
}

/** The `tls` option of a server that does not encrypt. */
export type ServerPlaintextSettings =
  | ServerPlaintextLoopback
  | { readonly plaintext: "mesh"; readonly trustForwardedClientCertFrom: AddressSet };

/** The `tls` option with its files read and checked. */
export interface ServerTls extends KeyPair {
  readonly clientCa?: Buffer;
  readonly clientAuth: ClientAuth;
  /** May a client resume a TLS session? */
  readonly resumes: boolean;
  readonly minVersion: TlsVersion;
  readonly ciphers?: string;
}

interface ServerTlsInput {
  readonly plaintext?: "loopback" | "mesh";
  readonly trustForwardedClientCertFrom?: readonly string[];
  readonly cert?: PemSource;
  readonly key?: PemSource;
  readonly clientCa?: PemSource;
  readonly clientAuth?: ClientAuth;
  readonly crl?: CertificateRevocations;
  readonly minVersion?: TlsVersion;
  readonly ciphers?: string;
  readonly reload?: boolean;
}

/** The shape of the server's `tls` option, and what its parts demand of each other. */
export const serverTlsSchema: z.ZodType<ServerTlsSettings | ServerPlaintextSettings> = z
  .strictObject(
    {
      plaintext: z
        .enum(["loopback", "mesh"], { error: 'expected "loopback" or "mesh", or leave the option out' })
        .exactOptional(),
      trustForwardedClientCertFrom: z
        .array(z.string({ error: "expected text" }), {
          error: 'expected a list of IP addresses, networks in CIDR notation, or "unix"',
        })
        .min(1, { error: "expected at least one peer; without one, nobody could connect" })
        .exactOptional(),
      cert: neededPemSchema.exactOptional(),
      key: neededPemSchema.exactOptional(),
      // Not `optional`: a `clientCa` that is undefined by mistake (an unset variable) must not end in no client checks.
      clientCa: pemSourceSchema.exactOptional(),
      clientAuth: z.enum(["none", "request", "require"]).exactOptional(),
      crl: z
        .custom<CertificateRevocations>(
          isCertificateRevocations,
          "expected crlFiles({ paths }) of grpc-palisade/crl, or an object with name and statusOf(chain)",
        )
        .exactOptional(),
      minVersion: minVersionSchema.exactOptional(),
      ciphers: ciphersSchema.exactOptional(),
      reload: z.boolean().exactOptional(),
    },
    {
      error: ({ code }) =>
        code === "invalid_type"
          ? 'expected { cert, key }, each the path of a PEM file or a Buffer; without TLS { plaintext: "loopback" }, or "mesh" behind a sidecar'
          : undefined,
    },
  )
  .superRefine((tls, context) => {
    for (const [option, problem] of problemsOf(tls)) {
      context.addIssue({ code: "custom", path: [option], message: problem });
    }
  })
  .transform((tls): ServerTlsSettings | ServerPlaintextSettings => {
    const { plaintext, trustForwardedClientCertFrom = [], cert, key, ...rest } = tls;
    if (plaintext === "loopback") return { plaintext };
    if (plaintext === "mesh") {
      return { plaintext, trustForwardedClientCertFrom: addressSet(trustForwardedClientCertFrom) };
    }
    // Never reached: the problems above end the parsing.
    if (cert === undefined || key === undefined) return z.NEVER;
    return {
      ...rest,
      cert,
      key,
      clientAuth: tls.clientAuth ?? (tls.clientCa === undefined ? "none" : "require"),
      minVersion: tls.minVersion ?? defaultMinVersion,
      reload: tls.reload ?? hasPath(tls),
    };
  });

function hasPath(tls: ServerTlsInput): boolean {
  return [tls.cert, tls.key, tls.clientCa].some((source) => typeof source === "string");
}

function* problemsOf(tls: ServerTlsInput): Generator<readonly [option: string, problem: string]> {
  if (tls.plaintext !== undefined) {
    yield* plaintextProblems(tls);
    return;
  }
  if (tls.cert === undefined) yield ["cert", expectedPem];
  if (tls.key === undefined) yield ["key", expectedPem];
  if (tls.trustForwardedClientCertFrom !== undefined) {
    yield [
      "trustForwardedClientCertFrom",
      'only where plaintext is "mesh": over TLS the client shows its own certificate',
    ];
  }
  const wantsCertificates = tls.clientAuth === "request" || tls.clientAuth === "require";
  if (wantsCertificates && tls.clientCa === undefined) {
    yield [
      "clientCa",
      `clientAuth "${tls.clientAuth}" needs clientCa, the roots that client certificates are verified against`,
    ];
  }
  if (tls.clientAuth === "none" && tls.clientCa !== undefined) {
    yield [
      "clientAuth",
      'with "none" nothing is verified against clientCa; remove clientCa, or say "request" or "require"',
    ];
  }
  if (tls.crl !== undefined && tls.clientCa === undefined)
    yield ["crl", "has no meaning without clientCa: no client is asked for a certificate"];
  const problem =
    tls.ciphers === undefined ? undefined : ciphersProblem(tls.ciphers, tls.minVersion ?? defaultMinVersion);
  if (problem !== undefined) yield ["ciphers", problem];
  if (tls.reload === true && !hasPath(tls)) yield ["reload", nothingToReload];
}

/** On both sides. */
export const nothingToReload = "there is no file to watch, only Buffers; give paths, or remove reload";

function* plaintextProblems(tls: ServerTlsInput): Generator<readonly [option: string, problem: string]> {
  const { plaintext, trustForwardedClientCertFrom: trusted, ...others } = tls;
  for (const option of Object.keys(others)) {
    yield [option, "has no meaning beside plaintext; remove one of the two"];
  }
  if (plaintext === "loopback" && trusted !== undefined) {
    yield ["trustForwardedClientCertFrom", 'only where plaintext is "mesh"'];
  }
  if (plaintext === "mesh" && trusted === undefined) {
    yield ["trustForwardedClientCertFrom", 'plaintext "mesh" needs the peers that may connect; name them'];
  }
  for (const each of trusted ?? []) {
    const problem = addressProblem(each);
    if (problem !== undefined) yield ["trustForwardedClientCertFrom", problem];
  }
}

/**
 * Checks the server's `tls` option and reads its files. Throws `ConfigError` with the path of what is wrong, led by
 * `where`; for plaintext too, which has no files.
 */
export function loadServerTls(options: ServerTlsOptions, where = "tls"): ServerTls {
  const settings = parseOptions(serverTlsSchema, options, where);
  if (settings.plaintext === undefined) return readServerTls(settings, where);
  throw new ConfigError(
    `${where}.plaintext: there are no TLS credentials without TLS; only createSecureServer takes it`,
  );
}

/** Reads and checks the files of a `tls` option whose shape was checked. Throws `ConfigError` with the problems of all. */
export function readServerTls(
  { cert, key, clientCa, clientAuth, minVersion, ciphers }: ServerTlsSettings,
  where: string,
): ServerTls {
  const { pair, trusted } = loadAll({
    pair: () => loadKeyPair({ cert, key }, where, "server"),
    trusted: () =>
      clientCa === undefined ? {} : { clientCa: loadTrustedCertificates(clientCa, `${where}.clientCa`) },
  });
  const resumes = clientCa === undefined;
  return {
    clientAuth,
    resumes,
    minVersion,
    ...(ciphers === undefined ? {} : { ciphers }),
    ...pair,
    ...trusted,
  };
}

/** The files to watch. */
export function watchedPaths(
  reload: boolean,
  sources: readonly (PemSource | undefined)[],
): readonly string[] {
  return reload ? sources.filter((source) => typeof source === "string") : [];
}
