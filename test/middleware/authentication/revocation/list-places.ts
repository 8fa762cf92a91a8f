// Where revocation lists are kept: a real Redis and a real PostgreSQL, under one roof for the tests that are alike for them.
import { Redis } from "ioredis";
import pg from "pg";
import type { Logger } from "pino";
import type { SharedRevocationList } from "../../../../src/middleware/authentication/revocation/shared-revocation-list.ts";
import { postgresRevocationList } from "../../../../src/postgres/postgres-revocation-list.ts";
import { redisRevocationList } from "../../../../src/redis/redis-revocation-list.ts";
import { lacks } from "../../../clients/tools.ts";
import { waitMs } from "../../../harness/time.ts";
import { lacksPostgres, type PostgresServer, startPostgres } from "../../../postgres/postgres-server.ts";
import { type RedisServer, startRedis } from "../../../redis/redis-server.ts";

export interface ListOptions {
  readonly timeoutMs?: number;
  readonly maxStaleSec?: number;
  readonly maxEntries?: number;
  readonly maxTokenLifetimeSec?: number;
  readonly pollMs?: number;
  readonly logger?: Logger | false;
}

export interface ListPlace extends AsyncDisposable {
  readonly server: RedisServer | PostgresServer;
  /** As one instance of a service has it, over connections of its own. */
  instance(options?: ListOptions): SharedRevocationList;
  /** Ends the connections that listen, and no others. Returns how many there were. */
  endListeners(): Promise<number>;
  /** Ends all instances that it gave. */
  closeInstances(): Promise<void>;
  /** Takes out all entries, as somebody does by hand. */
  empty(): Promise<void>;
  /** How many entries it holds. */
  count(): Promise<number>;
  /** Sends this on the channel, as anybody may who can connect. */
  publish(payload: string): Promise<void>;
}

/** A busy machine must not be taken for a slow store. */
const patient: ListOptions = { timeoutMs: waitMs / 2, logger: false };

async function closeAll(opened: (() => Promise<void>)[]): Promise<void> {
  for (const close of opened.splice(0)) await close();
}

export async function startRedisPlace(): Promise<ListPlace> {
  const server = await startRedis();
  const opened: (() => Promise<void>)[] = [];
  const connect = (): Redis => {
    const client = new Redis({ host: "127.0.0.1", port: server.port, retryStrategy: () => 20 });
    client.on("error", () => {});
    return client;
  };
  const admin = connect();
  return {
    server,
    instance(options) {
      const client = connect();
      const list = redisRevocationList({ client, ...patient, ...options });
      opened.push(async () => {
        await list.close();
        client.disconnect();
      });
      return list;
    },
    closeInstances: () => closeAll(opened),
    endListeners: async () => Number(await admin.call("client", ["kill", "type", "pubsub"])),
    empty: async () => void (await admin.flushall()),
    count: () => admin.zcard("palisade:{revocations}:revisions"),
    publish: async (payload) => void (await admin.publish("palisade:{revocations}:changes", payload)),
    async [Symbol.asyncDispose]() {
      server.goOn();
      await closeAll(opened);
      admin.disconnect();
      await server[Symbol.asyncDispose]();
    },
  };
}

export async function startPostgresPlace(): Promise<ListPlace> {
  const server = await startPostgres();
  const opened: (() => Promise<void>)[] = [];
  const admin = new pg.Pool({ connectionString: server.url, max: 1 });
  admin.on("error", () => {});
  await postgresRevocationList({ pool: admin, listen: false, logger: false }).createTable();
  return {
    server,
    instance(options) {
      const pool = new pg.Pool({ connectionString: server.url, max: 4 });
      const list = postgresRevocationList({ pool, ...patient, ...options });
      opened.push(async () => {
        await list.close();
        await pool.end();
      });
      return list;
    },
    closeInstances: () => closeAll(opened),
    async endListeners() {
      const { rowCount } = await admin.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'",
      );
      return rowCount ?? 0;
    },
    empty: async () => void (await admin.query("TRUNCATE palisade_revocations")),
    count: async () =>
      Number((await admin.query("SELECT count(*) FROM palisade_revocations")).rows[0]?.count),
    publish: async (payload) =>
      void (await admin.query("SELECT pg_notify('palisade_revocations_changed', $1)", [payload])),
    async [Symbol.asyncDispose]() {
      server.goOn();
      await closeAll(opened);
      await admin.end();
      await server[Symbol.asyncDispose]();
    },
  };
}

/** The two that instances share. */
export const sharedPlaces: readonly {
  readonly name: "redisRevocationList" | "postgresRevocationList";
  readonly isMissing: boolean;
  start(): Promise<ListPlace>;
}[] = [
  { name: "redisRevocationList", isMissing: lacks("redis-server"), start: startRedisPlace },
  { name: "postgresRevocationList", isMissing: lacksPostgres(), start: startPostgresPlace },
];
