// An API key store over records that several processes share: what is the same wherever these are kept.
import type { ApiKeyRecord, ApiKeyStore } from "./api-key.ts";
import {
  type ApiKeyAdministration,
  type ApiKeyTable,
  type RotateApiKeyOptions,
  type RotatedApiKey,
  type StoredApiKey,
  TableAdministration,
} from "./api-key-administration.ts";
import type { ApiKeyUse } from "./api-key-uses.ts";
import { type ApiKeySource, CachedApiKeys } from "./cached-api-keys.ts";

/** An `ApiKeyStore` that instances of a service share, and what an operator does with its keys. */
export interface SharedApiKeyStore extends ApiKeyStore, ApiKeyAdministration {
  onChange(listener: () => void): () => void;
  recordUse(uses: readonly ApiKeyUse[]): Promise<void>;
  /** Stops listening for changes; a later `find` or `onChange` starts again. */
  close(): Promise<void>;
}

/** The records where they are. */
export interface SharedKeyTable extends ApiKeySource, ApiKeyTable {
  recordUse(uses: readonly ApiKeyUse[]): Promise<void>;
}

export class SharedApiKeys implements SharedApiKeyStore {
  readonly #table: SharedKeyTable;
  readonly #cached: CachedApiKeys;
  readonly #administration: ApiKeyAdministration;

  constructor(table: SharedKeyTable) {
    this.#table = table;
    this.#cached = new CachedApiKeys(table);
    this.#administration = new TableAdministration(table);
  }

  find(digest: string): ApiKeyRecord | undefined | Promise<ApiKeyRecord | undefined> {
    return this.#cached.find(digest);
  }

  onChange(listener: () => void): () => void {
    return this.#cached.onChange(listener);
  }

  recordUse(uses: readonly ApiKeyUse[]): Promise<void> {
    return this.#table.recordUse(uses);
  }

  close(): Promise<void> {
    return this.#cached.close();
  }

  add(record: ApiKeyRecord): Promise<void> {
    return this.#administration.add(record);
  }

  list(): Promise<readonly StoredApiKey[]> {
    return this.#administration.list();
  }

  revoke(id: string): Promise<ApiKeyRecord> {
    return this.#administration.revoke(id);
  }

  rotate(id: string, options: RotateApiKeyOptions): Promise<RotatedApiKey> {
    return this.#administration.rotate(id, options);
  }
}
