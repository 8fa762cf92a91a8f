// `grpc-palisade/middleware`: single middleware, for servers that other code makes. `createSecureServer` is built of these.

export { type AuditMiddleware, type AuditOptions, audit } from "./audit/audit.ts";
export { type AuthenticationOptions, authentication } from "./authentication/authentication.ts";
export { authorization } from "./authorization/authorization.ts";
export { type DeadlineMiddleware, type DeadlineOptions, deadline } from "./deadline/deadline.ts";
export { type LoggingMiddleware, type LoggingOptions, logging } from "./logging/logging.ts";
export { type MetadataLimitOptions, metadataLimit } from "./metadata-limit/metadata-limit.ts";
export { metrics } from "./metrics/metrics.ts";
export {
  messageRateLimit,
  peerRateLimit,
  principalRateLimit,
  type RateLimitOptions,
  rateLimit,
} from "./rate-limit/rate-limit.ts";
export { tracing } from "./tracing/tracing.ts";
export type { ValidationOptions } from "./validation/message-checks.ts";
export type { MessageSchema } from "./validation/message-schema.ts";
export { type ValidatedServices, validation } from "./validation/validation.ts";
export type { FieldViolation, MessageCheck, Validator } from "./validation/validator.ts";
