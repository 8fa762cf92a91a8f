// The same in one file, which outlives a restart, by the SQLite that Node.js has in it: nothing to install, for one instance.
import { closeSync, openSync } from "node:fs";
import type { ApiKeyRecord } from "grpc-palisade";
import { type ApiKeys, memoryApiKeys } from "./api-keys.ts";
import type { IdentityStore } from "./identity-store.ts";
import type { User } from "./services.ts";

/** What is used of `node:sqlite`, which the types of Node.js 20 do not have. */
interface Database {
  exec(sql: string): void;
  prepare(sql: string): {
    get(...values: readonly (string | number)[]): unknown;
    all(): unknown[];
    run(...values: readonly (string | number)[]): { readonly changes: number | bigint };
  };
  close(): void;
}

const tables = `
CREATE TABLE IF NOT EXISTS auth_users (
  id TEXT PRIMARY KEY, email TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL, roles TEXT NOT NULL, password_hash TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS auth_sessions (
  id TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES auth_users, refresh_digest TEXT NOT NULL,
  expires_at INTEGER NOT NULL, ended INTEGER NOT NULL, token_ids TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS auth_api_keys (id TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT`;

interface UserRow extends Omit<User, "roles"> {
  /** JSON. */
  readonly roles: string;
  readonly password_hash: string;
}

interface SessionRow {
  readonly id: string;
  readonly user_id: string;
  readonly refresh_digest: string;
  readonly expires_at: number;
  readonly ended: number;
  /** JSON. */
  readonly token_ids: string;
}

export interface SqliteStores {
  readonly identities: IdentityStore;
  readonly apiKeys: ApiKeys;
}

/** Opens the file, or makes it, for its owner alone. Closing `identities` closes it. */
export async function sqliteStores(path: string): Promise<SqliteStores> {
  const database = await open(path);
  database.exec(tables);
  return { identities: identityStore(database), apiKeys: await apiKeys(database) };
}

async function open(path: string): Promise<Database> {
  const { DatabaseSync } = (await import("node:sqlite" as string).catch(() => {
    throw new Error("AUTH_SQLITE needs Node.js 24, which has SQLite; without it users are in memory");
  })) as { readonly DatabaseSync: new (path: string) => Database };
  closeSync(openSync(path, "a", 0o600));
  return new DatabaseSync(path);
}

function identityStore(database: Database): IdentityStore {
  const userOf = ({ id, email, tenant, roles }: UserRow): User => ({
    id,
    email,
    tenant,
    roles: JSON.parse(roles),
  });
  const byEmail = database.prepare("SELECT * FROM auth_users WHERE email = ?");
  const byId = database.prepare("SELECT * FROM auth_users WHERE id = ?");
  const session = database.prepare("SELECT * FROM auth_sessions WHERE id = ?");
  return {
    async addAccount({ user: { id, email, tenant, roles }, passwordHash }) {
      database
        .prepare(
          "INSERT INTO auth_users VALUES (?, ?, ?, ?, ?) ON CONFLICT (email) DO UPDATE SET password_hash = excluded.password_hash",
        )
        .run(id, email.toLowerCase(), tenant, JSON.stringify(roles), passwordHash);
    },
    async accountByEmail(email) {
      const row = byEmail.get(email.toLowerCase()) as UserRow | undefined;
      return row === undefined ? undefined : { user: userOf(row), passwordHash: row.password_hash };
    },
    async userById(id) {
      const row = byId.get(id) as UserRow | undefined;
      return row === undefined ? undefined : userOf(row);
    },
    async addSession({ id, userId, refreshDigest, expiresAt, ended, tokenIds }) {
      database
        .prepare("INSERT INTO auth_sessions VALUES (?, ?, ?, ?, ?, ?)")
        .run(id, userId, refreshDigest, expiresAt, Number(ended), JSON.stringify(tokenIds));
    },
    async sessionById(id) {
      const row = session.get(id) as SessionRow | undefined;
      if (row === undefined) return undefined;
      return {
        id: row.id,
        userId: row.user_id,
        refreshDigest: row.refresh_digest,
        expiresAt: row.expires_at,
        ended: row.ended !== 0,
        tokenIds: JSON.parse(row.token_ids),
      };
    },
    async rotate(id, was, { refreshDigest, tokenIds }) {
      const { changes } = database
        .prepare(
          "UPDATE auth_sessions SET refresh_digest = ?, token_ids = ? WHERE id = ? AND refresh_digest = ? AND ended = 0",
        )
        .run(refreshDigest, JSON.stringify(tokenIds), id, was);
      return changes === 1;
    },
    async endSession(id) {
      database.prepare("UPDATE auth_sessions SET ended = 1 WHERE id = ?").run(id);
    },
    close: async () => database.close(),
  };
}

/** Kept in memory too: this process alone changes them. */
async function apiKeys(database: Database): Promise<ApiKeys> {
  const kept = memoryApiKeys();
  const records = database.prepare("SELECT record FROM auth_api_keys").all() as { readonly record: string }[];
  for (const { record } of records) await kept.add(JSON.parse(record) as ApiKeyRecord);
  return {
    ...kept,
    async add(record) {
      database.prepare("INSERT INTO auth_api_keys VALUES (?, ?)").run(record.id, JSON.stringify(record));
      await kept.add(record);
    },
    async revoke(id) {
      database
        .prepare("UPDATE auth_api_keys SET record = json_set(record, '$.revoked', json('true')) WHERE id = ?")
        .run(id);
      await kept.revoke(id);
    },
  };
}
