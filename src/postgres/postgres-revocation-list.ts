// Revoked tokens and subjects of all instances in one PostgreSQL.
import { z } from "zod";
import { parseOptions } from "../config/options.ts";
import type {
  RevocationPage,
  RevocationSource,
} from "../middleware/authentication/revocation/revocation-mirror.ts";
import { beyondEndMs, type Revocation } from "../middleware/authentication/revocation/revocations.ts";
import {
  checkPoll,
  type SharedRevocationList,
  type SharedRevocationListOptions,
  type SharedRevocationListSettings,
  SharedRevocations,
  sharedRevocationListShape,
} from "../middleware/authentication/revocation/shared-revocation-list.ts";
import {
  checkPoolSize,
  listenOn,
  type PostgresPool,
  PostgresRequests,
  postgresPool,
} from "./postgres-pool.ts";
import {
  createStatements,
  defaultTable,
  namesOf,
  type RevocationStatements,
  type RevocationTableNames,
  statementsFor,
} from "./revocation-table.ts";
import { tableName } from "./table-name.ts";

export interface PostgresRevocationListOptions extends SharedRevocationListOptions {
  /**
   * A `Pool` of the package pg: `new Pool({ connectionString, max: 4 })`. It stays yours: end it after the server has shut down.
   * Of its connections the list keeps one, which listens for changes.
   */
  readonly pool: PostgresPool;
  /** The table, made by `createTable`. One for each issuer. Default: `palisade_revocations`. */
  readonly table?: string | undefined;
  /**
   * Keep a connection that listens for changes (LISTEN)? Behind PgBouncer in transaction mode it hears nothing and is in the way:
   * `false` there. Changes are then seen with the next poll. Default: true.
   */
  readonly listen?: boolean | undefined;
}

interface PostgresRevocationListSettings extends SharedRevocationListSettings {
  readonly pool: PostgresPool;
  readonly table: string;
  readonly listen: boolean;
}

/** The shape of `postgresRevocationList`'s options. */
export const postgresRevocationListSchema: z.ZodType<PostgresRevocationListSettings> = z
  .strictObject({
    pool: postgresPool,
    table: tableName(defaultTable),
    listen: z.boolean().default(true),
    ...sharedRevocationListShape,
  })
  .superRefine(checkPoolSize)
  .superRefine(checkPoll);

/** A `RevocationList` in PostgreSQL. `close` leaves the pool open. */
export interface PostgresRevocationList extends SharedRevocationList {
  /** Makes the table, its state and its triggers where they are not there. Nothing else ever makes them. */
  createTable(): Promise<void>;
}

/**
 * A list of revoked tokens in PostgreSQL 13 or newer, for one issuer and all instances of a service. What one instance or SQL
 * revokes, every instance refuses within a second, and open calls end. Each has the whole list in memory, so a call does not
 * wait for PostgreSQL.
 *
 * While PostgreSQL cannot be read the last known list serves for `maxStaleSec`; then callers are told UNAVAILABLE, which never
 * counts against them. Revoking rejects while PostgreSQL is away.
 *
 * Throws `ConfigError` for options that are wrong.
 *
 * @example
 * const pool = new Pool({ connectionString: "postgres://orders@db.internal/orders", max: 4 });
 * const revocations = postgresRevocationList({ pool });
 * jwt({ issuer: "https://id.example", audience: "orders", revocations });
 * await revocations.revokeSubject("ada");
 */
export function postgresRevocationList(options: PostgresRevocationListOptions): PostgresRevocationList {
  const settings = parseOptions(postgresRevocationListSchema, options, "postgresRevocationList");
  return new List(new PostgresRevocations(settings), settings);
}

class List extends SharedRevocations implements PostgresRevocationList {
  readonly #revocations: PostgresRevocations;

  constructor(revocations: PostgresRevocations, settings: SharedRevocationListSettings) {
    super(revocations, settings);
    this.#revocations = revocations;
  }

  createTable(): Promise<void> {
    return this.#revocations.createTable();
  }
}

class PostgresRevocations implements RevocationSource {
  readonly name = "postgresRevocationList";
  readonly #pool: PostgresPool;
  readonly #requests: PostgresRequests;
  readonly #maxEntries: number;
  readonly #names: RevocationTableNames;
  readonly #sql: RevocationStatements;
  readonly #listen: boolean;

  constructor({ pool, table, timeoutMs, listen, maxEntries }: PostgresRevocationListSettings) {
    this.#pool = pool;
    this.#requests = new PostgresRequests(pool, timeoutMs);
    this.#maxEntries = maxEntries;
    this.#names = namesOf(table);
    this.#sql = statementsFor(this.#names);
    this.#listen = listen;
  }

  createTable(): Promise<void> {
    return this.#requests.transaction(async (query) => {
      for (const statement of createStatements(this.#names)) await query(statement);
    });
  }

  async read(afterRevision: number, limit: number): Promise<RevocationPage> {
    const values = [afterRevision, limit];
    const [row] = await this.#requests.transaction((query) => query(this.#sql.read, values));
    const generation = textIn(row, "generation");
    const entries: unknown = JSON.parse(textIn(row, "entries"));
    if (!Array.isArray(entries)) throw notAList();
    return { generation, revision: Number(textIn(row, "revision")), entries: entries.map(entryFrom) };
  }

  async add(revocations: readonly Revocation[]): Promise<"stored" | "full"> {
    const columns = [
      revocations.map(({ kind }) => kind),
      revocations.map(({ name }) => name),
      revocations.map(({ before }) => before),
      revocations.map(({ ends }) => ends),
    ];
    try {
      await this.#requests.transaction(async (query) => {
        const entries = async (): Promise<number> =>
          Number(textIn((await query(this.#sql.lockState))[0], "entries"));
        await query(this.#sql.lockTable);
        const before = await entries();
        await query(this.#sql.removeEnded, [beyondEndMs]);
        await query(this.#sql.add, columns);
        const after = await entries();
        // More than there may be is no reason to refuse what extends an entry.
        if (after > this.#maxEntries && after > before) throw new Full();
      });
      return "stored";
    } catch (error) {
      // It was thrown so that nothing is added.
      if (error instanceof Full) return "full";
      throw error;
    }
  }

  watch(changed: () => void): () => void {
    return this.#listen ? listenOn(this.#pool, this.#names.channel, changed) : () => {};
  }
}

class Full extends Error {}

function entryFrom(entry: unknown): RevocationPage["entries"][number] {
  const [revision, kind, name, before, ends] = Array.isArray(entry) ? entry : [];
  if ((kind !== "token" && kind !== "subject") || typeof name !== "string") throw notAList();
  return {
    revision: wholeNumber(revision),
    revocation: { kind, name, before: wholeNumber(before), ends: wholeNumber(ends) },
  };
}

function wholeNumber(value: unknown): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) throw notAList();
  return value;
}

function textIn(row: unknown, column: string): string {
  const value: unknown = typeof row === "object" && row !== null ? Reflect.get(row, column) : undefined;
  if (typeof value !== "string") throw notAList();
  return value;
}

function notAList(): TypeError {
  return new TypeError(
    "PostgreSQL holds something other than revocations in the table, or its state has no row",
  );
}
