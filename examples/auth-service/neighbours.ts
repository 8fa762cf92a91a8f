// Two more services: Profiles verifies what the identity service issued, and asks Documents for the same caller.
import { setTimeout as sleep } from "node:timers/promises";
import {
  type ApiKeyStore,
  anyOf,
  apiKey,
  createSecureClient,
  createSecureServer,
  defineHandlers,
  forwardIdentity,
  jwt,
  type RevocationList,
  rbac,
  requirePrincipal,
  type SecureClientOptions,
  type SecureServer,
  type SecureServerOptions,
  StatusError,
  securityContext,
} from "grpc-palisade";
import { roles } from "./auth-server.ts";
import { DocumentsClient, type Profile, ProfilesClient } from "./services.ts";

interface NeighbourOptions {
  readonly tls: SecureServerOptions["tls"];
  readonly issuer: string;
  readonly revocations: RevocationList;
  readonly logger: SecureServerOptions["logger"];
}

export function createDocumentsServer({ tls, issuer, revocations, logger }: NeighbourOptions): SecureServer {
  const server = createSecureServer({
    tls,
    authentication: jwt({ issuer, audience: "documents", revocations }),
    authorization: rbac({ roles, rules: { "/neighbours.v1.Documents/*": { roles: ["member"] } } }),
    logger,
  });
  server.addService(
    DocumentsClient.service,
    defineHandlers(DocumentsClient.service, {
      async listDocuments(call: object) {
        const { subject, tenant } = requirePrincipal(call);
        return { titles: [`${tenant}: handbook`, `${tenant}: notes of ${subject}`] };
      },
    }),
  );
  return server;
}

export interface ProfilesOptions extends NeighbourOptions {
  readonly apiKeys: ApiKeyStore;
  /** Where Documents is, and how to reach it. */
  readonly documents: { readonly target: string; readonly tls: SecureClientOptions["tls"] };
}

/** The server, and the client that it calls the next service with. */
export function createProfilesServer(options: ProfilesOptions): SecureServer & { closeClient(): void } {
  const { tls, issuer, revocations, apiKeys, documents, logger } = options;
  const server = createSecureServer({
    tls,
    authentication: anyOf(jwt({ issuer, audience: "profiles", revocations }), apiKey({ store: apiKeys })),
    authorization: rbac({
      roles,
      rules: {
        "/neighbours.v1.Profiles/GetProfile": { permissions: ["profile:read"] },
        "/neighbours.v1.Profiles/WatchProfile": { permissions: ["profile:read"] },
      },
    }),
    logger,
  });
  const client = createSecureClient(DocumentsClient, documents.target, {
    tls: documents.tls,
    credentials: forwardIdentity(),
  });
  const titles = (): Promise<readonly string[]> =>
    new Promise((resolve, reject) => {
      client.listDocuments({}, (error, answer) => {
        if (error === null) resolve(answer?.titles ?? []);
        // The next service's answer is the caller's on purpose.
        else reject(StatusError.from(error));
      });
    });
  const profileOf = async (call: object): Promise<Profile> => {
    const { subject, tenant = "", scheme } = requirePrincipal(call);
    // A program's key is good here alone: there is no token to pass on.
    return { subject, tenant, documents: scheme === "jwt" ? await titles() : [] };
  };
  server.addService(
    ProfilesClient.service,
    defineHandlers(ProfilesClient.service, {
      getProfile: (call: object) => profileOf(call),
      async *watchProfile(call: object) {
        const { signal } = securityContext(call);
        for (;;) {
          yield await profileOf(call);
          await sleep(50, undefined, { signal });
        }
      },
    }),
  );
  return Object.assign(server, { closeClient: () => client.close() });
}
