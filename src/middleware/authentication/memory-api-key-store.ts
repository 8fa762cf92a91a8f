// API keys kept in memory, and the making of new ones.
import { randomBytes, randomUUID } from "node:crypto";
import { z } from "zod";
import { parseOptions } from "../../call/options.ts";
import { type ApiKeyRecord, type ApiKeyStore, digestOf } from "./api-key.ts";

const text = z.string().min(1, "expected text that is not empty");
const epochMs = z.int("expected milliseconds since the epoch");

const grants = {
  owner: text,
  roles: z.array(text).optional(),
  permissions: z.array(text).optional(),
  tenant: text.optional(),
  expiresAt: epochMs.optional(),
  notBefore: epochMs.optional(),
};

const recordSchema = z.strictObject({
  id: text,
  digest: z
    .string()
    .regex(/^[0-9a-f]{64}$/, "expected the SHA-256 of the key: 64 hexadecimal digits in lower case"),
  ...grants,
  revoked: z.boolean().optional(),
});

const recordsSchema = z.array(recordSchema).superRefine((records, context) => {
  reportRepeated("id", records, context);
  reportRepeated("digest", records, context);
});

function reportRepeated(
  field: "id" | "digest",
  records: readonly z.output<typeof recordSchema>[],
  context: z.core.$RefinementCtx,
): void {
  const seen = new Map<string, number>();
  for (const [index, record] of records.entries()) {
    const first = seen.get(record[field]);
    if (first === undefined) seen.set(record[field], index);
    else
      context.addIssue({
        code: "custom",
        path: [index, field],
        message: `the same ${field} as record ${first}`,
        input: records,
      });
  }
}

/**
 * Keeps the records in memory; answers without a promise. The records are copied: to revoke a key, make the server anew,
 * or use a store that can change.
 *
 * Throws `ConfigError` for a record that is wrong, and for an id or digest that stands twice.
 */
export function memoryApiKeyStore(records: readonly ApiKeyRecord[]): ApiKeyStore {
  const byDigest = new Map<string, ApiKeyRecord>();
  for (const record of parseOptions(recordsSchema, records, "memoryApiKeyStore")) {
    byDigest.set(record.digest, frozen(record));
  }
  return { find: (digest) => byDigest.get(digest) };
}

export interface IssueApiKeyOptions {
  /** Whom the key speaks for: the principal's subject. */
  readonly owner: string;
  /** Names the key in logs. Default: a random UUID. */
  readonly id?: string;
  readonly roles?: readonly string[];
  readonly permissions?: readonly string[];
  readonly tenant?: string;
  /** Milliseconds since the epoch. Default: the key does not expire. */
  readonly expiresAt?: number;
  /** Milliseconds since the epoch. Default: good at once. */
  readonly notBefore?: number;
}

const issueSchema = z.strictObject({ id: text.optional(), ...grants });

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
  return Object.freeze({ key, record: frozen({ id, digest: digestOf(key), ...given }) });
}

/** Frozen through and through, without the keys that zod leaves undefined. */
function frozen(record: z.output<typeof recordSchema>): ApiKeyRecord {
  const { id, digest, owner, roles, permissions, tenant, expiresAt, notBefore, revoked } = record;
  return Object.freeze({
    id,
    digest,
    owner,
    ...(roles === undefined ? {} : { roles: Object.freeze(roles) }),
    ...(permissions === undefined ? {} : { permissions: Object.freeze(permissions) }),
    ...(tenant === undefined ? {} : { tenant }),
    ...(expiresAt === undefined ? {} : { expiresAt }),
    ...(notBefore === undefined ? {} : { notBefore }),
    ...(revoked === undefined ? {} : { revoked }),
  });
}
