// API keys of all instances in one PostgreSQL: digests and what they grant, never a key.
import { z } from "zod";
import { milliseconds, parseOptions } from "../config/options.ts";
import type { ApiKeyRecord } from "../middleware/authentication/api-key.ts";
import type { RecordChange, StoredApiKey } from "../middleware/authentication/api-key-administration.ts";
import { recordFromJson } from "../middleware/authentication/api-key-record.ts";
import type { ApiKeyUse } from "../middleware/authentication/api-key-uses.ts";
import {
  type SharedApiKeyStore,
  SharedApiKeys,
  type SharedKeyTable,
} from "../middleware/authentication/shared-api-keys.ts";
import {
  createStatements,
  defaultTable,
  namesOf,
  type Statements,
  statementsFor,
  type TableNames,
  valuesOf,
} from "./api-key-table.ts";
import {
  checkPoolSize,
  listenOn,
  type PostgresPool,
  PostgresRequests,
  postgresPool,
  type Query,
} from "./postgres-pool.ts";
import { tableName } from "./table-name.ts";

export interface PostgresApiKeyStoreOptions {
  /**
   * A `Pool` of the package pg, best one of its own: `new Pool({ connectionString, max: 4 })`. It stays yours: end it after the
   * server has shut down. Of its connections the store keeps one, which listens for changes.
   */
  readonly pool: PostgresPool;
  /** The table, made by `createTable` or `palisade api-key setup`. Default: `palisade_api_keys`. */
  readonly table?: string | undefined;
  /**
   * How long PostgreSQL may take for one answer, in milliseconds; then the caller is told UNAVAILABLE. Must be shorter than
   * `deadline.checkTimeoutMs`. Default: 1,000.
   */
  readonly timeoutMs?: number | undefined;
  /**
   * Keep a connection that listens for changes (LISTEN)? Behind PgBouncer in transaction mode it hears nothing and is in the way:
   * `false` there. Changes are then seen when the store next asks, within half a second. Default: true.
   */
  readonly listen?: boolean | undefined;
}

interface PostgresApiKeyStoreSettings {
  readonly pool: PostgresPool;
  readonly table: string;
  readonly timeoutMs: number;
  readonly listen: boolean;
}

/** The shape of `postgresApiKeyStore`'s options. */
export const postgresApiKeyStoreSchema: z.ZodType<PostgresApiKeyStoreSettings, PostgresApiKeyStoreOptions> = z
  .strictObject({
    pool: postgresPool,
    table: tableName(defaultTable),
    timeoutMs: milliseconds.default(1_000),
    listen: z.boolean().default(true),
  })
  .superRefine(checkPoolSize);

/** An `ApiKeyStore` in PostgreSQL, and what an operator does with its keys. `close` leaves the pool open. */
export interface PostgresApiKeyStore extends SharedApiKeyStore {
  /** Makes the table, its version and its trigger where they are not there. Nothing else ever makes them. */
  createTable(): Promise<void>;
}

/**
 * Keeps API keys in PostgreSQL 13 or newer, for all instances of a service. A change by `add`, `revoke`, `rotate`,
 * `palisade api-key` or SQL is seen by every instance within a second: the table's trigger notifies them, and each asks
 * beside that.
 *
 * Records are answered from memory for as long as PostgreSQL confirms that nothing changed. A second after it last did, and for
 * keys that were not used before, PostgreSQL is asked. While it does not answer within `timeoutMs`, is away or has no table,
 * callers are told UNAVAILABLE, which never counts against them.
 *
 * Throws `ConfigError` for options that are wrong.
 *
 * @example
 * const pool = new Pool({ connectionString: "postgres://orders@db.internal/orders", max: 4 });
 * apiKey({ store: postgresApiKeyStore({ pool }) })
 */
export function postgresApiKeyStore(options: PostgresApiKeyStoreOptions): PostgresApiKeyStore {
  return new Store(
    new PostgresApiKeys(parseOptions(postgresApiKeyStoreSchema, options, "postgresApiKeyStore")),
  );
}

class Store extends SharedApiKeys implements PostgresApiKeyStore {
  readonly #keys: PostgresApiKeys;

  constructor(keys: PostgresApiKeys) {
    super(keys);
    this.#keys = keys;
  }

  createTable(): Promise<void> {
    return this.#keys.createTable();
  }
}

class PostgresApiKeys implements SharedKeyTable {
  readonly name = "postgresApiKeyStore";
  readonly #pool: PostgresPool;
  readonly #requests: PostgresRequests;
  readonly #names: TableNames;
  readonly #sql: Statements;
  readonly #listen: boolean;

  constructor({ pool, table, timeoutMs, listen }: PostgresApiKeyStoreSettings) {
    this.#pool = pool;
    this.#requests = new PostgresRequests(pool, timeoutMs);
    this.#names = namesOf(table);
    this.#sql = statementsFor(this.#names);
    this.#listen = listen;
  }

  createTable(): Promise<void> {
    return this.#requests.transaction(async (query) => {
      for (const statement of createStatements(this.#names)) await query(statement);
    });
  }

  async find(digest: string): Promise<{ record: string | undefined; version: string }> {
    const [row] = await this.#requests.transaction((query) => query(this.#sql.find, [digest]));
    return { record: textIn(row, "record"), version: this.#versionIn(row) };
  }

  async version(): Promise<string> {
    const [row] = await this.#requests.transactionAhead((query) => query(this.#sql.version));
    return this.#versionIn(row);
  }

  watch(changed: () => void): () => void {
    return this.#listen ? listenOn(this.#pool, this.#names.channel, changed) : () => {};
  }

  async list(): Promise<readonly StoredApiKey[]> {
    const rows = await this.#requests.transaction((query) => query(this.#sql.list));
    return rows.map((row) => {
      const record = this.#recordIn(row);
      const used = textIn(row, "used");
      return used === undefined ? { record } : { record, lastUsedAt: Number(used) };
    });
  }

  insert(record: ApiKeyRecord): Promise<"inserted" | "taken"> {
    return this.#requests.transaction((query) => this.#insert(query, record));
  }

  async change(
    id: string,
    change: (record: ApiKeyRecord) => RecordChange,
  ): Promise<"changed" | "unknown" | "taken"> {
    try {
      return await this.#requests.transaction(async (query) => {
        const [row] = await query(this.#sql.findForChange, [id]);
        if (row === undefined) return "unknown";
        const { record, added } = change(this.#recordIn(row));
        await query(this.#sql.update, valuesOf(record));
        if (added !== undefined && (await this.#insert(query, added)) === "taken") throw new Taken();
        return "changed";
      });
    } catch (error) {
      // It was thrown so that the update is undone.
      if (error instanceof Taken) return "taken";
      throw error;
    }
  }

  async recordUse(uses: readonly ApiKeyUse[]): Promise<void> {
    const columns = [uses.map(({ id }) => id), uses.map(({ at }) => at)];
    await this.#requests.transaction((query) => query(this.#sql.recordUse, columns));
  }

  async #insert(query: Query, record: ApiKeyRecord): Promise<"inserted" | "taken"> {
    const inserted = await query(this.#sql.insert, valuesOf(record));
    return inserted.length === 1 ? "inserted" : "taken";
  }

  #recordIn(row: unknown): ApiKeyRecord {
    return recordFromJson(textIn(row, "record") ?? "", this.name);
  }

  #versionIn(row: unknown): string {
    const version = textIn(row, "version");
    if (version === undefined)
      throw new Error(`${this.name}: ${this.#names.version} has no row; run palisade api-key setup`);
    return version;
  }
}

class Taken extends Error {}

function textIn(row: unknown, column: string): string | undefined {
  const value: unknown = typeof row === "object" && row !== null ? Reflect.get(row, column) : undefined;
  if (value === null || value === undefined) return undefined;
  if (typeof value !== "string") throw new TypeError("PostgreSQL returned something other than text");
  return value;
}
