// The table of revocations: how it is made, and the statements on it. Values are always parameters.
import { tableNameOf } from "./table-name.ts";

export const defaultTable = "palisade_revocations";

/** Names of the table and of what belongs to it, quoted. */
export interface RevocationTableNames {
  readonly table: string;
  readonly state: string;
  readonly revisionIndex: string;
  readonly endsIndex: string;
  readonly number: string;
  readonly count: string;
  /** Triggers, without their schema. */
  readonly triggers: { readonly number: string; readonly count: string; readonly empty: string };
  /** Not quoted. */
  readonly channel: string;
}

export function namesOf(name: string): RevocationTableNames {
  const { table, qualified } = tableNameOf(name, "postgresRevocationList.table", defaultTable);
  return {
    table: qualified(table),
    state: qualified(`${table}_state`),
    revisionIndex: `"${table}_revision"`,
    endsIndex: `"${table}_ends_at"`,
    number: qualified(`${table}_number`),
    count: qualified(`${table}_count`),
    triggers: { number: `"${table}_number"`, count: `"${table}_count"`, empty: `"${table}_empty"` },
    channel: `${table}_changed`,
  };
}

/**
 * Statements that make the table; made again they change nothing. A trigger numbers the rows, those that are added by hand too.
 * It takes the number from one row, whose lock is held until the transaction ends: whoever has read a number misses none
 * below it. A digest is the key, because an index holds no long texts.
 */
export function createStatements(names: RevocationTableNames): readonly string[] {
  const { table, state, revisionIndex, endsIndex, number, count, triggers } = names;
  return [
    `CREATE TABLE IF NOT EXISTS ${table} (
  kind          text NOT NULL CHECK (kind IN ('token', 'subject')),
  name          text NOT NULL CHECK (name <> ''),
  issued_before timestamptz CHECK (issued_before BETWEEN 'epoch' AND '275760-09-13 00:00+00'),
  ends_at       timestamptz NOT NULL CHECK (ends_at BETWEEN 'epoch' AND '275760-09-13 00:00+00'),
  digest        bytea PRIMARY KEY,
  revision      bigint NOT NULL,
  CHECK ((kind = 'subject') = (issued_before IS NOT NULL))
)`,
    `CREATE UNIQUE INDEX IF NOT EXISTS ${revisionIndex} ON ${table} (revision)`,
    `CREATE INDEX IF NOT EXISTS ${endsIndex} ON ${table} (ends_at)`,
    `CREATE TABLE IF NOT EXISTS ${state} (
  single     boolean PRIMARY KEY DEFAULT true CHECK (single),
  generation uuid NOT NULL,
  revision   bigint NOT NULL,
  entries    bigint NOT NULL
)`,
    `INSERT INTO ${state} (generation, revision, entries) VALUES (gen_random_uuid(), 0, 0) ON CONFLICT DO NOTHING`,
    `CREATE OR REPLACE FUNCTION ${number}() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
  EXECUTE format('UPDATE %I.%I SET revision = revision + 1 RETURNING revision', TG_TABLE_SCHEMA, TG_TABLE_NAME || '_state')
    INTO STRICT NEW.revision;
  NEW.digest := sha256(convert_to(NEW.kind || ':' || NEW.name, 'UTF8'));
  PERFORM pg_notify(TG_TABLE_NAME || '_changed', '');
  RETURN NEW;
END
$function$`,
    `CREATE OR REPLACE FUNCTION ${count}() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
  IF TG_OP = 'INSERT' THEN
    EXECUTE format('UPDATE %I.%I SET entries = entries + 1', TG_TABLE_SCHEMA, TG_TABLE_NAME || '_state');
  ELSIF TG_OP = 'DELETE' THEN
    EXECUTE format('UPDATE %I.%I SET entries = entries - 1', TG_TABLE_SCHEMA, TG_TABLE_NAME || '_state');
  ELSE
    EXECUTE format('UPDATE %I.%I SET entries = 0, generation = gen_random_uuid()', TG_TABLE_SCHEMA, TG_TABLE_NAME || '_state');
  END IF;
  RETURN NULL;
END
$function$`,
    `DROP TRIGGER IF EXISTS ${triggers.number} ON ${table}`,
    `CREATE TRIGGER ${triggers.number}
  BEFORE INSERT OR UPDATE ON ${table} FOR EACH ROW EXECUTE FUNCTION ${number}()`,
    `DROP TRIGGER IF EXISTS ${triggers.count} ON ${table}`,
    `CREATE TRIGGER ${triggers.count}
  AFTER INSERT OR DELETE ON ${table} FOR EACH ROW EXECUTE FUNCTION ${count}()`,
    `DROP TRIGGER IF EXISTS ${triggers.empty} ON ${table}`,
    `CREATE TRIGGER ${triggers.empty}
  AFTER TRUNCATE ON ${table} FOR EACH STATEMENT EXECUTE FUNCTION ${count}()`,
  ];
}

export interface RevocationStatements {
  readonly read: string;
  readonly lockTable: string;
  readonly lockState: string;
  readonly add: string;
  readonly removeEnded: string;
}

const msOf = (column: string): string => `coalesce(round(extract(epoch FROM ${column}) * 1000), 0)::bigint`;

export function statementsFor({ table, state }: RevocationTableNames): RevocationStatements {
  return {
    // One statement sees one moment. As text no type parser of the pool changes it. Another server, or the same one started
    // again from a backup, has another start time.
    read: `SELECT s.generation::text || ' ' || extract(epoch FROM pg_postmaster_start_time())::text AS generation,
  s.revision::text AS revision,
  (SELECT coalesce(json_agg(json_build_array(p.revision, p.kind, p.name, ${msOf("p.issued_before")}, ${msOf("p.ends_at")})
    ORDER BY p.revision), '[]')::text
   FROM (SELECT * FROM ${table} WHERE revision > $1::bigint ORDER BY revision LIMIT $2::int) p) AS entries
FROM ${state} s`,
    // Before the state, as every other statement on the table locks them: else it and a TRUNCATE wait for each other.
    lockTable: `LOCK TABLE ${table} IN ROW EXCLUSIVE MODE`,
    // One writer at a time: the count holds until the transaction ends.
    lockState: `SELECT entries::text AS entries FROM ${state} FOR UPDATE`,
    add: `INSERT INTO ${table} AS known (kind, name, issued_before, ends_at)
SELECT kind, name, CASE WHEN kind = 'subject' THEN to_timestamp(before / 1000) END, to_timestamp(ends / 1000)
FROM unnest($1::text[], $2::text[], $3::float8[], $4::float8[]) AS given (kind, name, before, ends)
ON CONFLICT (digest) DO UPDATE
  SET issued_before = greatest(known.issued_before, excluded.issued_before), ends_at = greatest(known.ends_at, excluded.ends_at)
  WHERE excluded.issued_before > known.issued_before OR excluded.ends_at > known.ends_at`,
    removeEnded: `DELETE FROM ${table} WHERE digest IN
  (SELECT digest FROM ${table} WHERE ends_at < now() - $1::float8 * interval '1 millisecond' ORDER BY ends_at LIMIT 500)`,
  };
}
