// The three services and what the rows of the demo need of them.
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import {
  apiKeyCredentials,
  bearerToken,
  type CredentialSource,
  createSecureClient,
  type SecureServer,
} from "grpc-palisade";
import { clientTls, serverTls } from "../orders/certificates.ts";
import { createAuthServer } from "./auth-server.ts";
import { type Backends, backends } from "./backends.ts";
import { createDocumentsServer, createProfilesServer } from "./neighbours.ts";
import { hash } from "./passwords.ts";
import { ApiKeyClient, AuthClient, ProfilesClient } from "./services.ts";
import { Sessions } from "./sessions.ts";
import { publish, type SigningKeys, signingKeys } from "./signing-keys.ts";

const users = [
  { email: "ada@acme.example", tenant: "acme", roles: ["member"], password: "correct horse" },
  { email: "grace@acme.example", tenant: "acme", roles: ["admin"], password: "battery staple" },
  { email: "linus@other.example", tenant: "other", roles: ["member"], password: "penguin" },
] as const;

export type Email = (typeof users)[number]["email"];

export interface World {
  readonly keys: SigningKeys;
  readonly where: string;
  /** The address of one of the users, with the name of this run before it. */
  emailOf(email: Email): string;
  passwordOf(email: Email): string;
  auth(credentials?: CredentialSource): AuthClient;
  apiKeys(credentials?: CredentialSource): ApiKeyClient;
  profiles(credentials?: CredentialSource): ProfilesClient;
  stop(): Promise<void>;
}

export const withToken = (token: string): CredentialSource => bearerToken(() => token);
export const withKey = (key: string): CredentialSource => apiKeyCredentials(key);

export async function startWorld(): Promise<World> {
  const kept: Backends = await backends();
  const keys = await signingKeys();
  const published = await publish(keys, {
    cert: readFileSync(serverTls.cert),
    key: readFileSync(serverTls.key),
  });
  const { issuer } = published;
  const revocations = kept.revocations();
  const sessions = new Sessions({
    store: kept.identities,
    keys,
    issuer,
    audiences: ["auth", "profiles", "documents"],
    revocations,
  });
  // Of this run alone, where the store has others' too.
  const run = randomUUID().slice(0, 8);
  for (const { email, tenant, roles, password } of users) {
    const user = { id: `${email.split("@")[0]}-${run}`, email: `${run}-${email}`, tenant, roles };
    await kept.identities.addAccount({ user, passwordHash: await hash(password) });
  }
  const { apiKeys, limits } = kept;
  const logger = false as const;
  const auth = createAuthServer({ tls: serverTls, issuer, sessions, apiKeys, revocations, limits, logger });
  const documents = createDocumentsServer({
    tls: serverTls,
    issuer,
    revocations: kept.revocations(),
    logger,
  });
  const documentsPort = await listen(documents);
  const profiles = createProfilesServer({
    tls: serverTls,
    issuer,
    revocations: kept.revocations(),
    apiKeys,
    documents: { target: `localhost:${documentsPort}`, tls: clientTls },
    logger,
  });
  const [authPort, profilesPort] = [await listen(auth), await listen(profiles)];
  const open: { close(): void }[] = [];
  const options = (credentials?: CredentialSource) => ({
    tls: clientTls,
    ...(credentials === undefined ? {} : { credentials }),
  });
  const opened = <C extends { close(): void }>(client: C): C => {
    open.push(client);
    return client;
  };
  return {
    keys,
    where: kept.where,
    emailOf: (email) => `${run}-${email}`,
    passwordOf: (email) => users.find((user) => user.email === email)?.password ?? "",
    auth: (credentials) =>
      opened(createSecureClient(AuthClient, `localhost:${authPort}`, options(credentials))),
    apiKeys: (credentials) =>
      opened(createSecureClient(ApiKeyClient, `localhost:${authPort}`, options(credentials))),
    profiles: (credentials) =>
      opened(createSecureClient(ProfilesClient, `localhost:${profilesPort}`, options(credentials))),
    async stop() {
      for (const client of open) client.close();
      profiles.closeClient();
      await Promise.all([profiles, documents, auth].map((server) => server.shutdown({ graceMs: 1_000 })));
      await published.close();
      await kept.close();
    },
  };
}

async function listen(server: SecureServer): Promise<number> {
  return (await server.listen("127.0.0.1:0")).port;
}
