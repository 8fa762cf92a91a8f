// The public face: exports only.

export type {
  CallContext,
  ReadonlyMetadata,
  RecordedDecision,
  SecurityContext,
} from "./chain/context.ts";
export { ContextKey } from "./chain/context.ts";
export { currentContext, requirePrincipal, securityContext } from "./chain/current-context.ts";
export {
  type BidiStreamHandler,
  type ClientStreamHandler,
  defineHandlers,
  type HandlersFrom,
  type HandlersOf,
  type ServerStreamHandler,
  type UnaryHandler,
} from "./chain/define-handlers.ts";
export type { Middleware, Outcome } from "./chain/middleware.ts";
export type { Identity, Principal } from "./chain/principal.ts";
export { processGuard } from "./chain/process-guard.ts";
export { apiKeyCredentials } from "./client/api-key-credentials.ts";
export { type BearerTokenSource, bearerToken } from "./client/bearer-token.ts";
export type { ClientChannelOptions } from "./client/client-channel-options.ts";
export { compositeCredentials } from "./client/composite-credentials.ts";
export type { CredentialRequest, CredentialSource } from "./client/credential-source.ts";
export { forwardIdentity } from "./client/forward-identity.ts";
export type { RetryableStatus, RetryOptions } from "./client/retry.ts";
export {
  createSecureClient,
  type GrpcClient,
  type SecureClientConstructor,
  type SecureClientOptions,
} from "./client/secure-client.ts";
export type { StatusErrorDetail } from "./grpc/error-details.ts";
export {
  ConfigError,
  CredentialError,
  type CredentialProblem,
  PolicyError,
  StatusError,
  type StatusErrorOptions,
} from "./grpc/errors.ts";
export { type MethodInfo, type MethodKind, methodsOf, type RequestDefinition } from "./grpc/method.ts";
export type { Peer, PeerCertificate } from "./grpc/peer.ts";
export { errorDetails } from "./grpc/received-details.ts";
export type { AuditOptions } from "./middleware/audit/audit.ts";
export type { AuditEntry, AuditParty } from "./middleware/audit/audit-entry.ts";
export type { AuditFailure, AuditFailureReason } from "./middleware/audit/audit-failures.ts";
export type { AuditSink } from "./middleware/audit/audit-sink.ts";
export { type JsonLinesSinkOptions, jsonLinesSink } from "./middleware/audit/json-lines-sink.ts";
export { type AllOfOptions, allOf } from "./middleware/authentication/all-of.ts";
export { anonymous } from "./middleware/authentication/anonymous.ts";
export { anyOf } from "./middleware/authentication/any-of.ts";
export {
  type ApiKeyOptions,
  type ApiKeyRecord,
  type ApiKeyStore,
  apiKey,
} from "./middleware/authentication/api-key.ts";
export type {
  ApiKeyAdministration,
  RotateApiKeyOptions,
  RotatedApiKey,
  StoredApiKey,
} from "./middleware/authentication/api-key-administration.ts";
export type { ApiKeyUse } from "./middleware/authentication/api-key-uses.ts";
export type { Authenticator } from "./middleware/authentication/authenticator.ts";
export {
  type FileApiKeyStore,
  type FileApiKeyStoreOptions,
  fileApiKeyStore,
} from "./middleware/authentication/file-api-key-store.ts";
export type { CertificateBound } from "./middleware/authentication/jwt/certificate-binding.ts";
export { type IsRevoked, type JwtKey, type JwtOptions, jwt } from "./middleware/authentication/jwt/jwt.ts";
export type { SignatureAlgorithm } from "./middleware/authentication/jwt/public-jwk.ts";
export {
  type IssueApiKeyOptions,
  issueApiKey,
  memoryApiKeyStore,
} from "./middleware/authentication/memory-api-key-store.ts";
export { type MtlsOptions, mtls } from "./middleware/authentication/mtls.ts";
export { optional } from "./middleware/authentication/optional.ts";
export {
  type MemoryRevocationList,
  type RevocationAdministration,
  type RevocationListOptions,
  revocationList,
} from "./middleware/authentication/revocation/memory-revocation-list.ts";
export type {
  RevocableToken,
  RevocationList,
} from "./middleware/authentication/revocation/revocation-list.ts";
export type {
  SharedRevocationList,
  SharedRevocationListOptions,
} from "./middleware/authentication/revocation/shared-revocation-list.ts";
export type { SharedApiKeyStore } from "./middleware/authentication/shared-api-keys.ts";
export type { AccessMatrix } from "./middleware/authorization/access-matrix.ts";
export { allAuthorizers } from "./middleware/authorization/all-authorizers.ts";
export { allowAuthenticated } from "./middleware/authorization/allow-authenticated.ts";
export type {
  Authorizer,
  CallerSchemes,
  Decision,
  MethodPolicy,
  Policy,
  ReadableDemand,
  ReadableRule,
} from "./middleware/authorization/authorizer.ts";
export { comparePolicies, type MethodsOfPolicies } from "./middleware/authorization/compare-policies.ts";
export type { Condition, When } from "./middleware/authorization/condition.ts";
export { type GrpcPolicyOptions, grpcPolicy } from "./middleware/authorization/grpc-policy/grpc-policy.ts";
export type { MethodAccess } from "./middleware/authorization/method-access.ts";
export type { ActorRequirement, Requirement, Rule } from "./middleware/authorization/method-rule.ts";
export type {
  ChangeDirection,
  PolicyChange,
  PolicyComparison,
} from "./middleware/authorization/policy-change.ts";
export {
  type RbacAuthorizer,
  type RbacOptions,
  type RbacPolicy,
  rbac,
} from "./middleware/authorization/rbac.ts";
export { type RbacFileOptions, rbacFile } from "./middleware/authorization/rbac-file.ts";
export type {
  FindRoles,
  LookedUpPrincipal,
  RoleLookup,
  RoleLookupOptions,
} from "./middleware/authorization/role-lookup.ts";
export type { RoleDefinition } from "./middleware/authorization/roles.ts";
export {
  type DescriptorSet,
  type ProtoRules,
  type RulesFromProtoOptions,
  rulesFromProto,
} from "./middleware/authorization/rules-from-proto.ts";
export type { DeadlineOptions } from "./middleware/deadline/deadline.ts";
export { memoryRateLimitStore } from "./middleware/rate-limit/memory-rate-limit-store.ts";
export type { MessageLimit, MethodRateLimits, RateLimitOptions } from "./middleware/rate-limit/rate-limit.ts";
export type { RateLimit, RateLimitResult, RateLimitStore } from "./middleware/rate-limit/rate-limit-store.ts";
export type { ValidationOptions } from "./middleware/validation/message-checks.ts";
export type { MessageSchema } from "./middleware/validation/message-schema.ts";
export type { FieldViolation, MessageCheck, Validator } from "./middleware/validation/validator.ts";
export type { EnforceOptions } from "./server/enforce.ts";
export type { PeerOptions } from "./server/forwarded-peer.ts";
export type { Health, HealthAddresses, HealthOptions, ServingStatus } from "./server/health.ts";
export { type SecureInterceptors, secureInterceptors, toInterceptor } from "./server/interceptors.ts";
export type { MethodOptions, MethodsOptions } from "./server/method-overrides.ts";
export type { ReflectionOptions } from "./server/reflection.ts";
export { createSecureServer, type SecureServer, type ShutdownOptions } from "./server/secure-server.ts";
export type { ServerChannelOptions } from "./server/server-channel-options.ts";
export type {
  LimitsOptions,
  SecureInterceptorsOptions,
  SecureServerOptions,
} from "./server/server-options.ts";
export type {
  CertificateRevocationAnswer,
  CertificateRevocations,
  RevocationStatus,
} from "./tls/certificate-revocations.ts";
export type { ClientPlaintext, ClientTlsFiles, ClientTlsOptions } from "./tls/client-credentials.ts";
export type { PemSource } from "./tls/load-pem.ts";
export type { TlsVersion } from "./tls/protocol.ts";
export { serverCredentials, type TlsServerCredentials } from "./tls/server-credentials.ts";
export type {
  ClientAuth,
  ServerPlaintext,
  ServerPlaintextLoopback,
  ServerPlaintextMesh,
  ServerTlsOptions,
} from "./tls/server-tls-options.ts";
