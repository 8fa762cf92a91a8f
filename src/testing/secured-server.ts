// A secured server of a service under test, in this process: real TLS, real tokens, the whole chain.
import { Buffer } from "node:buffer";
import { pino } from "pino";
import { z } from "zod";
import { bearerToken } from "../client/bearer-token.ts";
import { isCredentialSource } from "../client/credential-source.ts";
import {
  createSecureClient,
  type GrpcClient,
  type SecureClientConstructor,
  type SecureClientOptions,
} from "../client/secure-client.ts";
import { parseOptions, refused } from "../config/options.ts";
import { jwt } from "../middleware/authentication/jwt/jwt.ts";
import { allowAuthenticated } from "../middleware/authorization/allow-authenticated.ts";
import { createSecureServer, type SecureServer } from "../server/secure-server.ts";
import type { SecureServerOptions } from "../server/server-options.ts";
import {
  type CertificateAuthority,
  createCertificateAuthority,
  type IssuedCertificate,
} from "./certificate-authority.ts";
import { claimsSchema, createTokenIssuer, type TokenIssuer } from "./token-issuer.ts";

export interface SecuredServerOptions extends Partial<Omit<SecureServerOptions, "tls">> {
  /** What the server serves: each service's definition and its handlers, as for `addService`. */
  readonly services: readonly Readonly<Parameters<SecureServer["addService"]>>[];
}

export interface TestClientOptions extends Omit<SecureClientOptions, "tls"> {
  /** Call as somebody: the claims of a token of the server's issuer. Default: no token. */
  readonly as?: Readonly<Record<string, unknown>> | undefined;
  /** Show a certificate, such as `await server.ca.issue({ uris: ["spiffe://…"], usage: "client" })`. Default: none. */
  readonly certificate?: Pick<IssuedCertificate, "cert" | "key"> | undefined;
}

export interface SecuredServer extends AsyncDisposable {
  readonly server: SecureServer;
  /** `localhost:port`, for clients that you make yourself; they trust `ca.caPem`. */
  readonly address: string;
  readonly port: number;
  /** The CA of the server's certificate, which its clients' certificates are verified against. */
  readonly ca: CertificateAuthority;
  /** Whose tokens the server accepts, unless you gave an `authentication` of your own. */
  readonly issuer: TokenIssuer;
  /** A token with these claims; `sub`, `exp` and the rest have good values where you say nothing. */
  token(claims?: Readonly<Record<string, unknown>>): Promise<string>;
  /**
   * A client of the server, with a connection of its own. Closed with the server.
   * @throws {ConfigError} for options that are wrong
   */
  client<C extends GrpcClient>(ClientConstructor: SecureClientConstructor<C>, options?: TestClientOptions): C;
  /** Closes the clients, the server and the issuer. Safe to call twice. */
  close(): Promise<void>;
}

const audience = "service-under-test";

// What is not known here is for createSecureServer, which knows all of its options.
const optionsSchema = z.looseObject({
  services: z
    .array(z.tuple([z.looseObject({}), z.looseObject({})], { error: "expected [definition, handlers]" }), {
      error: "expected a list of [definition, handlers]",
    })
    .min(1, { error: "expected at least one [definition, handlers]" }),
  tls: refused("the server brings its own certificates; leave it out"),
});

/** Paths and promises are what is given by mistake: certificate and key are here as `issue` answers with them. */
function isCertificate(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const { cert, key } = value as { readonly cert?: unknown; readonly key?: unknown };
  return [cert, key].every((pem) => typeof pem === "string" && pem.includes("-----BEGIN"));
}

// What the others are is for createSecureClient, which knows all of its options.
const anything = z.unknown().optional();

const clientSchema = z.strictObject({
  as: claimsSchema.optional(),
  certificate: z
    .custom<NonNullable<TestClientOptions["certificate"]>>(isCertificate, {
      error:
        'expected certificate and key as PEM, { cert, key }, such as await server.ca.issue({ commonName: "shop", usage: "client" })',
    })
    .optional(),
  credentials: anything,
  deadlineMs: anything,
  retry: anything,
  tracing: anything,
  metrics: anything,
  logger: anything,
  channelOptions: anything,
  tls: refused("the client trusts the server's CA; leave it out, and give a certificate as `certificate`"),
} satisfies Readonly<Record<keyof TestClientOptions | "tls", z.ZodType>>);

/**
 * Serves `services` on a free port of this machine, behind everything that `createSecureServer` puts in front of them. It
 * brings a throw-away CA, a server certificate and a token issuer. Every option of `createSecureServer` beside `tls` can be
 * given; those left out are its defaults, and beside them: tokens of `issuer` as `authentication`, `allowAuthenticated()` as
 * `authorization` (better give the policy that you deploy), and as `logger` one that writes errors alone, to standard error.
 * A client may show a certificate and need not.
 *
 * @throws {ConfigError} for options that are wrong, {PolicyError} where the policy does not fit the services
 * @example
 * await using server = await startSecuredServer({ services: [[OrdersService, handlers]], authorization: policy });
 * const viewer = server.client(OrdersClient, { as: { sub: "ada", roles: ["viewer"] } });
 * const anonymous = server.client(OrdersClient);
 */
export async function startSecuredServer(options: SecuredServerOptions): Promise<SecuredServer> {
  parseOptions(optionsSchema, options, "startSecuredServer");
  const { services, ...serverOptions } = options;
  // First, because it may fail, and the issuer listens.
  const ca = await createCertificateAuthority({ name: "Palisade test CA" });
  const issuer = await createTokenIssuer({ audience });
  try {
    return await start(services, serverOptions, ca, issuer);
  } catch (error) {
    await issuer.close();
    throw error;
  }
}

async function start(
  services: SecuredServerOptions["services"],
  options: Partial<SecureServerOptions>,
  ca: CertificateAuthority,
  issuer: TokenIssuer,
): Promise<SecuredServer> {
  const own = await ca.issue({ dnsNames: ["localhost"], ipAddresses: ["127.0.0.1"], usage: "server" });
  const server = createSecureServer({
    authentication: jwt({ issuer: issuer.issuer, audience, jwksUri: issuer.jwksUri }),
    authorization: allowAuthenticated(),
    // A handler that throws is told to its caller as an id alone: the cause must be somewhere.
    logger: pino({ level: "error" }, process.stderr),
    ...options,
    tls: {
      cert: Buffer.from(own.cert),
      key: Buffer.from(own.key),
      clientCa: Buffer.from(ca.caPem),
      clientAuth: "request",
    },
  });
  for (const service of services) server.addService(...service);
  const { port } = await server.listen("127.0.0.1:0");
  const address = `localhost:${port}`;
  const clients: GrpcClient[] = [];
  const token: SecuredServer["token"] = (claims) => issuer.sign(claims);
  const close = async (): Promise<void> => {
    for (const client of clients) client.close();
    await server.shutdown({ graceMs: 0 });
    await issuer.close();
  };
  return {
    server,
    address,
    port,
    ca,
    issuer,
    token,
    client(ClientConstructor, options = {}) {
      parseOptions(clientSchema, options, "client");
      const { as: claims, certificate, credentials = [], ...clientOptions } = options;
      const given = isCredentialSource(credentials) ? [credentials] : credentials;
      const client = createSecureClient(ClientConstructor, address, {
        ...clientOptions,
        channelOptions: { "grpc.use_local_subchannel_pool": 1, ...clientOptions.channelOptions },
        tls: {
          ca: Buffer.from(ca.caPem),
          ...(certificate === undefined
            ? {}
            : { cert: Buffer.from(certificate.cert), key: Buffer.from(certificate.key) }),
        },
        credentials: claims === undefined ? given : [bearerToken(() => token(claims)), ...given],
      });
      clients.push(client);
      return client;
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
