// The table of API keys: how it is made, and the statements on it. Values are always parameters.
import type { ApiKeyRecord } from "../middleware/authentication/api-key.ts";
import { tableNameOf } from "./table-name.ts";

export const defaultTable = "palisade_api_keys";

/** Names of the table and of what belongs to it, quoted. */
export interface TableNames {
  readonly table: string;
  readonly version: string;
  /** The trigger, without its schema. */
  readonly trigger: string;
  readonly triggerFunction: string;
  /** Not quoted. */
  readonly channel: string;
}

/** Of a name that has no problem. */
export function namesOf(name: string): TableNames {
  const { table, qualified } = tableNameOf(name, "postgresApiKeyStore.table", defaultTable);
  return {
    table: qualified(table),
    version: qualified(`${table}_version`),
    trigger: `"${table}_changed"`,
    triggerFunction: qualified(`${table}_changed`),
    channel: `${table}_changed`,
  };
}

/**
 * Statements that make the table; made again they change nothing. A trigger gives the table another version, and notifies the
 * instances, with every change of what a record says, also of one made by hand. The time of last use is no such change.
 */
export function createStatements(names: TableNames): readonly string[] {
  const { table, version, trigger, triggerFunction } = names;
  return [
    `CREATE TABLE IF NOT EXISTS ${table} (
  id           text PRIMARY KEY CHECK (id <> ''),
  digest       text NOT NULL UNIQUE CHECK (digest ~ '^[0-9a-f]{64}$'),
  owner        text NOT NULL CHECK (owner <> ''),
  roles        text[],
  permissions  text[],
  tenant       text CHECK (tenant <> ''),
  not_before   timestamptz,
  expires_at   timestamptz,
  revoked      boolean NOT NULL DEFAULT false,
  networks     text[],
  last_used_at timestamptz,
  created_at   timestamptz NOT NULL DEFAULT now()
)`,
    `CREATE TABLE IF NOT EXISTS ${version} (
  single  boolean PRIMARY KEY DEFAULT true CHECK (single),
  version uuid NOT NULL
)`,
    `INSERT INTO ${version} (version) VALUES (gen_random_uuid()) ON CONFLICT DO NOTHING`,
    `CREATE OR REPLACE FUNCTION ${triggerFunction}() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
  EXECUTE format('UPDATE %I.%I SET version = gen_random_uuid()', TG_TABLE_SCHEMA, TG_TABLE_NAME || '_version');
  PERFORM pg_notify(TG_TABLE_NAME || '_changed', '');
  RETURN NULL;
END
$function$`,
    `DROP TRIGGER IF EXISTS ${trigger} ON ${table}`,
    `CREATE TRIGGER ${trigger}
  AFTER INSERT OR DELETE OR TRUNCATE
    OR UPDATE OF id, digest, owner, roles, permissions, tenant, not_before, expires_at, revoked, networks
  ON ${table} FOR EACH STATEMENT EXECUTE FUNCTION ${triggerFunction}()`,
  ];
}

/** A record as the JSON of an `ApiKeyRecord`: as text no type parser of the pool changes it. */
const recordJson = `json_strip_nulls(json_build_object(
  'id', k.id, 'digest', k.digest, 'owner', k.owner, 'roles', k.roles, 'permissions', k.permissions, 'tenant', k.tenant,
  'notBefore', round(extract(epoch FROM k.not_before) * 1000)::bigint,
  'expiresAt', round(extract(epoch FROM k.expires_at) * 1000)::bigint,
  'revoked', k.revoked, 'networks', k.networks))::text`;

export interface Statements {
  readonly find: string;
  readonly version: string;
  readonly list: string;
  readonly findForChange: string;
  readonly insert: string;
  readonly update: string;
  readonly recordUse: string;
}

export function statementsFor({ table, version }: TableNames): Statements {
  return {
    find: `SELECT v.version::text AS version, CASE WHEN k.id IS NOT NULL THEN ${recordJson} END AS record
FROM ${version} v LEFT JOIN ${table} k ON k.digest = $1`,
    version: `SELECT version::text AS version FROM ${version}`,
    list: `SELECT ${recordJson} AS record, round(extract(epoch FROM k.last_used_at) * 1000)::text AS used FROM ${table} k`,
    findForChange: `SELECT ${recordJson} AS record FROM ${table} k WHERE k.id = $1 FOR UPDATE`,
    insert: `INSERT INTO ${table}
  (id, digest, owner, roles, permissions, tenant, not_before, expires_at, revoked, networks)
VALUES ($1, $2, $3, $4::text[], $5::text[], $6, to_timestamp($7::float8 / 1000), to_timestamp($8::float8 / 1000), $9, $10::text[])
ON CONFLICT DO NOTHING RETURNING id`,
    update: `UPDATE ${table} SET digest = $2, owner = $3, roles = $4::text[], permissions = $5::text[], tenant = $6,
  not_before = to_timestamp($7::float8 / 1000), expires_at = to_timestamp($8::float8 / 1000), revoked = $9, networks = $10::text[]
WHERE id = $1`,
    // Locked in one order: two instances that record the same keys do not wait for each other in a circle.
    recordUse: `UPDATE ${table} k SET last_used_at = greatest(k.last_used_at, u.used)
FROM (
  SELECT locked.id, to_timestamp(given.at / 1000) AS used
  FROM ${table} locked JOIN unnest($1::text[], $2::float8[]) AS given (id, at) ON given.id = locked.id
  ORDER BY locked.id FOR NO KEY UPDATE OF locked
) u
WHERE k.id = u.id`,
  };
}

/** For `insert` and `update`. */
export function valuesOf(record: ApiKeyRecord): unknown[] {
  const { id, digest, owner, roles, permissions, tenant, notBefore, expiresAt, revoked, networks } = record;
  return [
    id,
    digest,
    owner,
    roles ?? null,
    permissions ?? null,
    tenant ?? null,
    notBefore ?? null,
    expiresAt ?? null,
    revoked ?? false,
    networks ?? null,
  ];
}
