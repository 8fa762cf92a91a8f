// One secured server over real TLS with all four call kinds, for every test: throw-away CA, token issuer, log lines and
// audit entries kept to look at.
import { Buffer } from "node:buffer";
import { Writable } from "node:stream";
import {
  type ChannelOptions,
  Client,
  credentials as grpcCredentials,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { type Logger, pino } from "pino";
import type { MethodKind } from "../../src/grpc/method.ts";
import type { AuditEntry } from "../../src/middleware/audit/audit-entry.ts";
import { jwt } from "../../src/middleware/authentication/jwt/jwt.ts";
import { rbac } from "../../src/middleware/authorization/rbac.ts";
import { createSecureServer, type SecureServer } from "../../src/server/secure-server.ts";
import type { SecureServerOptions } from "../../src/server/server-options.ts";
import {
  type CertificateAuthority,
  createCertificateAuthority,
  type IssuedCertificate,
} from "../../src/testing/certificate-authority.ts";
import { createTokenIssuer, type TokenIssuer } from "../../src/testing/token-issuer.ts";
import { goodHandlers, kindsDefinition } from "./kinds.ts";
import { waitMs } from "./time.ts";

export type LogLine = Readonly<Record<string, unknown>> & { readonly level: number; readonly msg?: string };

/** What a test file shares: made once, because keys cost time. */
export interface World {
  readonly ca: CertificateAuthority;
  readonly server: IssuedCertificate;
  readonly client: IssuedCertificate;
  readonly issuer: TokenIssuer;
  token(claims?: Readonly<Record<string, unknown>>): Promise<string>;
}

let world: Promise<World> | undefined;

export function theWorld(): Promise<World> {
  world ??= makeWorld();
  return world;
}

async function makeWorld(): Promise<World> {
  const [ca, issuer] = await Promise.all([
    createCertificateAuthority({ name: "Test CA" }),
    createTokenIssuer({ audience: "kinds", algorithms: ["ES256", "RS256"] }),
  ]);
  const [server, client] = await Promise.all([
    ca.issue({ dnsNames: ["localhost"], ipAddresses: ["127.0.0.1"], usage: "server" }),
    ca.issue({ commonName: "test-client", uris: ["spiffe://test.example/client"], usage: "client" }),
  ]);
  return {
    ca,
    server,
    client,
    issuer,
    token: (claims) => issuer.sign({ sub: "ada", tenant: "acme", roles: ["caller"], ...claims }),
  };
}

/** A pino logger whose lines are kept. */
export function keptLog(level = "debug"): { readonly logger: Logger; readonly lines: LogLine[] } {
  const lines: LogLine[] = [];
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      for (const line of chunk.toString("utf8").split("\n"))
        if (line !== "") lines.push(JSON.parse(line) as LogLine);
      done();
    },
  });
  return { logger: pino({ level }, stream), lines };
}

export interface SecuredOptions extends Partial<SecureServerOptions> {
  readonly handlers?: UntypedServiceImplementation;
  /** More services than the one of the four kinds. */
  readonly register?: (server: SecureServer) => void;
}

export interface Secured extends AsyncDisposable {
  readonly world: World;
  readonly server: SecureServer;
  readonly address: string;
  readonly port: number;
  readonly lines: LogLine[];
  readonly audit: AuditEntry[];
  /** The kinds whose good handlers started, in order. */
  readonly started: MethodKind[];
  /** A client over mTLS; each has a connection of its own. */
  client(options?: ChannelOptions): Client;
  /** The same, with another certificate. */
  clientWith(certificate: IssuedCertificate, options?: ChannelOptions): Client;
  /** Metadata with a good token. */
  authorized(claims?: Readonly<Record<string, unknown>>): Promise<{ authorization: string }>;
  /** The line that a call left in the log, once it is there. */
  callLine(match: (line: LogLine) => boolean): Promise<LogLine>;
  auditEntry(match: (entry: AuditEntry) => boolean): Promise<AuditEntry>;
  close(): Promise<void>;
}

/** Every method of the kinds service for role `caller`. */
export const callerPolicy = rbac({
  roles: { caller: {}, other: {} },
  rules: { "/test.v1.Kinds/*": { roles: ["caller"] } },
});

export async function secured(options: SecuredOptions = {}): Promise<Secured> {
  const { handlers, register, ...serverOptions } = options;
  const all = await theWorld();
  const { logger, lines } = keptLog();
  const audit: AuditEntry[] = [];
  const started: MethodKind[] = [];
  const server = createSecureServer({
    tls: {
      cert: Buffer.from(all.server.cert),
      key: Buffer.from(all.server.key),
      clientCa: Buffer.from(all.ca.caPem),
    },
    authentication: jwt({ issuer: all.issuer.issuer, audience: "kinds", jwksUri: all.issuer.jwksUri }),
    authorization: callerPolicy,
    logger,
    audit: {
      sinks: [
        {
          async write(entries) {
            audit.push(...entries);
          },
        },
      ],
    },
    ...serverOptions,
  });
  server.addService(kindsDefinition, { ...goodHandlers(started), ...handlers });
  register?.(server);
  const { port } = await server.listen("127.0.0.1:0");
  const address = `localhost:${port}`;
  const clients: Client[] = [];
  const close = async (): Promise<void> => {
    for (const client of clients) client.close();
    await server.shutdown({ graceMs: 0 });
  };
  const clientWith = ({ cert, key }: IssuedCertificate, channelOptions?: ChannelOptions): Client => {
    const client = new Client(
      address,
      grpcCredentials.createSsl(Buffer.from(all.ca.caPem), Buffer.from(key), Buffer.from(cert)),
      { "grpc.use_local_subchannel_pool": 1, ...channelOptions },
    );
    clients.push(client);
    return client;
  };
  return {
    world: all,
    server,
    address,
    port,
    lines,
    audit,
    started,
    client: (channelOptions) => clientWith(all.client, channelOptions),
    clientWith,
    authorized: async (claims) => ({ authorization: `Bearer ${await all.token(claims)}` }),
    callLine: (match) =>
      eventually(() => lines.find((line) => line["grpc_code"] !== undefined && match(line)), "a log line"),
    auditEntry: (match) => eventually(() => audit.find(match), "an audit entry"),
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** Looks until there is something to see. Nothing is asserted by the time it takes. */
export async function eventually<T>(
  look: () => T | undefined | false,
  what: string,
  withinMs = waitMs,
): Promise<T> {
  const until = performance.now() + withinMs;
  for (;;) {
    const seen = look();
    if (seen !== undefined && seen !== false) return seen;
    if (performance.now() > until) throw new Error(`${what} did not come within ${withinMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
