// What an operator does with the keys of a store: `palisade api-key` is made of this.
import { z } from "zod";
import { parseOptions } from "../../config/options.ts";
import { ConfigError } from "../../grpc/errors.ts";
import type { ApiKeyRecord } from "./api-key.ts";
import { checkedRecord } from "./api-key-record.ts";
import { issueApiKey } from "./memory-api-key-store.ts";

/** A record as it is in a store. */
export interface StoredApiKey {
  readonly record: ApiKeyRecord;
  /** Milliseconds since the epoch. Undefined where it was not used, or the store does not know. */
  readonly lastUsedAt?: number | undefined;
}

export interface RotateApiKeyOptions {
  /** For how long from now the old key stays good, in milliseconds, unless it ends before. */
  readonly overlapMs: number;
  /** Names the new key. Default: a random UUID. */
  readonly id?: string | undefined;
  /** When the new key ends, in milliseconds since the epoch. Default: never; to be given where the old key has an end. */
  readonly expiresAt?: number | undefined;
}

/** Of a key that took another's place. */
export interface RotatedApiKey {
  /** For its owner; it is not kept anywhere. */
  readonly key: string;
  readonly record: ApiKeyRecord;
  /** The old key's, with its end. */
  readonly previous: ApiKeyRecord;
}

/** Each of these is done whole or not at all. All throw `ConfigError` where the arguments are wrong; any other error is the store's. */
export interface ApiKeyAdministration {
  /** Adds a record, as `issueApiKey` makes it. `ConfigError` where its id or its digest is there already. */
  add(record: ApiKeyRecord): Promise<void>;
  /** All records, by owner and id. */
  list(): Promise<readonly StoredApiKey[]>;
  /** Refuses the key from now on. `ConfigError` where there is none of this id. Its record stays. */
  revoke(id: string): Promise<ApiKeyRecord>;
  /**
   * Issues a second key with the owner, the rights and the networks of the first, and sets the end of the first.
   * `ConfigError` where there is none of this id, and where it is revoked or has ended.
   */
  rotate(id: string, options: RotateApiKeyOptions): Promise<RotatedApiKey>;
}

/** The records of a store, to be changed. */
export interface ApiKeyTable {
  /** For errors: `redisApiKeyStore`. */
  readonly name: string;
  list(): Promise<readonly StoredApiKey[]>;
  /** `taken` where the id or the digest is there already. */
  insert(record: ApiKeyRecord): Promise<"inserted" | "taken">;
  /** Puts what `change` makes of the record in its place, and beside it a new one, in one step. */
  change(
    id: string,
    change: (record: ApiKeyRecord) => RecordChange,
  ): Promise<"changed" | "unknown" | "taken">;
}

export interface RecordChange {
  readonly record: ApiKeyRecord;
  readonly added?: ApiKeyRecord;
}

/** The shape of `rotate`'s options. */
const rotateSchema: z.ZodType<RotateApiKeyOptions> = z.strictObject({
  overlapMs: z.int("expected a number of milliseconds").min(0),
  id: z.string().min(1).optional(),
  expiresAt: z.int("expected milliseconds since the epoch").optional(),
});

export class TableAdministration implements ApiKeyAdministration {
  readonly #table: ApiKeyTable;

  constructor(table: ApiKeyTable) {
    this.#table = table;
  }

  async add(record: ApiKeyRecord): Promise<void> {
    const checked = checkedRecord(record, `${this.#table.name}.add`);
    if ((await this.#table.insert(checked)) === "taken") throw this.#taken("add", checked.id);
  }

  async list(): Promise<readonly StoredApiKey[]> {
    const stored = await this.#table.list();
    return [...stored].sort(
      (a, b) => compare(a.record.owner, b.record.owner) || compare(a.record.id, b.record.id),
    );
  }

  async revoke(id: string): Promise<ApiKeyRecord> {
    return this.#change("revoke", id, (record) => ({ record: { ...record, revoked: true } }));
  }

  async rotate(id: string, options: RotateApiKeyOptions): Promise<RotatedApiKey> {
    const where = `${this.#table.name}.rotate`;
    const { overlapMs, id: newId, expiresAt } = parseOptions(rotateSchema, options, where);
    let issued: ReturnType<typeof issueApiKey> | undefined;
    const previous = await this.#change("rotate", id, (record) => {
      const now = Date.now();
      checkRotatable(record, expiresAt, now, where);
      const { owner, roles, permissions, tenant, networks } = record;
      issued = issueApiKey({ owner, roles, permissions, tenant, networks, id: newId, expiresAt });
      const end = Math.min(record.expiresAt ?? Number.POSITIVE_INFINITY, now + overlapMs);
      return { record: { ...record, expiresAt: end }, added: issued.record };
    });
    if (issued === undefined) throw new Error(`${where}: no key was issued`);
    return { ...issued, previous };
  }

  async #change(
    what: "revoke" | "rotate",
    id: string,
    change: (record: ApiKeyRecord) => RecordChange,
  ): Promise<ApiKeyRecord> {
    let changed: RecordChange | undefined;
    const result = await this.#table.change(id, (record) => {
      changed = change(record);
      return changed;
    });
    if (result === "taken") throw this.#taken(what, changed?.added?.id ?? id);
    if (result === "unknown" || changed === undefined)
      throw new ConfigError(
        `${this.#table.name}.${what}: no API key has the id ${JSON.stringify(id)}; look for it with list`,
      );
    return changed.record;
  }

  #taken(what: string, id: string): ConfigError {
    return new ConfigError(
      `${this.#table.name}.${what}: an API key with the id ${JSON.stringify(id)}, or with the same digest, is there ` +
        "already; give another id",
    );
  }
}

function checkRotatable(
  record: ApiKeyRecord,
  expiresAt: number | undefined,
  now: number,
  where: string,
): void {
  const id = JSON.stringify(record.id);
  if (record.revoked === true)
    throw new ConfigError(`${where}: the API key ${id} is revoked; issue another one instead`);
  if (record.expiresAt === undefined) return;
  if (record.expiresAt <= now)
    throw new ConfigError(`${where}: the API key ${id} has expired; issue another one instead`);
  if (expiresAt === undefined)
    throw new ConfigError(
      `${where}.expiresAt: the API key ${id} ends at ${new Date(record.expiresAt).toISOString()}; say when the new one ends: expiresAt, or --days with palisade api-key rotate`,
    );
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
