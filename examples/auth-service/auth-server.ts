// The identity service behind Palisade.
import { createHash } from "node:crypto";
import { status } from "@grpc/grpc-js";
import {
  createSecureServer,
  defineHandlers,
  issueApiKey,
  jwt,
  type RateLimitStore,
  type RevocationList,
  rbac,
  requirePrincipal,
  type SecureServer,
  type SecureServerOptions,
  StatusError,
} from "grpc-palisade";
import type { ApiKeys } from "./api-keys.ts";
import { invalidCredentials, LoginThrottle } from "./login-throttle.ts";
import {
  ApiKeyClient,
  AuthClient,
  type KeyValidity,
  type LoginResponse,
  type Permission,
  type UserRoles,
} from "./services.ts";
import type { Sessions } from "./sessions.ts";

/** What the roles of people permit, here and at the neighbours. */
export const roles = {
  member: { permissions: ["profile:read"] },
  admin: { inherits: ["member"], permissions: ["apikey:issue", "apikey:validate", "apikey:revoke"] },
} as const;

export interface AuthServerOptions {
  readonly tls: SecureServerOptions["tls"];
  readonly issuer: string;
  readonly sessions: Sessions;
  readonly apiKeys: ApiKeys;
  readonly revocations: RevocationList;
  readonly limits: RateLimitStore;
  readonly logger: SecureServerOptions["logger"];
}

export function createAuthServer(options: AuthServerOptions): SecureServer {
  const { tls, issuer, revocations, limits, logger } = options;
  const server = createSecureServer({
    tls,
    authentication: jwt({ issuer, audience: "auth", revocations }),
    authorization: rbac({
      roles,
      rules: {
        "/auth.v1.AuthService/Login": "public",
        "/auth.v1.AuthService/RefreshToken": "public",
        "/auth.v1.AuthService/*": "authenticated",
        "/auth.v1.ApiKeyService/IssueApiKey": { permissions: ["apikey:issue"] },
        "/auth.v1.ApiKeyService/ValidateApiKey": { permissions: ["apikey:validate"] },
        "/auth.v1.ApiKeyService/RevokeApiKey": { permissions: ["apikey:revoke"] },
      },
    }),
    // Hashing a password takes 20 ms and 19 MiB: no address gets many.
    methods: { "/auth.v1.AuthService/Login": { rateLimit: { perPeer: { points: 60, durationSec: 60 } } } },
    rateLimit: { store: limits },
    logger,
  });
  server.addService(AuthClient.service, authHandlers(options));
  server.addService(ApiKeyClient.service, apiKeyHandlers(options));
  return server;
}

function authHandlers({ sessions, limits }: AuthServerOptions): ReturnType<typeof defineHandlers> {
  const throttle = new LoginThrottle(limits);
  return defineHandlers(AuthClient.service, {
    async login(call: { readonly request: { readonly email: string; readonly password: string } }) {
      const { email, password } = call.request;
      return throttle.try(email, () => sessions.signIn(email, password));
    },
    async refreshToken(call: {
      readonly request: { readonly refreshToken: string };
    }): Promise<LoginResponse> {
      const answer = await sessions.refresh(call.request.refreshToken);
      if (answer === undefined) throw invalidCredentials();
      return answer;
    },
    async logout(call: object) {
      const { sid } = requirePrincipal(call).claims;
      if (typeof sid === "string") await sessions.end(sid);
      return {};
    },
    getUserRoles: async (call: object): Promise<UserRoles> => {
      const { subject, roles: names } = requirePrincipal(call);
      return {
        userId: subject,
        roles: Object.entries(roles)
          .filter(([name]) => names.has(name))
          .map(([name, { permissions }]) => ({ name, permissions: permissions.map(toPermission) })),
      };
    },
  });
}

function apiKeyHandlers({ apiKeys }: AuthServerOptions): ReturnType<typeof defineHandlers> {
  return defineHandlers(ApiKeyClient.service, {
    async issueApiKey(call: {
      readonly request: {
        readonly clientId: string;
        readonly permissions: readonly Permission[];
        readonly lifetimeSeconds: number;
      };
    }) {
      const { clientId, permissions, lifetimeSeconds } = call.request;
      if (clientId === "") throw new StatusError(status.INVALID_ARGUMENT, "client_id is empty");
      const { key, record } = issueApiKey({
        owner: clientId,
        permissions: permissions.map(({ resource, action }) => `${resource}:${action}`),
        ...(lifetimeSeconds > 0 ? { expiresAt: Date.now() + lifetimeSeconds * 1000 } : {}),
      });
      await apiKeys.add(record);
      return { id: record.id, key };
    },
    async validateApiKey(call: { readonly request: { readonly key: string } }): Promise<KeyValidity> {
      const record = await apiKeys.find(createHash("sha256").update(call.request.key).digest("hex"));
      const { expiresAt = Number.POSITIVE_INFINITY } = record ?? {};
      if (record === undefined || record.revoked === true || Date.now() >= expiresAt)
        return { valid: false, clientId: "", permissions: [], expiresAt: 0 };
      return {
        valid: true,
        clientId: record.owner,
        permissions: (record.permissions ?? []).map(toPermission),
        expiresAt: record.expiresAt === undefined ? 0 : Math.floor(record.expiresAt / 1000),
      };
    },
    async revokeApiKey(call: { readonly request: { readonly id: string } }) {
      await apiKeys.revoke(call.request.id).catch((cause: unknown) => {
        throw new StatusError(status.NOT_FOUND, "no such API key", { cause });
      });
      return {};
    },
  });
}

function toPermission(text: string): Permission {
  const [resource = "", action = ""] = text.split(":");
  return { resource, action };
}
