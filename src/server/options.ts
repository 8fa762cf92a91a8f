/**
 * The options of a secured server: their shapes, and where each default stands. A part that belongs to one layer has
 * its schema beside that layer; here they come together.
 */
import type { Logger } from "pino";
import { z } from "zod";
import { loggerSchema } from "../call/logger-option.ts";
import { type AuditSettings, type AuditSettingsInput, auditSchema } from "../middleware/audit/audit.ts";
import { callsOutliveCredentialsSchema } from "../middleware/authentication/authentication.ts";
import type { Authenticator } from "../middleware/authentication/authenticator.ts";
import type { Authorizer } from "../middleware/authorization/authorizer.ts";
import { type DeadlineLimits, type DeadlineOptions, deadlineSchema } from "../middleware/deadline.ts";
import { maxMetadataBytesSchema } from "../middleware/metadata-limit.ts";
import {
  type RateLimitOptions,
  type RateLimits,
  rateLimitSchema,
} from "../middleware/rate-limit/rate-limit.ts";
import {
  type ServerPlaintext,
  type ServerPlaintextSettings,
  type ServerTlsOptions,
  type ServerTlsSettings,
  serverTlsSchema,
} from "../tls/server-options.ts";
import { type ServerChannelOptions, serverChannelOptionsSchema } from "./channel-options.ts";
import { type HealthOptions, type HealthSettings, healthSchema } from "./health.ts";

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
}

export interface LimitsSettings {
  readonly maxConcurrentStreams: number;
  readonly maxMetadataBytes: number;
  readonly maxReceiveMessageBytes: number;
  readonly maxSendMessageBytes: number;
}

export interface SecureServerOptions {
  /**
   * Certificates, and what is asked of clients (T1, T2, T4); or no encryption, for a reason that is named (T6, T8):
   * `{ plaintext: "loopback" }`, `{ plaintext: "mesh", trustForwardedClientCertFrom }`.
   */
  readonly tls: ServerTlsOptions | ServerPlaintext;
  /** How callers are verified. `anonymous()` says aloud that they are not. */
  readonly authentication: Authenticator;
  /**
   * May a call go on when the credential that it was opened with has expired? Default: false; a stream, like any call,
   * then ends UNAUTHENTICATED `expired credentials`.
   */
  readonly callsOutliveCredentials?: boolean | undefined;
  /** What callers may do. Checked against the registered methods by `listen()`. */
  readonly authorization: Authorizer;
  /** Default: 1,000 calls a second for each peer, 500 for each principal, 200 in flight for each principal. */
  readonly rateLimit?: RateLimitOptions | undefined;
  /** Default: a unary call may take 60 s, a stream an hour, a check 5 s. */
  readonly deadline?: DeadlineOptions | undefined;
  readonly limits?: LimitsOptions | undefined;
  /** A pino logger, or `false` for none. Default: pino to standard output. */
  readonly logger?: Logger | false | undefined;
  /** Where audit records go. Default: nowhere. */
  readonly audit?: AuditSettingsInput | undefined;
  /** Count and time calls through the OpenTelemetry API. Default: true; costs nothing without an SDK. */
  readonly metrics?: boolean | undefined;
  /**
   * A server span for each call through the OpenTelemetry API, the child of the caller's W3C trace context. Default:
   * true; costs nothing without an SDK. `@opentelemetry/instrumentation-grpc` adds no second one, either way.
   */
  readonly tracing?: boolean | undefined;
  /** The standard health service on the same port, or `false`. */
  readonly health?: HealthOptions | false | undefined;
  /** grpc-js channel options that no option above covers. */
  readonly channelOptions?: ServerChannelOptions | undefined;
}

export interface SecureServerSettings {
  readonly tls: ServerTlsSettings | ServerPlaintextSettings;
  readonly authentication: Authenticator;
  readonly callsOutliveCredentials: boolean;
  readonly authorization: Authorizer;
  readonly rateLimit: RateLimits;
  readonly deadline: DeadlineLimits;
  readonly limits: LimitsSettings;
  readonly logger?: Logger | false;
  readonly audit?: AuditSettings;
  readonly metrics: boolean;
  readonly tracing: boolean;
  readonly health: HealthSettings | false;
  readonly channelOptions: ServerChannelOptions;
}

const mebibytes4 = 4 * 1024 * 1024;
/** A gRPC message's length is told in 32 bits; Node's buffers end at 4 GiB. */
const messageBytes = z
  .int()
  .min(1)
  .max(2 ** 32 - 1);

const limitsSchema = z.strictObject({
  maxConcurrentStreams: z
    .int()
    .min(1)
    .max(2 ** 31 - 1)
    .default(100),
  maxMetadataBytes: maxMetadataBytesSchema,
  maxReceiveMessageBytes: messageBytes.default(mebibytes4),
  maxSendMessageBytes: messageBytes.default(mebibytes4),
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

/** The whole. Every option object is strict: an option that does not exist is an error. */
export const serverSchema: z.ZodType<SecureServerSettings> = z.strictObject({
  tls: serverTlsSchema,
  authentication: contract<Authenticator>(
    "an authenticator",
    ["presents", "authenticate"],
    "jwt({ … }); anonymous() says aloud that callers are not verified",
  ),
  callsOutliveCredentials: callsOutliveCredentialsSchema,
  authorization: contract<Authorizer>(
    "an authorizer",
    ["compile"],
    "rbac({ … }); allowAuthenticated() says aloud that every verified caller may do everything",
  ),
  rateLimit: rateLimitSchema.prefault({}),
  deadline: deadlineSchema.prefault({}),
  limits: limitsSchema.prefault({}),
  logger: z.union([loggerSchema, z.literal(false)]).exactOptional(),
  audit: auditSchema.exactOptional(),
  metrics: z.boolean().default(true),
  tracing: z.boolean().default(true),
  health: z.union([healthSchema, z.literal(false)]).prefault({}),
  channelOptions: serverChannelOptionsSchema.default({}),
});
