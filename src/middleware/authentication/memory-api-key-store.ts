// API keys kept in memory, and the making of new ones.
import { randomBytes, randomUUID } from "node:crypto";
import { parseOptions } from "../../config/options.ts";
import { type ApiKeyRecord, type ApiKeyStore, digestOf } from "./api-key.ts";
import { byDigest, frozenRecord, issueSchema, recordsSchema } from "./api-key-record.ts";

/**
 * Keeps the records in memory; answers without a promise. The records are copied: to revoke a key, make the server anew,
 * or use a store that can change, such as `fileApiKeyStore`.
 *
 * Throws `ConfigError` for a record that is wrong, and for an id or digest that stands twice.
 */
export function memoryApiKeyStore(records: readonly ApiKeyRecord[]): ApiKeyStore {
  const known = byDigest(parseOptions(recordsSchema, records, "memoryApiKeyStore"));
  return { find: (digest) => known.get(digest) };
}

export interface IssueApiKeyOptions {
  /** Whom the key speaks for: the principal's subject. */
  readonly owner: string;
  /** Names the key in logs. Default: a random UUID. */
  readonly id?: string | undefined;
  /** The principal's roles. Default: none. */
  readonly roles?: readonly string[] | undefined;
  /** The principal's permissions: `resource:action`, `resource:*` or `*`; anything else is an error. Default: none. */
  readonly permissions?: readonly string[] | undefined;
  /** The principal's tenant. Default: none. */
  readonly tenant?: string | undefined;
  /** When the key ends, in milliseconds since the epoch. Default: never. */
  readonly expiresAt?: number | undefined;
  /** When the key begins to be good, in milliseconds since the epoch. Default: at once. */
  readonly notBefore?: number | undefined;
  /** From where the key may be used: see `ApiKeyRecord.networks`. Default: from everywhere. */
  readonly networks?: readonly string[] | undefined;
}

/**
 * Makes an API key of 256 random bits. `key` is for its owner and is not kept anywhere; `record` is for the store. Keys
 * begin with `plsd_`, so that scanners for leaked secrets can find them.
 *
 * Throws `ConfigError` for options that are wrong.
 *
 * @example
 * const { key, record } = issueApiKey({ owner: "billing", permissions: ["order:read"] });
 */
export function issueApiKey(options: IssueApiKeyOptions): {
  readonly key: string;
  readonly record: ApiKeyRecord;
} {
  const { id = randomUUID(), ...given } = parseOptions(issueSchema, options, "issueApiKey");
  const key = `plsd_${randomBytes(32).toString("base64url")}`;
  return Object.freeze({ key, record: frozenRecord({ id, digest: digestOf(key), ...given }) });
}
