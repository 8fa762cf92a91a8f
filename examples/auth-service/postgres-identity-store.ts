// The same in PostgreSQL, for several instances.
import type { Pool } from "pg";
import type { IdentityStore, Session } from "./identity-store.ts";
import type { User } from "./services.ts";

const tables = `
CREATE TABLE IF NOT EXISTS auth_users (
  id text PRIMARY KEY, email text NOT NULL UNIQUE CHECK (email = lower(email)), tenant text NOT NULL,
  roles text[] NOT NULL, password_hash text NOT NULL
);
CREATE TABLE IF NOT EXISTS auth_sessions (
  id text PRIMARY KEY, user_id text NOT NULL REFERENCES auth_users, refresh_digest text NOT NULL,
  expires_at bigint NOT NULL, ended boolean NOT NULL, token_ids text[] NOT NULL
)`;

interface UserRow extends User {
  readonly password_hash: string;
}

interface SessionRow {
  readonly id: string;
  readonly user_id: string;
  readonly refresh_digest: string;
  readonly expires_at: string;
  readonly ended: boolean;
  readonly token_ids: readonly string[];
}

/** Makes the tables where they are missing. Closing it ends the pool. */
export async function postgresIdentityStore(pool: Pool): Promise<IdentityStore> {
  await pool.query(tables);
  const userOf = ({ id, email, tenant, roles }: User): User => ({ id, email, tenant, roles });
  return {
    async addAccount({ user: { id, email, tenant, roles }, passwordHash }) {
      await pool.query(
        "INSERT INTO auth_users VALUES ($1, lower($2), $3, $4, $5) ON CONFLICT (email) DO UPDATE SET password_hash = $5",
        [id, email, tenant, roles, passwordHash],
      );
    },
    async accountByEmail(email) {
      const { rows } = await pool.query<UserRow>("SELECT * FROM auth_users WHERE email = lower($1)", [email]);
      const [row] = rows;
      return row === undefined ? undefined : { user: userOf(row), passwordHash: row.password_hash };
    },
    async userById(id) {
      const { rows } = await pool.query<UserRow>("SELECT * FROM auth_users WHERE id = $1", [id]);
      return rows[0] === undefined ? undefined : userOf(rows[0]);
    },
    async addSession({ id, userId, refreshDigest, expiresAt, ended, tokenIds }) {
      await pool.query("INSERT INTO auth_sessions VALUES ($1, $2, $3, $4, $5, $6)", [
        id,
        userId,
        refreshDigest,
        expiresAt,
        ended,
        tokenIds,
      ]);
    },
    async sessionById(id) {
      const { rows } = await pool.query<SessionRow>("SELECT * FROM auth_sessions WHERE id = $1", [id]);
      return rows[0] === undefined ? undefined : sessionOf(rows[0]);
    },
    async rotate(id, was, { refreshDigest, tokenIds }) {
      const { rowCount } = await pool.query(
        "UPDATE auth_sessions SET refresh_digest = $3, token_ids = $4 WHERE id = $1 AND refresh_digest = $2 AND NOT ended",
        [id, was, refreshDigest, tokenIds],
      );
      return rowCount === 1;
    },
    async endSession(id) {
      await pool.query("UPDATE auth_sessions SET ended = true WHERE id = $1", [id]);
    },
    close: () => pool.end(),
  };
}

function sessionOf(row: SessionRow): Session {
  return {
    id: row.id,
    userId: row.user_id,
    refreshDigest: row.refresh_digest,
    expiresAt: Number(row.expires_at),
    ended: row.ended,
    tokenIds: row.token_ids,
  };
}
