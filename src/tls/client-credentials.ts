// Channel credentials from the client's `tls` option. There is no way to ask for an unverified server.
import { ChannelCredentials, type ChannelOptions } from "@grpc/grpc-js";
import { z } from "zod";
import { isLoopbackTarget } from "../config/loopback.ts";
import { parseOptions } from "../config/options.ts";
import { ConfigError } from "../grpc/errors.ts";
import type { CertificateReporting } from "./certificate-reporting.ts";
import {
  type KeyPair,
  loadAll,
  loadKeyPair,
  loadTrustedCertificates,
  type PemSource,
  pemSourceSchema,
} from "./load-pem.ts";
import { MeshCredentials } from "./mesh-credentials.ts";
import {
  ciphersProblem,
  ciphersSchema,
  defaultMinVersion,
  minVersionSchema,
  type TlsVersion,
} from "./protocol.ts";
import { ReloadingCredentials } from "./reloading-credentials.ts";
import { nothingToReload, watchedPaths } from "./server-tls-options.ts";

/**
 * TLS on the client. Each file is a path or a Buffer, in PEM. Unlike any other option, one that is given as `undefined` is
 * refused here: a variable that is not set must not end in other checks.
 *
 * @example
 * { ca: "certs-dev/ca.crt", cert: "certs-dev/client.crt", key: "certs-dev/client.key" }
 */
export interface ClientTlsFiles {
  /** The roots that the server's certificate is verified against, in place of the system's. Default: the system's. */
  readonly ca?: PemSource;
  /** The client's own certificate, followed by its intermediates, for servers that want one. Needs `key`. Default: none. */
  readonly cert?: PemSource;
  /** Its private key, not encrypted. Needs `cert`. Default: none. */
  readonly key?: PemSource;
  /** The name that the server's certificate must carry, where it is not the target's. Default: the target's. */
  readonly serverName?: string;
  /** The oldest version of TLS that is accepted. Default: `"TLSv1.3"`. */
  readonly minVersion?: TlsVersion;
  /** Names as in OpenSSL, with colons between them. Default: Node's. */
  readonly ciphers?: string;
  /**
   * Watch the files while there is a connection or the wish for one, and use what they hold by then for new connections;
   * open ones go on. What cannot be used is refused and said once, and the last good one stays. Default: `true` where a
   * path is given.
   */
  readonly reload?: boolean;
}

/**
 * No encryption: `"loopback"`, because the target is this machine; credentials are never sent to it. `"mesh"`, because a
 * sidecar encrypts and verifies what goes to this target; credentials are sent, and a warning says so once.
 */
export interface ClientPlaintext {
  /** No encryption: the target is this machine (`"loopback"`), or a sidecar encrypts (`"mesh"`). */
  readonly plaintext: "loopback" | "mesh";
}

export type ClientTlsOptions = ClientTlsFiles | ClientPlaintext;

/** The client's `tls` option with its defaults filled in; files are not read yet. */
export interface ClientTlsSettings {
  readonly plaintext?: "loopback" | "mesh";
  readonly ca?: PemSource;
  readonly cert?: PemSource;
  readonly key?: PemSource;
  readonly serverName?: string;
  readonly minVersion: TlsVersion;
  readonly ciphers?: string;
  readonly reload: boolean;
}

/** The shape of the client's `tls` option, and what its parts demand of each other. */
export const clientTlsSchema: z.ZodType<ClientTlsSettings> = z
  .strictObject(
    {
      plaintext: z
        .enum(["loopback", "mesh"], { error: 'expected "loopback" or "mesh", or leave the option out' })
        .exactOptional(),
      ca: pemSourceSchema.exactOptional(),
      cert: pemSourceSchema.exactOptional(),
      key: pemSourceSchema.exactOptional(),
      serverName: z
        .string()
        .regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}$/, {
          error: "expected a host name, without scheme and port",
        })
        .exactOptional(),
      minVersion: minVersionSchema.exactOptional(),
      ciphers: ciphersSchema.exactOptional(),
      reload: z.boolean().exactOptional(),
    },
    {
      error: ({ code }) =>
        code === "invalid_type"
          ? 'expected {} for the roots of this system, { ca } for your own, or without TLS { plaintext: "loopback" }'
          : undefined,
    },
  )
  .superRefine((tls, context) => {
    for (const [option, problem] of problemsOf(tls)) {
      context.addIssue({ code: "custom", path: [option], message: problem });
    }
  })
  .transform((tls) => ({
    ...tls,
    minVersion: tls.minVersion ?? defaultMinVersion,
    reload: tls.reload ?? hasPath(tls),
  }));

type ClientTlsInput = Omit<ClientTlsSettings, "minVersion" | "reload"> & {
  readonly minVersion?: TlsVersion;
  readonly reload?: boolean;
};

function hasPath({ ca, cert, key }: ClientTlsInput): boolean {
  return [ca, cert, key].some((source) => typeof source === "string");
}

function* problemsOf(tls: ClientTlsInput): Generator<readonly [option: string, problem: string]> {
  if (tls.plaintext !== undefined) {
    const others = Object.keys(tls).filter((option) => option !== "plaintext");
    for (const option of others) yield [option, "has no meaning beside plaintext; remove one of the two"];
    return;
  }
  if (tls.cert === undefined && tls.key !== undefined) yield ["cert", "key is given without its certificate"];
  if (tls.key === undefined && tls.cert !== undefined) yield ["key", "cert is given without its private key"];
  const problem =
    tls.ciphers === undefined ? undefined : ciphersProblem(tls.ciphers, tls.minVersion ?? defaultMinVersion);
  if (problem !== undefined) yield ["ciphers", problem];
  if (tls.reload === true && !hasPath(tls)) yield ["reload", nothingToReload];
}

/**
 * Channel credentials from the client's `tls` option. The server's chain and host name are always verified, whatever
 * `NODE_TLS_REJECT_UNAUTHORIZED` says. `{ plaintext: "loopback" }` needs the `target`, which must be this machine.
 * To be used with `clientChannelOptions(tls)`, which carries `serverName`.
 *
 * @throws ConfigError with the path of the option that is wrong, or of the file that cannot be used
 * @example
 * new OrdersClient(target, clientCredentials(tls, target), clientChannelOptions(tls));
 */
export function clientCredentials(
  tls: ClientTlsOptions,
  target?: string,
  reporting: CertificateReporting = { metrics: true },
): ChannelCredentials {
  const settings = parseClientTls(tls);
  if (settings.plaintext === undefined) return encrypted(settings, reporting);
  if (settings.plaintext === "mesh") return new MeshCredentials();
  if (target === undefined || !isLoopbackTarget(target)) {
    throw new ConfigError(
      `tls.plaintext: "loopback" is for targets on this machine (localhost, 127.0.0.0/8, ::1, a Unix socket)` +
        `${target === undefined ? "" : `, not ${target}`}; use TLS`,
    );
  }
  return ChannelCredentials.createInsecure();
}

/**
 * The channel options that belong to the `tls` option: the name override, where `serverName` spells one out; for
 * plaintext no proxy, which `http_proxy` and its kin in the environment would put in between.
 */
export function clientChannelOptions(tls: ClientTlsOptions): ChannelOptions {
  const { plaintext, serverName } = parseClientTls(tls);
  if (plaintext !== undefined) return { "grpc.enable_http_proxy": 0 };
  if (serverName === undefined) return {};
  return { "grpc.ssl_target_name_override": serverName, "grpc.default_authority": serverName };
}

function parseClientTls(tls: ClientTlsOptions): ClientTlsSettings {
  return parseOptions(clientTlsSchema, tls, "tls");
}

function encrypted(settings: ClientTlsSettings, reporting: CertificateReporting): ReloadingCredentials {
  return new ReloadingCredentials({
    load: () => {
      const { trusted, own } = loadAll({
        trusted: () =>
          settings.ca === undefined ? {} : { ca: loadTrustedCertificates(settings.ca, "tls.ca") },
        own: () => ownKeyPair(settings),
      });
      return { ...trusted, ...own };
    },
    protocol: {
      minVersion: settings.minVersion,
      ...(settings.ciphers === undefined ? {} : { ciphers: settings.ciphers }),
    },
    paths: watchedPaths(settings.reload, [settings.ca, settings.cert, settings.key]),
    reporting,
  });
}

function ownKeyPair({ cert, key }: ClientTlsSettings): Partial<KeyPair> {
  return cert === undefined || key === undefined ? {} : loadKeyPair({ cert, key }, "tls", "client");
}
