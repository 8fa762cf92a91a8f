// Which options there are: each schema that options are checked with, and the type that tells what they mean.
import type { z } from "zod";
import { celSchema } from "../../src/cel/cel.ts";
import { clientSchema } from "../../src/client/secure-client.ts";
import { crlFilesSchema } from "../../src/crl/crl-files.ts";
import { googleCredentialsSchema } from "../../src/google/google-credentials.ts";
import { auditMiddlewareSchema } from "../../src/middleware/audit/audit.ts";
import { jsonLinesSinkSchema } from "../../src/middleware/audit/json-lines-sink.ts";
import { allOfSchema } from "../../src/middleware/authentication/all-of.ts";
import { apiKeySchema } from "../../src/middleware/authentication/api-key.ts";
import { issueSchema } from "../../src/middleware/authentication/api-key-record.ts";
import { authenticationSchema } from "../../src/middleware/authentication/authentication.ts";
import { fileApiKeyStoreSchema } from "../../src/middleware/authentication/file-api-key-store.ts";
import { jwtSchema } from "../../src/middleware/authentication/jwt/jwt.ts";
import { mtlsSchema } from "../../src/middleware/authentication/mtls.ts";
import { revocationListSchema } from "../../src/middleware/authentication/revocation/memory-revocation-list.ts";
import { grpcPolicySchema } from "../../src/middleware/authorization/grpc-policy/grpc-policy.ts";
import { rbacSchema } from "../../src/middleware/authorization/rbac.ts";
import { rbacFileOptionsSchema } from "../../src/middleware/authorization/rbac-file.ts";
import { deadlineSchema } from "../../src/middleware/deadline/deadline.ts";
import { loggingSchema } from "../../src/middleware/logging/logging.ts";
import { metadataLimitSchema } from "../../src/middleware/metadata-limit/metadata-limit.ts";
import { rateLimitSchema } from "../../src/middleware/rate-limit/rate-limit.ts";
import { clientCredentialsSchema } from "../../src/oauth/client-credentials.ts";
import { introspectionSchema } from "../../src/oauth/introspection.ts";
import { jwtBearerSchema } from "../../src/oauth/jwt-bearer.ts";
import { refreshTokenSchema } from "../../src/oauth/refresh-token.ts";
import { tokenExchangeSchema } from "../../src/oauth/token-exchange.ts";
import { opaSchema } from "../../src/opa/opa.ts";
import { opaWasmSchema } from "../../src/opa/opa-wasm.ts";
import { postgresApiKeyStoreSchema } from "../../src/postgres/postgres-api-key-store.ts";
import { postgresRevocationListSchema } from "../../src/postgres/postgres-revocation-list.ts";
import { protovalidateSchema } from "../../src/protovalidate/protovalidate.ts";
import { redisApiKeyStoreSchema } from "../../src/redis/redis-api-key-store.ts";
import { redisRateLimitStoreSchema } from "../../src/redis/redis-rate-limit-store.ts";
import { redisRevocationListSchema } from "../../src/redis/redis-revocation-list.ts";
import { shutdownSchema } from "../../src/server/secure-server.ts";
import { interceptorsSchema, serverSchema } from "../../src/server/server-options.ts";
import {
  revocationListSchema as authorityRevocationListSchema,
  authoritySchema,
  requestSchema,
} from "../../src/testing/certificate-authority.ts";
import { issuerSchema, signSchema } from "../../src/testing/token-issuer.ts";
import { clientTlsSchema } from "../../src/tls/client-credentials.ts";

/** The options of one function. */
export interface Group {
  /** The function that takes them. */
  readonly of: string;
  readonly schema: z.ZodType;
  /** The exported type that the options have; its members' doc comments are their meaning. */
  readonly type: string;
  /** Schemas of options that the schema leaves to another function to check. */
  readonly parts?: Readonly<Record<string, z.ZodType>>;
  /** Where these options are already told: the function, and the option of it. What is alike is not told again. */
  readonly as?: { readonly of: string; readonly under?: string };
}

/** A part of the page. */
export interface Chapter {
  readonly title: string;
  readonly groups: readonly Group[];
}

export const chapters: readonly Chapter[] = [
  {
    title: "The server",
    groups: [
      { of: "createSecureServer", schema: serverSchema, type: "SecureServerOptions" },
      { of: "server.shutdown", schema: shutdownSchema, type: "ShutdownOptions" },
    ],
  },
  {
    title: "Integrations",
    groups: [
      {
        of: "secureInterceptors",
        schema: interceptorsSchema,
        type: "SecureInterceptorsOptions",
        as: { of: "createSecureServer" },
      },
    ],
  },
  {
    title: "The client",
    groups: [
      {
        of: "createSecureClient",
        schema: clientSchema,
        type: "SecureClientOptions",
        parts: { tls: clientTlsSchema },
      },
    ],
  },
  {
    title: "Tokens for outgoing calls",
    groups: [
      { of: "clientCredentials", schema: clientCredentialsSchema, type: "ClientCredentialsOptions" },
      {
        of: "refreshToken",
        schema: refreshTokenSchema,
        type: "RefreshTokenOptions",
        as: { of: "clientCredentials" },
      },
      {
        of: "tokenExchange",
        schema: tokenExchangeSchema,
        type: "TokenExchangeOptions",
        as: { of: "clientCredentials" },
      },
      { of: "jwtBearer", schema: jwtBearerSchema, type: "JwtBearerOptions", as: { of: "clientCredentials" } },
      { of: "googleCredentials", schema: googleCredentialsSchema, type: "GoogleCredentialsOptions" },
    ],
  },
  {
    title: "Authentication",
    groups: [
      { of: "jwt", schema: jwtSchema, type: "JwtOptions" },
      { of: "introspection", schema: introspectionSchema, type: "IntrospectionOptions" },
      { of: "revocationList", schema: revocationListSchema, type: "RevocationListOptions" },
      { of: "redisRevocationList", schema: redisRevocationListSchema, type: "RedisRevocationListOptions" },
      {
        of: "postgresRevocationList",
        schema: postgresRevocationListSchema,
        type: "PostgresRevocationListOptions",
      },
      { of: "apiKey", schema: apiKeySchema, type: "ApiKeyOptions" },
      { of: "fileApiKeyStore", schema: fileApiKeyStoreSchema, type: "FileApiKeyStoreOptions" },
      { of: "redisApiKeyStore", schema: redisApiKeyStoreSchema, type: "RedisApiKeyStoreOptions" },
      { of: "postgresApiKeyStore", schema: postgresApiKeyStoreSchema, type: "PostgresApiKeyStoreOptions" },
      { of: "issueApiKey", schema: issueSchema, type: "IssueApiKeyOptions" },
      { of: "mtls", schema: mtlsSchema, type: "MtlsOptions" },
      { of: "crlFiles", schema: crlFilesSchema, type: "CrlFilesOptions" },
      { of: "allOf", schema: allOfSchema, type: "AllOfOptions" },
    ],
  },
  {
    title: "Authorization",
    groups: [
      { of: "rbac", schema: rbacSchema, type: "RbacOptions" },
      { of: "rbacFile", schema: rbacFileOptionsSchema, type: "RbacFileOptions", as: { of: "rbac" } },
      { of: "grpcPolicy", schema: grpcPolicySchema, type: "GrpcPolicyOptions" },
      { of: "opa", schema: opaSchema, type: "OpaOptions" },
      { of: "opaWasm", schema: opaWasmSchema, type: "OpaWasmOptions", as: { of: "opa" } },
      { of: "celWith", schema: celSchema, type: "CelOptions" },
    ],
  },
  {
    title: "Validation",
    groups: [{ of: "protovalidate", schema: protovalidateSchema, type: "ProtovalidateOptions" }],
  },
  {
    title: "Limits across instances",
    groups: [
      {
        of: "redisRateLimitStore",
        schema: redisRateLimitStoreSchema,
        type: "RedisRateLimitStoreOptions",
      },
    ],
  },
  {
    title: "Audit",
    groups: [{ of: "jsonLinesSink", schema: jsonLinesSinkSchema, type: "JsonLinesSinkOptions" }],
  },
  {
    title: "Single middleware",
    groups: [
      {
        of: "rateLimit",
        schema: rateLimitSchema,
        type: "RateLimitOptions",
        as: { of: "createSecureServer", under: "rateLimit" },
      },
      {
        of: "deadline",
        schema: deadlineSchema,
        type: "DeadlineOptions",
        as: { of: "createSecureServer", under: "deadline" },
      },
      {
        of: "metadataLimit",
        schema: metadataLimitSchema,
        type: "MetadataLimitOptions",
        as: { of: "createSecureServer", under: "limits" },
      },
      { of: "authentication", schema: authenticationSchema, type: "AuthenticationOptions" },
      {
        of: "audit",
        schema: auditMiddlewareSchema,
        type: "AuditOptions",
        as: { of: "createSecureServer", under: "audit" },
      },
      { of: "logging", schema: loggingSchema, type: "LoggingOptions" },
    ],
  },
  {
    title: "Testing",
    groups: [
      {
        of: "createCertificateAuthority",
        schema: authoritySchema,
        type: "CertificateAuthorityOptions",
      },
      { of: "ca.issue", schema: requestSchema, type: "CertificateRequest" },
      { of: "ca.revocationList", schema: authorityRevocationListSchema, type: "RevocationListRequest" },
      { of: "createTokenIssuer", schema: issuerSchema, type: "TokenIssuerOptions" },
      { of: "issuer.sign", schema: signSchema, type: "SignOptions" },
    ],
  },
];
