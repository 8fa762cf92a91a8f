// Where `palisade api-key` finds the keys: a file, Redis or PostgreSQL.
import { loadOptional } from "../config/optional-package.ts";
import {
  type ApiKeyAdministration,
  TableAdministration,
} from "../middleware/authentication/api-key-administration.ts";
import { ApiKeyFile } from "../middleware/authentication/api-key-file.ts";
import { type PostgresApiKeyStore, postgresApiKeyStore } from "../postgres/postgres-api-key-store.ts";
import type { PostgresPool } from "../postgres/postgres-pool.ts";
import { type RedisApiKeyClient, redisApiKeyStore } from "../redis/redis-api-key-store.ts";
import { ArgumentError } from "./argument-error.ts";

/** In place of an option, so that a password is not in the list of processes. */
export const storeVariable = "PALISADE_API_KEY_STORE";

export interface StoreOptions {
  readonly file?: string | undefined;
  readonly redis?: string | undefined;
  readonly postgres?: string | undefined;
  readonly "key-prefix"?: string | undefined;
  readonly table?: string | undefined;
}

export interface OpenStore {
  readonly keys: ApiKeyAdministration;
  /** Only PostgreSQL has something to set up. */
  readonly setUp?: () => Promise<void>;
  close(): Promise<void>;
}

/** An answer may take longer than a call could wait. */
const timeoutMs = 10_000;

/** Undefined where no store was named. */
export async function openStore(options: StoreOptions): Promise<OpenStore | undefined> {
  const { file, redis, postgres } = namedStore(options);
  if (options["key-prefix"] !== undefined && redis === undefined)
    throw new ArgumentError("--key-prefix: is for a store in Redis");
  if (options.table !== undefined && postgres === undefined)
    throw new ArgumentError("--table: is for a store in PostgreSQL");
  if (file !== undefined)
    return { keys: new TableAdministration(new ApiKeyFile(file)), close: async () => {} };
  if (redis !== undefined) return openRedis(redis, options["key-prefix"]);
  if (postgres !== undefined) return openPostgres(postgres, options.table);
  return undefined;
}

/** What has a password in it is not taken for a path, which errors show. One letter is a drive. */
const looksLikeUrl = /^[a-z][a-z0-9+.-]+:|:\/\//i;

function namedStore(options: StoreOptions): Pick<StoreOptions, "file" | "redis" | "postgres"> {
  const { file, redis, postgres } = options;
  const named = [file, redis, postgres].filter((store) => store !== undefined);
  if (named.length > 1) throw new ArgumentError("--file, --redis and --postgres: give one of them");
  if (file !== undefined && looksLikeUrl.test(file))
    throw new ArgumentError("--file: expected the path of a file, not a URL; see --redis and --postgres");
  if (named.length === 1) return { file, redis, postgres };
  const url = process.env[storeVariable];
  if (url === undefined || url === "") return {};
  if (/^rediss?:/i.test(url)) return { redis: url };
  if (/^postgres(?:ql)?:/i.test(url)) return { postgres: url };
  if (looksLikeUrl.test(url))
    throw new ArgumentError(
      `${storeVariable}: expected a URL with redis:, rediss:, postgres: or postgresql:, or the path of a file`,
    );
  return { file: url };
}

interface RedisPackage {
  readonly Redis: new (
    url: string,
    options: object,
  ) => RedisApiKeyClient & {
    connect(): Promise<void>;
    on(event: "error", listener: (error: Error) => void): unknown;
    disconnect(): void;
  };
}

async function openRedis(url: string, keyPrefix: string | undefined): Promise<OpenStore> {
  const { Redis } = loadOptional("ioredis", {
    neededBy: "palisade api-key --redis",
    install: "ioredis",
  }) as RedisPackage;
  if (!/^rediss?:\/\//.test(url)) throw new ArgumentError("--redis: expected a URL with redis: or rediss:");
  const client = new Redis(url, {
    lazyConnect: true,
    connectTimeout: timeoutMs,
    retryStrategy: () => null,
    maxRetriesPerRequest: 0,
  });
  let problem: Error | undefined;
  client.on("error", (error) => {
    problem = error;
  });
  try {
    await client.connect();
  } catch (error) {
    // Of the two the one with a reason: `connect` says only that the connection is closed.
    throw new Error(`Redis: ${reasonOf(problem ?? error)}`);
  }
  const keys = redisApiKeyStore({ client, timeoutMs, keyPrefix });
  return {
    keys,
    async close() {
      await keys.close();
      client.disconnect();
    },
  };
}

interface PostgresPackage {
  readonly Pool: new (options: object) => PostgresPool & { end(): Promise<void> };
}

async function openPostgres(url: string, table: string | undefined): Promise<OpenStore> {
  const { Pool } = loadOptional("pg", {
    neededBy: "palisade api-key --postgres",
    install: "pg",
  }) as PostgresPackage;
  if (!/^postgres(?:ql)?:\/\//.test(url))
    throw new ArgumentError("--postgres: expected a URL with postgres: or postgresql:");
  const pool = new Pool({ connectionString: url, max: 1, connectionTimeoutMillis: timeoutMs });
  const keys: PostgresApiKeyStore = postgresApiKeyStore({ pool, table, timeoutMs, listen: false });
  return {
    keys,
    setUp: () => keys.createTable(),
    async close() {
      await keys.close();
      await pool.end();
    },
  };
}

/** Without the message of an error that may quote the URL, and the password in it. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return "the connection failed";
  const code = "code" in error ? ` (${String(error.code)})` : "";
  return /^(?:WRONGPASS|NOAUTH|ERR|connect |getaddrinfo )/.test(error.message)
    ? error.message
    : `the connection failed${code}`;
}
