// What a record of an API key must be, wherever it is kept.
import { z } from "zod";
import { grantForms, isGrantablePermission } from "../../chain/permission.ts";
import { addressProblem } from "../../config/address-set.ts";
import { parseOptions } from "../../config/options.ts";
import { ConfigError } from "../../grpc/errors.ts";
import { type ApiKeyRecord, digestOf } from "./api-key.ts";

const text = z.string().min(1, "expected a string that is not empty");
const epochMs = z.int("expected milliseconds since the epoch");

const grants = {
  owner: text,
  roles: z.array(text).optional(),
  permissions: z.array(text).optional(),
  tenant: text.optional(),
  expiresAt: epochMs.optional(),
  notBefore: epochMs.optional(),
  networks: z
    .array(
      z.string().superRefine((entry, context) => {
        const problem = addressProblem(entry);
        if (problem !== undefined) context.addIssue({ code: "custom", message: problem, input: entry });
      }),
    )
    .min(1, "expected at least one address or network; leave it out where the key is good from everywhere")
    .optional(),
};

type Optional<T> = { readonly [Key in keyof T]?: T[Key] | undefined };

/** A record as zod gives it: a key that is not there may be undefined. */
export type ParsedRecord = Pick<ApiKeyRecord, "id" | "digest" | "owner"> &
  Optional<Omit<ApiKeyRecord, "id" | "digest" | "owner">>;

const malformedPermission = `malformed permission, which matches no rule; write ${grantForms}`;

/** What a record grants, and until when. */
export const issueSchema: z.ZodType<
  Omit<ParsedRecord, "id" | "digest"> & { readonly id?: string | undefined }
> = z.strictObject({
  id: text.optional(),
  ...grants,
  permissions: z.array(z.string().refine(isGrantablePermission, malformedPermission)).optional(),
});

/**
 * The permissions that no rule of `rbac` can ever ask for, by their places. Where keys are issued they are refused; in
 * records that are in use already they are only told: they grant nothing, and the other grants of the key stay good.
 */
export function malformedPermissionsIn(records: RecordsByDigest): readonly string[] {
  return [...records.values()].flatMap(({ permissions = [] }, index) =>
    permissions.flatMap((permission, position) =>
      isGrantablePermission(permission) ? [] : [`${index}.permissions.${position}: ${malformedPermission}`],
    ),
  );
}

const recordSchema = z
  .strictObject({
    id: text,
    digest: z
      .string()
      .regex(/^[0-9a-f]{64}$/, "expected the SHA-256 of the key: 64 hexadecimal digits in lower case"),
    ...grants,
    revoked: z.boolean().optional(),
  })
  .superRefine((record, context) => {
    for (const [field, value] of Object.entries(record)) {
      const texts = Array.isArray(value) ? value : [value];
      if (!texts.some((each) => typeof each === "string" && isKeyOf(record.digest, each))) continue;
      context.addIssue({
        code: "custom",
        path: [field],
        message:
          "contains an API key; a record has only its digest. Issue another key: this one was stored in clear",
        input: record,
      });
    }
  });

/** As `issueApiKey` makes them, or by the only proof there is of any other: its digest. */
function isKeyOf(digest: string, value: string): boolean {
  return looksLikeApiKey(value) || digestOf(value) === digest;
}

function isIssued(value: unknown): boolean {
  return typeof value === "object" && value !== null && "key" in value && "record" in value;
}

export function looksLikeApiKey(value: string): boolean {
  return /plsd_[\w-]{20}/.test(value);
}

/** No id and no digest stands twice. */
export const recordsSchema: z.ZodType<readonly ParsedRecord[]> = z
  .array(
    z
      .custom<unknown>(
        (value) => !isIssued(value),
        "has both key and record, as issueApiKey returns them; give .record",
      )
      .pipe(recordSchema),
    "expected a list of API key records",
  )
  .superRefine((records, context) => {
    reportRepeated("id", records, context);
    reportRepeated("digest", records, context);
  });

function reportRepeated(
  field: "id" | "digest",
  records: readonly ParsedRecord[],
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

/** Frozen through and through, without the keys that zod leaves undefined. */
export function frozenRecord(record: ParsedRecord): ApiKeyRecord {
  const { id, digest, owner, roles, permissions, tenant, expiresAt, notBefore, revoked, networks } = record;
  return Object.freeze({
    id,
    digest,
    owner,
    ...(roles === undefined ? {} : { roles: Object.freeze([...roles]) }),
    ...(permissions === undefined ? {} : { permissions: Object.freeze([...permissions]) }),
    ...(tenant === undefined ? {} : { tenant }),
    ...(expiresAt === undefined ? {} : { expiresAt }),
    ...(notBefore === undefined ? {} : { notBefore }),
    ...(revoked === undefined ? {} : { revoked }),
    ...(networks === undefined ? {} : { networks: Object.freeze([...networks]) }),
  });
}

/** Records by the digest of their key. */
export type RecordsByDigest = ReadonlyMap<string, ApiKeyRecord>;

export function byDigest(records: readonly ParsedRecord[]): RecordsByDigest {
  return new Map(records.map((record) => [record.digest, frozenRecord(record)]));
}

/** A record is a few hundred characters; a longer text in a store is not parsed. */
const maxRecordLength = 65_536;

/**
 * A record that a store keeps as JSON. Nothing of the text is ever shown: it may hold a key.
 * @throws {ConfigError} where it is no record.
 */
export function recordFromJson(text: string, where: string): ApiKeyRecord {
  if (text.length > maxRecordLength)
    throw new ConfigError(`${where}: a record is longer than ${maxRecordLength} characters`);
  return frozenRecord(parseOptions(recordSchema, parseJson(text, where), where));
}

/** Checked and copied. @throws {ConfigError} for a record that is wrong. */
export function checkedRecord(record: unknown, where: string): ApiKeyRecord {
  return frozenRecord(parseOptions(recordSchema, record, where));
}

function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The cause is left out: it quotes the text.
    throw new ConfigError(`${where}: a record is not JSON`);
  }
}
