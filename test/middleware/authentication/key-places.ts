// Where API keys are kept: a file, a real Redis, a real PostgreSQL, all under one roof for the tests that are alike for them.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import pg from "pg";
import type { ApiKeyRecord, ApiKeyStore } from "../../../src/middleware/authentication/api-key.ts";
import {
  type ApiKeyAdministration,
  TableAdministration,
} from "../../../src/middleware/authentication/api-key-administration.ts";
import { ApiKeyFile } from "../../../src/middleware/authentication/api-key-file.ts";
import { fileApiKeyStore } from "../../../src/middleware/authentication/file-api-key-store.ts";
import { memoryApiKeyStore } from "../../../src/middleware/authentication/memory-api-key-store.ts";
import type { SharedApiKeyStore } from "../../../src/middleware/authentication/shared-api-keys.ts";
import { postgresApiKeyStore } from "../../../src/postgres/postgres-api-key-store.ts";
import { redisApiKeyStore } from "../../../src/redis/redis-api-key-store.ts";
import { lacks } from "../../clients/tools.ts";
import { waitMs } from "../../harness/time.ts";
import { lacksPostgres, type PostgresServer, startPostgres } from "../../postgres/postgres-server.ts";
import { type RedisServer, startRedis } from "../../redis/redis-server.ts";

export interface KeyPlace extends AsyncDisposable {
  /** As an operator changes it. */
  readonly keys: ApiKeyAdministration;
  /** As an instance of a service uses it, over a connection of its own. */
  instance(): ApiKeyStore;
}

/** A place in a server that can fail. */
export interface SharedPlace extends KeyPlace {
  readonly keys: SharedApiKeyStore;
  instance(options?: { readonly timeoutMs?: number }): SharedApiKeyStore;
  readonly server: RedisServer | PostgresServer;
}

export async function startFilePlace(): Promise<KeyPlace> {
  const folder = await mkdtemp(join(tmpdir(), "palisade-keys-"));
  const path = join(folder, "keys.json");
  await writeFile(path, "[]");
  const opened: { close(): void }[] = [];
  return {
    keys: new TableAdministration(new ApiKeyFile(path)),
    instance() {
      const store = fileApiKeyStore({ path, logger: false });
      opened.push(store);
      return store;
    },
    async [Symbol.asyncDispose]() {
      for (const store of opened) store.close();
      await rm(folder, { recursive: true });
    },
  };
}

/** A busy machine must not be taken for a slow store. */
const patient = { timeoutMs: waitMs };

export async function startRedisPlace(): Promise<SharedPlace> {
  const server = await startRedis();
  const opened: { close(): Promise<void> }[] = [];
  const open = ({ timeoutMs }: { readonly timeoutMs?: number } = patient): SharedApiKeyStore => {
    const client = new Redis({ host: "127.0.0.1", port: server.port, retryStrategy: () => 20 });
    client.on("error", () => {});
    const store = redisApiKeyStore({ client, timeoutMs });
    opened.push({
      async close() {
        await store.close();
        client.disconnect();
      },
    });
    return store;
  };
  return {
    server,
    keys: open(),
    instance: open,
    async [Symbol.asyncDispose]() {
      server.goOn();
      for (const { close } of opened) await close();
      await server[Symbol.asyncDispose]();
    },
  };
}

export async function startPostgresPlace(): Promise<SharedPlace> {
  const server = await startPostgres();
  const opened: { close(): Promise<void> }[] = [];
  const open = ({ timeoutMs }: { readonly timeoutMs?: number } = patient) => {
    const pool = new pg.Pool({ connectionString: server.url, max: 4 });
    const store = postgresApiKeyStore({ pool, timeoutMs });
    opened.push({
      async close() {
        await store.close();
        await pool.end();
      },
    });
    return store;
  };
  const keys = open();
  await keys.createTable();
  return {
    server,
    keys,
    instance: open,
    async [Symbol.asyncDispose]() {
      server.goOn();
      for (const { close } of opened) await close();
      await server[Symbol.asyncDispose]();
    },
  };
}

/** The two that instances share. */
export const sharedPlaces: readonly {
  readonly name: string;
  readonly isMissing: boolean;
  start(): Promise<SharedPlace>;
}[] = [
  { name: "redisApiKeyStore", isMissing: lacks("redis-server"), start: startRedisPlace },
  { name: "postgresApiKeyStore", isMissing: lacksPostgres(), start: startPostgresPlace },
];

/** All whose keys an operator can change. */
export const places: readonly {
  readonly name: string;
  readonly isMissing: boolean;
  start(): Promise<KeyPlace>;
}[] = [{ name: "fileApiKeyStore", isMissing: false, start: startFilePlace }, ...sharedPlaces];

/** A store that has just these records, over the place or in memory. */
export async function storeWith(
  place: KeyPlace | undefined,
  ...records: readonly ApiKeyRecord[]
): Promise<ApiKeyStore> {
  if (place === undefined) return memoryApiKeyStore(records);
  for (const record of records) await place.keys.add(record);
  return place.instance();
}
