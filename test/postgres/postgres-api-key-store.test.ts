// What only PostgreSQL can do to API keys: changes by hand, rows of any kind, locks, rights, a table that is not there.
import pg from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { ConfigError } from "../../src/grpc/errors.ts";
import { apiKey } from "../../src/middleware/authentication/api-key.ts";
import { issueApiKey } from "../../src/middleware/authentication/memory-api-key-store.ts";
import {
  type PostgresApiKeyStore,
  type PostgresApiKeyStoreOptions,
  postgresApiKeyStore,
} from "../../src/postgres/postgres-api-key-store.ts";
import { waitMs } from "../harness/time.ts";
import { incomingCall, verdict } from "../middleware/authentication/incoming-call.ts";
import { lacksPostgres, type PostgresServer, startPostgres } from "./postgres-server.ts";

describe.skipIf(lacksPostgres())("A3 API keys in PostgreSQL", () => {
  let server: PostgresServer;
  let pool: pg.Pool;
  let store: PostgresApiKeyStore;
  let issued: ReturnType<typeof issueApiKey>;
  const opened: PostgresApiKeyStore[] = [];
  const open = (options: Partial<PostgresApiKeyStoreOptions> = {}): PostgresApiKeyStore => {
    const made = postgresApiKeyStore({ pool, timeoutMs: waitMs, ...options });
    opened.push(made);
    return made;
  };
  const sql = async (text: string, values: unknown[] = []): Promise<unknown[]> =>
    (await pool.query(text, values)).rows;
  beforeAll(async () => {
    server = await startPostgres();
    pool = new pg.Pool({ connectionString: server.url, max: 20 });
  });
  afterAll(async () => {
    await pool.end();
    await server[Symbol.asyncDispose]();
  });
  beforeEach(async () => {
    store = open();
    await store.createTable();
    issued = issueApiKey({ owner: "shop", roles: ["app"] });
    await store.add(issued.record);
  });
  afterEach(async () => {
    for (const each of opened.splice(0)) await each.close();
  });

  const judged = (key: string, by = store): Promise<string> =>
    verdict(apiKey({ store: by }), incomingCall({ "x-api-key": key }));

  it.each([
    ["an update", "UPDATE palisade_api_keys SET revoked = true WHERE id = $1"],
    [
      "an end in the past",
      "UPDATE palisade_api_keys SET expires_at = now() - interval '1 second' WHERE id = $1",
    ],
    ["a deletion", "DELETE FROM palisade_api_keys WHERE id = $1"],
  ])("a change by hand is seen too: %s", async (_what, statement) => {
    let changes = 0;
    store.onChange(() => changes++);
    expect(await judged(issued.key)).toBe("good: shop");
    const before = changes;
    await sql(statement, [issued.record.id]);
    await expect.poll(() => judged(issued.key)).toMatch(/^(invalid|expired)$/);
    await expect.poll(() => changes).toBeGreaterThan(before);
  });

  it("a change that was rolled back is none", async () => {
    const client = await pool.connect();
    await client.query("BEGIN");
    await client.query("UPDATE palisade_api_keys SET revoked = true WHERE id = $1", [issued.record.id]);
    expect(await judged(issued.key)).toBe("good: shop");
    await client.query("ROLLBACK");
    client.release();
    expect(await judged(issued.key)).toBe("good: shop");
  });

  it("a revocation is seen without LISTEN, as behind PgBouncer", async () => {
    const instance = open({ listen: false });
    expect(await judged(issued.key, instance)).toBe("good: shop");
    await store.revoke(issued.record.id);
    await expect.poll(() => judged(issued.key, instance)).toBe("invalid");
    // One of the test before may not have ended yet.
    await expect.poll(() => sql("SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")).toEqual([]);
  });

  it("a connection that listens is made again when it was ended, and given back at the end", async () => {
    const listening = async (): Promise<number> =>
      (await sql("SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")).length;
    expect(await judged(issued.key)).toBe("good: shop");
    await expect.poll(listening).toBe(1);
    await sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'");
    await expect.poll(listening).toBe(1);
    await store.close();
    await expect.poll(listening).toBe(0);
  });

  it.each([
    ["roles = ARRAY['app', NULL]"],
    ["networks = '{}'"],
    ["networks = ARRAY['everywhere']"],
    ["expires_at = 'infinity'"],
    ["owner = repeat('x', 100000)"],
    ["owner = 'plsd_aaaaaaaaaaaaaaaaaaaaaaaa'"],
  ])("a row with %s lets nobody in, and is not the caller's fault", async (change) => {
    await sql(`UPDATE palisade_api_keys SET ${change} WHERE id = $1`, [issued.record.id]);
    await expect.poll(() => judged(issued.key)).toMatch(/^failure/);
    await sql("DELETE FROM palisade_api_keys WHERE id = $1", [issued.record.id]);
  });

  it.each([
    ["digest = upper(digest)"],
    ["digest = left(digest, 60)"],
    ["digest = digest || ' '"],
    ["owner = ''"],
    ["owner = NULL"],
    ["id = ''"],
    ["tenant = ''"],
    ["revoked = NULL"],
  ])("the table takes no row with %s", async (change) => {
    await expect(
      sql(`UPDATE palisade_api_keys SET ${change} WHERE id = $1`, [issued.record.id]),
    ).rejects.toThrow(/violates/);
  });

  it("values are never SQL", async () => {
    const hostile = "'); DROP TABLE palisade_api_keys; --";
    const { record, key } = issueApiKey({ owner: hostile, id: hostile, roles: [hostile, '","', "{}", "\\"] });
    await store.add(record);
    expect(await judged(key)).toBe(`good: ${hostile}`);
    expect(await store.find(record.digest)).toMatchObject(record);
    await store.recordUse([{ id: hostile, at: 1_000 }]);
    expect((await store.revoke(hostile)).id).toBe(hostile);
    await expect(store.find(hostile)).resolves.toBeUndefined();
  });

  it("NUL, which PostgreSQL does not keep, is an error for the operator", async () => {
    const { record } = issueApiKey({ owner: "shop\0root" });
    await expect(store.add(record)).rejects.toThrow();
    expect(await judged(issued.key)).toBe("good: shop");
  });

  it("the table is never made by itself, and made again nothing changes", async () => {
    const elsewhere = open({ table: "other_keys" });
    expect(await judged(issued.key, elsewhere)).toMatch(/^failure.*other_keys/);
    await elsewhere.createTable();
    expect(await judged(issued.key, elsewhere)).toBe("invalid");
    await store.createTable();
    expect(await judged(issued.key)).toBe("good: shop");
  });

  it("a table may be in a schema of its own", async () => {
    await sql("CREATE SCHEMA IF NOT EXISTS auth");
    const instance = open({ table: "auth.keys" });
    await instance.createTable();
    const other = issueApiKey({ owner: "auth" });
    await instance.add(other.record);
    expect(await judged(other.key, instance)).toBe("good: auth");
    await sql("UPDATE auth.keys SET revoked = true");
    await expect.poll(() => judged(other.key, instance)).toBe("invalid");
  });

  it("a service needs no more rights than the documentation says", async () => {
    await sql("DROP ROLE IF EXISTS service");
    await sql("CREATE ROLE service LOGIN");
    await sql("GRANT SELECT ON palisade_api_keys, palisade_api_keys_version TO service");
    await sql("GRANT UPDATE (last_used_at) ON palisade_api_keys TO service");
    const own = new pg.Pool({ connectionString: server.url.replace("palisade@", "service@"), max: 4 });
    const instance = postgresApiKeyStore({ pool: own, timeoutMs: waitMs });
    expect(await judged(issued.key, instance)).toBe("good: shop");
    await instance.recordUse([{ id: issued.record.id, at: 1_000 }]);
    await expect(instance.revoke(issued.record.id)).rejects.toThrow("permission denied");
    await store.revoke(issued.record.id);
    await expect.poll(() => judged(issued.key, instance)).toBe("invalid");
    await instance.close();
    await own.end();
    await sql("DROP OWNED BY service");
    await sql("DROP ROLE service");
  });

  it("a table that is locked fails look-ups in their time, and leaves none behind in PostgreSQL", async () => {
    const instance = open({ timeoutMs: 300, listen: false });
    const locking = await pool.connect();
    await locking.query("BEGIN");
    await locking.query("LOCK TABLE palisade_api_keys IN ACCESS EXCLUSIVE MODE");
    try {
      const failures = await Promise.all(Array.from({ length: 5 }, () => judged(issued.key, instance)));
      for (const failure of failures) expect(failure).toMatch(/^failure/);
      await expect
        .poll(() =>
          sql(
            "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND backend_type = 'client backend'",
          ),
        )
        .toEqual([]);
    } finally {
      // Else no later test gets on.
      await locking.query("ROLLBACK");
      locking.release();
    }
    await expect.poll(() => judged(issued.key, instance)).toBe("good: shop");
  });

  it("a pool whose parsers of types were changed makes no difference", async () => {
    const text = 25;
    const types = { getTypeParser: (oid: number) => (value: string) => (oid === text ? value : new Date(0)) };
    const own = new pg.Pool({ connectionString: server.url, max: 2, types: types as never });
    const instance = postgresApiKeyStore({ pool: own, timeoutMs: waitMs });
    expect(await judged(issued.key, instance)).toBe("good: shop");
    await instance.close();
    await own.end();
  });

  it("a pool that the application does not listen to ends no process when PostgreSQL ends its connections", async () => {
    const own = new pg.Pool({ connectionString: server.url, max: 4 });
    const instance = postgresApiKeyStore({ pool: own, timeoutMs: waitMs });
    expect(await judged(issued.key, instance)).toBe("good: shop");
    await sql(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'",
    ).catch(() => {});
    await expect.poll(() => judged(issued.key, instance)).toBe("good: shop");
    await instance.close();
    await own.end();
  });

  it.each<[string, object, string]>([
    ["no pool", { pool: undefined }, "postgresApiKeyStore.pool: expected a pool of the package pg"],
    ["a client for a pool", { pool: new pg.Client() }, "postgresApiKeyStore.pool: expected a pool"],
    [
      "a pool of one connection",
      { pool: new pg.Pool({ max: 1 }) },
      "postgresApiKeyStore.pool: has at most 1 connection, and listening for changes keeps one",
    ],
    ["a name with a quote", { table: 'a"b' }, "postgresApiKeyStore.table: expected the name of a table"],
    ["a name with a space", { table: "a b" }, "postgresApiKeyStore.table: expected the name of a table"],
    ["a name in upper case", { table: "Keys" }, "postgresApiKeyStore.table: expected the name of a table"],
    ["three names", { table: "a.b.c" }, "postgresApiKeyStore.table: expected the name of a table"],
    ["a name of 51 letters", { table: "a".repeat(51) }, "postgresApiKeyStore.table: expected the name"],
    ["no name", { table: "" }, "postgresApiKeyStore.table: expected the name of a table"],
    ["an unknown option", { tabel: "a" }, 'postgresApiKeyStore.tabel: unknown option; did you mean "table"'],
  ])("%s is a ConfigError", (_what, options, problem) => {
    const attempt = () => postgresApiKeyStore({ pool, ...options } as PostgresApiKeyStoreOptions);
    expect(attempt).toThrow(ConfigError);
    expect(attempt).toThrow(problem);
  });
});
