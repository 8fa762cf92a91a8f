// API keys of programs, kept in memory; with PostgreSQL `postgresApiKeyStore` takes its place.
import type { ApiKeyRecord, ApiKeyStore } from "grpc-palisade";

/** What the identity service does with keys, wherever they are. */
export interface ApiKeys extends ApiKeyStore {
  add(record: ApiKeyRecord): Promise<void>;
  /** Rejects where there is none of this id. */
  revoke(id: string): Promise<unknown>;
}

export function memoryApiKeys(): ApiKeys {
  const records = new Map<string, ApiKeyRecord>();
  const listeners = new Set<() => void>();
  return {
    find: (digest) => records.get(digest),
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async add(record) {
      records.set(record.digest, record);
    },
    async revoke(id) {
      const record = [...records.values()].find((each) => each.id === id);
      if (record === undefined) throw new Error("no API key has this id");
      records.set(record.digest, { ...record, revoked: true });
      for (const listener of listeners) listener();
    },
  };
}
