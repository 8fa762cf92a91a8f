// `palisade api-key`: issue, list, revoke and rotate the keys of a store.
import { parseArgs } from "node:util";
import { ConfigError } from "../grpc/errors.ts";
import type { ApiKeyRecord } from "../middleware/authentication/api-key.ts";
import type {
  ApiKeyAdministration,
  StoredApiKey,
} from "../middleware/authentication/api-key-administration.ts";
import { issueApiKey } from "../middleware/authentication/memory-api-key-store.ts";
import { type OpenStore, openStore, storeVariable } from "./api-key-stores.ts";
import { ArgumentError } from "./argument-error.ts";
import { runSubcommand } from "./subcommands.ts";

const usage = `usage: palisade api-key issue --owner <name> [--role <name>]... [--permission <resource:action>]... [--tenant <name>]
                              [--network <address or CIDR>]... [--days <number>] [--id <name>] [store] [--json]
       palisade api-key list [store] [--json]
       palisade api-key revoke <id> [store] [--json]
       palisade api-key rotate <id> [--overlap-days <number>] [--days <number>] [--id <name>] [store] [--json]
       palisade api-key setup --postgres <url> [--table <name>]

  issue   makes a key and adds its record to the store; prints the key, which is shown this once. Without a store it prints
          the record on the next line, for the file of fileApiKeyStore.
  list    prints who has which keys, until when, and when they were used last (Redis and PostgreSQL). Never a digest.
  revoke  refuses a key from now on.
  rotate  issues a second key with the owner and the rights of the first, which stays good for --overlap-days (7).
  setup   makes the table in PostgreSQL.

  store   --file <path>, --redis <url> [--key-prefix <text>] or --postgres <url> [--table <name>]; or the environment variable
          ${storeVariable} with a path or URL, so that a password is not in the list of processes.
  --days  when the key expires; without, never. rotate needs it for a key that expires.
  --json  prints one JSON document.

  Exit code: 0 done, 1 failed, 2 wrong arguments.`;

const dayMs = 86_400_000;
const defaultOverlapDays = "7";

const storeOptions = {
  file: { type: "string" },
  redis: { type: "string" },
  postgres: { type: "string" },
  "key-prefix": { type: "string" },
  table: { type: "string" },
} as const;
const outputOptions = { json: { type: "boolean", default: false } } as const;

/** The exit code. What a library throws goes to the caller. */
export async function apiKeyCommand(args: string[]): Promise<number> {
  return runSubcommand(args, {
    name: "palisade api-key",
    usage,
    commands: { issue, list, revoke, rotate, setup },
    ofOptions: "issue",
  });
}

async function issue(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      owner: { type: "string" },
      id: { type: "string" },
      role: { type: "string", multiple: true },
      permission: { type: "string", multiple: true },
      tenant: { type: "string" },
      network: { type: "string", multiple: true },
      days: { type: "string" },
      ...storeOptions,
      ...outputOptions,
    },
  });
  const { owner, id, role, permission, tenant, network, days, json } = values;
  if (owner === undefined)
    throw new ArgumentError("--owner is missing: give the name of the client that will use the key");
  const expiresAt = days === undefined ? undefined : Date.now() + daysIn("--days", days) * dayMs;
  const { key, record } = argumentsOf(() =>
    issueApiKey({ owner, id, roles: role, permissions: permission, tenant, networks: network, expiresAt }),
  );
  const store = await openStore(values);
  if (store === undefined) {
    // Two lines, so that `read -r key; read -r record` takes them apart.
    console.log(json ? JSON.stringify({ key, record }) : `${key}\n${JSON.stringify(record)}`);
    return 0;
  }
  await using(store, (keys) => keys.add(record));
  console.log(json ? JSON.stringify({ key, ...shown({ record }) }) : key);
  if (!json) console.error(`issued the API key ${record.id} to ${owner}, ${lifetime(record)}`);
  return 0;
}

async function list(args: string[]): Promise<number> {
  const { values } = parseArgs({ args, options: { ...storeOptions, ...outputOptions } });
  const stored = await using(await theStore(values), (keys) => keys.list());
  const rows = stored.map(shown);
  if (values.json) console.log(JSON.stringify(rows));
  else if (rows.length === 0) console.error("there are no API keys");
  else printTable(rows);
  return 0;
}

async function revoke(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { ...storeOptions, ...outputOptions },
  });
  const id = theId("revoke", positionals);
  const record = await using(await theStore(values), (keys) => keys.revoke(id));
  console.log(
    values.json
      ? JSON.stringify(shown({ record }))
      : `revoked the API key ${plain(record.id)} of ${plain(record.owner)}`,
  );
  return 0;
}

async function rotate(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      id: { type: "string" },
      days: { type: "string" },
      "overlap-days": { type: "string", default: defaultOverlapDays },
      ...storeOptions,
      ...outputOptions,
    },
  });
  const old = theId("rotate", positionals);
  const overlapMs = daysIn("--overlap-days", values["overlap-days"], { least: 0 }) * dayMs;
  const expiresAt =
    values.days === undefined ? undefined : Date.now() + daysIn("--days", values.days) * dayMs;
  const { key, record, previous } = await using(await theStore(values), (keys) =>
    keys.rotate(old, { overlapMs, id: values.id, expiresAt }),
  );
  console.log(
    values.json ? JSON.stringify({ key, ...shown({ record }), previous: shown({ record: previous }) }) : key,
  );
  if (!values.json) {
    console.error(
      `issued the API key ${plain(record.id)} to ${plain(record.owner)}, ${lifetime(record)}; ${plain(previous.id)} ${lifetime(previous)}`,
    );
  }
  return 0;
}

async function setup(args: string[]): Promise<number> {
  const { values } = parseArgs({ args, options: storeOptions });
  const store = await theStore(values);
  const { setUp } = store;
  if (setUp === undefined) {
    await store.close();
    throw new ArgumentError("setup: only PostgreSQL needs it: give --postgres");
  }
  await using(store, () => setUp());
  console.log("the table of API keys is ready");
  return 0;
}

async function theStore(values: Parameters<typeof openStore>[0]): Promise<OpenStore> {
  const store = await openStore(values);
  if (store !== undefined) return store;
  throw new ArgumentError(
    `no store: give --file, --redis or --postgres, or set the environment variable ${storeVariable}`,
  );
}

/** Closes the store however it ends. */
async function using<Result>(
  store: OpenStore,
  work: (keys: ApiKeyAdministration) => Promise<Result>,
): Promise<Result> {
  try {
    return await work(store.keys);
  } finally {
    await store.close();
  }
}

function theId(command: string, positionals: readonly string[]): string {
  const [id, ...rest] = positionals;
  if (id === undefined || rest.length > 0) throw new ArgumentError(`${command}: give the id of one API key`);
  return id;
}

/** What is wrong with the values of options is found where a key is made. */
function argumentsOf<Result>(make: () => Result): Result {
  try {
    return make();
  } catch (error) {
    throw error instanceof ConfigError ? new ArgumentError(error.message) : error;
  }
}

function daysIn(option: string, text: string, { least = 1 }: { readonly least?: number } = {}): number {
  if (!/^\d{1,5}$/.test(text) || Number(text) < least)
    throw new ArgumentError(`${option} ${text}: expected a whole number of days, from ${least} to 99999`);
  return Number(text);
}

/** What may be seen of a key: everything but its digest. */
function shown({ record, lastUsedAt }: StoredApiKey): Record<string, unknown> {
  const { digest: _, expiresAt, notBefore, ...rest } = record;
  return {
    ...rest,
    ...(notBefore === undefined ? {} : { notBefore: time(notBefore) }),
    ...(expiresAt === undefined ? {} : { expiresAt: time(expiresAt) }),
    revoked: record.revoked === true,
    ...(lastUsedAt === undefined ? {} : { lastUsedAt: time(lastUsedAt) }),
  };
}

function lifetime({ expiresAt }: ApiKeyRecord): string {
  return expiresAt === undefined ? "which does not expire" : `until ${time(expiresAt)}`;
}

/** A record may hold a number that is no date. */
function time(ms: number): string {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? String(ms) : date.toISOString();
}

const columns: readonly (readonly [title: string, field: string])[] = [
  ["ID", "id"],
  ["OWNER", "owner"],
  ["ROLES", "roles"],
  ["PERMISSIONS", "permissions"],
  ["TENANT", "tenant"],
  ["NETWORKS", "networks"],
  ["EXPIRES", "expiresAt"],
  ["REVOKED", "revoked"],
  ["LAST USE", "lastUsedAt"],
];

function printTable(rows: readonly Readonly<Record<string, unknown>>[]): void {
  const cells = [
    columns.map(([title]) => title),
    ...rows.map((row) => columns.map(([, field]) => cell(row[field]))),
  ];
  const widths = columns.map((_, place) => Math.max(...cells.map((line) => line[place]?.length ?? 0)));
  for (const line of cells)
    console.log(
      line
        .map((text, place) => text.padEnd(widths[place] ?? 0))
        .join("  ")
        .trimEnd(),
    );
}

function cell(value: unknown): string {
  if (value === undefined || value === false) return "-";
  if (value === true) return "yes";
  const text = Array.isArray(value) ? value.join(",") : String(value);
  return plain(text) || "-";
}

/** Records come from a store: a terminal must not obey what stands in them. */
function plain(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}]/gu, "\u{fffd}");
}
