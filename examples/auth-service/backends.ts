// Where the identity service keeps things: in this process, in an SQLite file that a variable names, or in PostgreSQL and Redis where
// two variables name them.

import type { RevocationAdministration } from "grpc-palisade";
import {
  memoryRateLimitStore,
  type RateLimitStore,
  type RevocationList,
  revocationList,
} from "grpc-palisade";
import { postgresApiKeyStore } from "grpc-palisade/postgres";
import { redisRateLimitStore, redisRevocationList } from "grpc-palisade/redis";
import { type ApiKeys, memoryApiKeys } from "./api-keys.ts";
import type { IdentityStore } from "./identity-store.ts";
import { memoryIdentityStore } from "./memory-identity-store.ts";
import { lifetimeSec } from "./sessions.ts";

export interface Backends {
  readonly identities: IdentityStore;
  readonly apiKeys: ApiKeys;
  readonly limits: RateLimitStore;
  /** One for each service, as each is a process of its own elsewhere. */
  revocations(): RevocationList & RevocationAdministration;
  /** What a reader is told. */
  readonly where: string;
  close(): Promise<void>;
}

/** `AUTH_POSTGRES_URL` and `AUTH_REDIS_URL`, both; or `AUTH_SQLITE`, a path; or none. */
export async function backends(environment: NodeJS.ProcessEnv = process.env): Promise<Backends> {
  const { AUTH_POSTGRES_URL: postgresUrl, AUTH_REDIS_URL: redisUrl, AUTH_SQLITE: path } = environment;
  if (postgresUrl === undefined && redisUrl === undefined)
    return path === undefined ? inMemory() : inSqlite(path);
  if (path !== undefined)
    throw new Error("set AUTH_SQLITE, or AUTH_POSTGRES_URL and AUTH_REDIS_URL, but not all of them");
  if (postgresUrl === undefined || redisUrl === undefined)
    throw new Error("set both AUTH_POSTGRES_URL and AUTH_REDIS_URL, or neither");
  return shared(postgresUrl, redisUrl);
}

function inMemory(): Backends {
  const list = revocationList({ maxTokenLifetimeSec: lifetimeSec });
  return {
    identities: memoryIdentityStore(),
    apiKeys: memoryApiKeys(),
    limits: memoryRateLimitStore(),
    revocations: () => list,
    where: "in memory",
    close: async () => {},
  };
}

/** Limits and revoked tokens last minutes and an hour, and the keys that sign tokens end with the process: they stay in memory. */
async function inSqlite(path: string): Promise<Backends> {
  const { sqliteStores } = await import("./sqlite-stores.ts");
  const { identities, apiKeys } = await sqliteStores(path);
  return { ...inMemory(), identities, apiKeys, where: "in SQLite", close: () => identities.close() };
}

async function shared(postgresUrl: string, redisUrl: string): Promise<Backends> {
  const [{ default: pg }, { Redis }, { postgresIdentityStore }] = await Promise.all([
    import("pg"),
    import("ioredis"),
    import("./postgres-identity-store.ts"),
  ]);
  const pool = new pg.Pool({ connectionString: postgresUrl });
  // Both tell by themselves when they are away; without a listener an error would end the process.
  pool.on("error", (error) => console.error(`PostgreSQL: ${error.message}`));
  const client = new Redis(redisUrl).on("error", (error) => console.error(`Redis: ${error.message}`));
  const identities = await postgresIdentityStore(pool);
  const apiKeys = postgresApiKeyStore({ pool });
  await apiKeys.createTable();
  return {
    identities,
    apiKeys,
    limits: redisRateLimitStore({ client }),
    revocations: () => redisRevocationList({ client, maxTokenLifetimeSec: lifetimeSec }),
    where: "in PostgreSQL and Redis",
    async close() {
      await apiKeys.close();
      client.disconnect();
      await identities.close();
    },
  };
}
