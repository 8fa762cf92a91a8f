/**
 * The options of a secured server: their shapes, and where each default stands. A part that belongs to one middleware has
 * its schema beside that middleware; here they come together.
 */
import type { ServiceDefinition } from "@grpc/grpc-js";
import type { Logger } from "pino";
import { z } from "zod";
import type { Middleware } from "../chain/middleware.ts";
import { loggerSchema } from "../config/logger-option.ts";
import { milliseconds, refused } from "../config/options.ts";
import { isServiceDefinition } from "../grpc/method.ts";
import { type AuditSettings, type AuditSettingsInput, auditSchema } from "../middleware/audit/audit.ts";
import { callsOutliveCredentialsSchema } from "../middleware/authentication/authentication.ts";
import { type Authenticator, inNeedOfCertificates } from "../middleware/authentication/authenticator.ts";
import { trustedActorsSchema } from "../middleware/authentication/trusted-actors.ts";
import type { Authorizer } from "../middleware/authorization/authorizer.ts";
import {
  type DeadlineLimits,
  type DeadlineOptions,
  deadlineSchema,
} from "../middleware/deadline/deadline.ts";
import { maxMetadataBytesSchema } from "../middleware/metadata-limit/metadata-limit.ts";
import {
  type RateLimitOptions,
  type RateLimits,
  rateLimitSchema,
} from "../middleware/rate-limit/rate-limit.ts";
import type { ValidationOptions } from "../middleware/validation/message-checks.ts";
import { validationSchema } from "../middleware/validation/validation.ts";
import type { Validator } from "../middleware/validation/validator.ts";
import {
  type ServerPlaintext,
  type ServerPlaintextSettings,
  type ServerTlsOptions,
  type ServerTlsSettings,
  serverTlsSchema,
} from "../tls/server-tls-options.ts";
import { type EnforceOptions, type EnforceSettings, enforceSchema } from "./enforce.ts";
import { type PeerOptions, type PeerSettings, peerSchema } from "./forwarded-peer.ts";
import { type HealthOptions, type HealthSettings, healthSchema } from "./health.ts";
import { type MethodsOptions, methodsSchema } from "./method-overrides.ts";
import { ownMiddlewareSchema } from "./own-middleware.ts";
import { type ReflectionOptions, reflectionSchema } from "./reflection.ts";
import {
  type ServerChannelOptions,
  type ServerChannelSettings,
  serverChannelOptionsSchema,
} from "./server-channel-options.ts";

/** Sizes and numbers that a connection or a call may reach. */
export interface LimitsOptions {
  /** Streams that one connection may have open at once. Default: 100. */
  readonly maxConcurrentStreams?: number | undefined;
  /**
   * Metadata of a call, as RFC 9113 section 10.5.1 counts it: name + value + 32 for each field. HTTP/2 cuts off hard
   * at twice this. Default: 8,192.
   */
  readonly maxMetadataBytes?: number | undefined;
  /** The largest message that is accepted, decompressed size included. Default: 4 MiB. */
  readonly maxReceiveMessageBytes?: number | undefined;
  /** The largest message that is sent. Default: 4 MiB. */
  readonly maxSendMessageBytes?: number | undefined;
  /** Open connections in all; one more is closed before TLS is spoken. Default: 10,000. */
  readonly maxConnections?: number | undefined;
  /**
   * Open connections from one address (IPv6 by /64). Configured proxies and Unix sockets stand for many callers and are
   * not limited by themselves. Default: 1,000.
   */
  readonly maxConnectionsPerPeer?: number | undefined;
  /** From an accepted connection to its first HTTP/2 settings, TLS included, in milliseconds. Default: 10,000. */
  readonly handshakeTimeoutMs?: number | undefined;
  /** A connection without calls is closed after this, in milliseconds. Default: 300,000. */
  readonly maxConnectionIdleMs?: number | undefined;
  /**
   * A connection takes no new calls after this, in milliseconds, give or take a tenth; those in flight finish. Clients
   * reconnect by themselves, and so spread over new instances. Default: none.
   */
  readonly maxConnectionAgeMs?: number | undefined;
  /**
   * The shortest time between two pings of a connection, in milliseconds. A connection without calls may hardly ping at
   * all. The third early ping in a row ends the connection with GOAWAY ENHANCE_YOUR_CALM `too_many_pings` (gRFC A8). A
   * ping is not early where the server sent HEADERS or DATA since the last one: clients measure bandwidth with pings
   * while they read. Default: 10,000.
   */
  readonly minPingIntervalMs?: number | undefined;
}

export interface LimitsSettings {
  readonly maxConcurrentStreams: number;
  readonly maxMetadataBytes: number;
  readonly maxReceiveMessageBytes: number;
  readonly maxSendMessageBytes: number;
  readonly maxConnections: number;
  readonly maxConnectionsPerPeer: number;
  readonly handshakeTimeoutMs: number;
  readonly maxConnectionIdleMs: number;
  readonly maxConnectionAgeMs?: number | undefined;
  readonly minPingIntervalMs: number;
}

export interface SecureServerOptions {
  /**
   * Certificates, and what is asked of clients; or no encryption, for a reason that is named:
   * `{ plaintext: "loopback" }`, `{ plaintext: "mesh", trustForwardedClientCertFrom }`.
   */
  readonly tls: ServerTlsOptions | ServerPlaintext;
  /** How callers are verified. `anonymous()` disables authentication explicitly. */
  readonly authentication: Authenticator;
  /**
   * May a call go on when the credential that it was opened with has expired or was revoked? Else it ends then, a stream like
   * any call, with UNAUTHENTICATED `expired credentials` or `invalid credentials`. Default: false.
   */
  readonly callsOutliveCredentials?: boolean | undefined;
  /**
   * Applications that may say for which user they call: their `x-user-id` and `x-tenant-id` are believed. Names of client
   * certificates as in `mtls.roles` (`spiffe://prod.example/gateway`, a DNS name, `CN=gateway`), or `api-key:owner`,
   * `jwt:subject`, `introspection:subject`, where there are several issuers `jwt:issuer#subject`. The principal is then that user, of scheme `forwarded` and without roles or
   * permissions, and the application is its `actor`; rules ask for what the application has (`actor: { roles: [...] }`). A user
   * who was verified stays, and gets the tenant that the credential does not name. The headers of others
   * are removed, and the log tells where they contradict the principal. Default: none.
   */
  readonly trustedActors?: readonly string[] | undefined;
  /** What callers may do. Checked against the registered methods by `listen()`. */
  readonly authorization: Authorizer;
  /** What decides without refusing. */
  readonly enforce?: EnforceOptions | undefined;
  /** How often a peer and a principal may call, how many calls may be in flight, how many credentials may be bad. */
  readonly rateLimit?: RateLimitOptions | undefined;
  /** How long calls and checks may take. */
  readonly deadline?: DeadlineOptions | undefined;
  /** Sizes, connections, streams. */
  readonly limits?: LimitsOptions | undefined;
  /**
   * What single methods have of their own. A path under which nothing is registered is an error in `listen()`. Default:
   * none.
   */
  readonly methods?: MethodsOptions | undefined;
  /** Which proxies are believed when they say who calls; where none is, the connection's other end does. Default: none. */
  readonly peer?: PeerOptions | undefined;
  /**
   * Schemas that messages must pass, by method: zod, or anything with its `safeParse`. Or a validator, which checks the messages
   * of all methods: `protovalidate({ descriptorSet })` of `grpc-palisade/protovalidate`. A path that is no method, and a method
   * that the validator cannot check, is an error in `listen()`. Default: none.
   */
  readonly validation?: ValidationOptions | Validator | undefined;
  /** A pino logger, or `false` for none. Default: pino to standard output. */
  readonly logger?: Logger | false | undefined;
  /** Where audit records go. Default: nowhere. */
  readonly audit?: AuditSettingsInput | undefined;
  /** Count and time calls through the OpenTelemetry API; costs nothing without an SDK. Default: true. */
  readonly metrics?: boolean | undefined;
  /**
   * A server span for each call through the OpenTelemetry API, the child of the caller's W3C trace context; costs nothing
   * without an SDK. `@opentelemetry/instrumentation-grpc` adds no second one, either way. Default: true.
   */
  readonly tracing?: boolean | undefined;
  /** The standard health service on the same port, or `false` for none. */
  readonly health?: HealthOptions | false | undefined;
  /**
   * Server reflection for verified callers with one of `roles`, or `false`; needs the package `@grpc/reflection`. It
   * describes the services that `@grpc/proto-loader` loaded. Default: false.
   */
  readonly reflection?: ReflectionOptions | false | undefined;
  /**
   * Middleware of your own, in this order: their `onCall` runs after authorization, so that the principal is known and
   * the call allowed, and their `onRequest` after validation. Each has a name of its own. Default: none.
   *
   * @example
   * const quota = new ContextKey<number>("quota");
   * middleware: [{ name: "quota", onCall(call) { call.set(quota, quotaOf(call.principal)); } }]
   */
  readonly middleware?: readonly Middleware[] | undefined;
  /** grpc-js channel options that no option above covers. Default: none. */
  readonly channelOptions?: ServerChannelOptions | undefined;
}

/** What the middleware of a call need, on every kind of server. */
export interface ChainSettings {
  readonly authentication: Authenticator;
  readonly callsOutliveCredentials: boolean;
  readonly trustedActors: readonly string[];
  readonly authorization: Authorizer;
  readonly rateLimit: RateLimits;
  readonly deadline: DeadlineLimits;
  readonly enforce: EnforceSettings;
  readonly limits: Pick<LimitsSettings, "maxMetadataBytes">;
  readonly methods: MethodsOptions;
  readonly peer?: PeerSettings | undefined;
  readonly validation: ValidationOptions | Validator;
  readonly logger?: Logger | false | undefined;
  readonly audit?: AuditSettings | undefined;
  readonly metrics: boolean;
  readonly tracing: boolean;
  readonly middleware: readonly Middleware[];
}

export interface SecureServerSettings extends ChainSettings {
  readonly tls: ServerTlsSettings | ServerPlaintextSettings;
  readonly limits: LimitsSettings;
  readonly health: HealthSettings | false;
  readonly reflection: ReflectionOptions | false;
  readonly channelOptions: ServerChannelSettings;
}

/** The options of a secured server that a server of others can have, and the services that it serves. */
export interface SecureInterceptorsOptions
  extends Pick<
    SecureServerOptions,
    | "authentication"
    | "callsOutliveCredentials"
    | "trustedActors"
    | "authorization"
    | "rateLimit"
    | "deadline"
    | "enforce"
    | "methods"
    | "peer"
    | "validation"
    | "logger"
    | "audit"
    | "metrics"
    | "tracing"
    | "middleware"
  > {
  /** The others are options of the server itself. */
  readonly limits?: Pick<LimitsOptions, "maxMetadataBytes"> | undefined;
  /** Every service that the server serves, a health service included: the policy is checked against their methods. */
  readonly services: readonly ServiceDefinition[];
}

export interface SecureInterceptorsSettings extends ChainSettings {
  readonly services: readonly ServiceDefinition[];
}

const mebibytes4 = 4 * 1024 * 1024;
/** A gRPC message's length is told in 32 bits; Node's buffers end at 4 GiB. */
const messageBytes = z
  .int()
  .min(1)
  .max(2 ** 32 - 1);

const connections = z.int().min(1).max(1_000_000);

const limitsSchema = z.strictObject({
  maxConcurrentStreams: z
    .int()
    .min(1)
    .max(2 ** 31 - 1)
    .default(100),
  maxMetadataBytes: maxMetadataBytesSchema,
  maxReceiveMessageBytes: messageBytes.default(mebibytes4),
  maxSendMessageBytes: messageBytes.default(mebibytes4),
  maxConnections: connections.default(10_000),
  maxConnectionsPerPeer: connections.default(1000),
  // Beyond two minutes Node gives up on a TLS handshake by itself.
  handshakeTimeoutMs: z.int().min(1).max(120_000).default(10_000),
  maxConnectionIdleMs: milliseconds.default(300_000),
  maxConnectionAgeMs: milliseconds.optional(),
  minPingIntervalMs: milliseconds.default(10_000),
});

function contract<T>(name: string, members: readonly string[], example: string): z.ZodType<T, T> {
  return z.custom<T>(
    (value) =>
      typeof value === "object" &&
      value !== null &&
      members.every((member) => typeof Reflect.get(value, member) === "function"),
    { error: `must be ${name}, such as ${example}` },
  );
}

/** What `authorization` and `setAuthorization` take. */
export const authorizerSchema: z.ZodType<Authorizer, Authorizer> = contract<Authorizer>(
  "an authorizer",
  ["compile"],
  "rbac({ … }); allowAuthenticated() allows every verified caller every method",
);

/** What the middleware of a call need, on every kind of server. */
const chainShape = {
  authentication: contract<Authenticator>(
    "an authenticator",
    ["presents", "authenticate"],
    "jwt({ … }); anonymous() disables authentication explicitly",
  ),
  callsOutliveCredentials: callsOutliveCredentialsSchema,
  trustedActors: trustedActorsSchema,
  authorization: authorizerSchema,
  rateLimit: rateLimitSchema.prefault({}),
  deadline: deadlineSchema.prefault({}),
  enforce: enforceSchema.prefault({}),
  methods: methodsSchema.default({}),
  peer: peerSchema.optional(),
  validation: validationSchema.default({}),
  logger: z.union([loggerSchema, z.literal(false)]).optional(),
  audit: auditSchema.optional(),
  metrics: z.boolean().default(true),
  tracing: z.boolean().default(true),
  middleware: ownMiddlewareSchema.default([]),
};

/** The whole. Every option object is strict: an option that does not exist is an error. */
export const serverSchema: z.ZodType<SecureServerSettings> = z
  .strictObject({
    tls: serverTlsSchema,
    ...chainShape,
    limits: limitsSchema.prefault({}),
    health: z.union([healthSchema, z.literal(false)]).prefault({}),
    reflection: z
      .union([reflectionSchema, z.literal(false)], {
        error: 'expected { roles: ["…"] }, the roles whose callers may use it, or false',
      })
      .default(false),
    channelOptions: serverChannelOptionsSchema.default({}),
  })
  .superRefine(({ tls, authentication }, context) => {
    const inNeed = inNeedOfCertificates(authentication);
    const problem = inNeed === undefined ? undefined : noClientCertificates(tls, inNeed);
    if (problem !== undefined)
      context.addIssue({ code: "custom", path: ["authentication"], message: problem });
  });

/** Why no client can ever show a certificate. Undefined where it can, or a sidecar forwards the one that it saw. */
function noClientCertificates(
  tls: ServerTlsSettings | ServerPlaintextSettings,
  inNeed: string,
): string | undefined {
  if (tls.plaintext === "mesh") return undefined;
  if (tls.plaintext === "loopback")
    return `${inNeed} reads client certificates, and with tls.plaintext "loopback" there are none; use TLS with tls.clientCa, or leave it out`;
  if (tls.clientCa !== undefined) return undefined;
  return `${inNeed} needs tls.clientCa, the roots that client certificates are verified against: without it no client is asked for one`;
}

const ownServer = "that is your server's own";

/** What a server that somebody else made can have of it. */
export const interceptorsSchema: z.ZodType<SecureInterceptorsSettings> = z.strictObject({
  ...chainShape,
  limits: z
    .strictObject({
      maxMetadataBytes: maxMetadataBytesSchema,
      maxConcurrentStreams: refused(`${ownServer}: grpc.max_concurrent_streams`),
      maxReceiveMessageBytes: refused(`${ownServer}: grpc.max_receive_message_length`),
      maxSendMessageBytes: refused(`${ownServer}: grpc.max_send_message_length`),
      maxConnections: refused("connections are your server's own"),
      maxConnectionsPerPeer: refused("connections are your server's own"),
      handshakeTimeoutMs: refused("connections are your server's own"),
      maxConnectionIdleMs: refused(`${ownServer}: grpc.max_connection_idle_ms`),
      maxConnectionAgeMs: refused(`${ownServer}: grpc.max_connection_age_ms`),
      minPingIntervalMs: refused("connections are your server's own"),
    })
    .prefault({}),
  services: z
    .array(
      z.custom<ServiceDefinition>(isServiceDefinition, {
        error: "must be a service definition, such as OrdersService",
      }),
    )
    .min(1, "name every service that the server serves"),
  tls: refused("bind your server with serverCredentials(tls)"),
  health: refused("register a health service on your server, and name it in `services`"),
  reflection: refused("only createSecureServer offers it behind a role"),
  channelOptions: refused("give them to your server"),
});
