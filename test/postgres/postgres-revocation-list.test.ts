// What only PostgreSQL can do to a revocation list.
import pg from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { ConfigError } from "../../src/grpc/errors.ts";
import {
  type PostgresRevocationListOptions,
  postgresRevocationList,
} from "../../src/postgres/postgres-revocation-list.ts";
import { waitMs } from "../harness/time.ts";
import { lacksPostgres, type PostgresServer, startPostgres } from "./postgres-server.ts";

const tomorrow = Date.now() + 86_400_000;

describe("A8 options of postgresRevocationList", () => {
  const pool = { totalCount: 0, connect: () => {}, on: () => {} };
  it.each<[object, RegExp]>([
    [{}, /postgresRevocationList\.pool: expected a pool of the package pg/],
    [{ pool: { connect() {} } }, /postgresRevocationList\.pool: expected a pool/],
    [{ pool: { ...pool, options: { max: 1 } } }, /postgresRevocationList\.pool: has at most 1 connection/],
    [
      { pool, table: 'a"; DROP TABLE b; --' },
      /table: expected the name of a table, such as "palisade_revocations"/,
    ],
    [{ pool, table: "a.b.c" }, /postgresRevocationList\.table/],
    [{ pool, table: "" }, /postgresRevocationList\.table/],
    [{ pool, table: "x".repeat(51) }, /postgresRevocationList\.table/],
    [{ pool, maxStaleSec: 1, pollMs: 501 }, /postgresRevocationList\.pollMs: must be at most half/],
    [{ pool, keyPrefix: "x" }, /postgresRevocationList\.keyPrefix: unknown option/],
  ])("A8 refuses %j", (options, message) => {
    const open = () => postgresRevocationList(options as PostgresRevocationListOptions);
    expect(open).toThrow(ConfigError);
    expect(open).toThrow(message);
  });
});

describe.skipIf(lacksPostgres())("A8 postgresRevocationList", () => {
  let server: PostgresServer;
  let admin: pg.Pool;
  const end: (() => Promise<void>)[] = [];
  beforeAll(async () => {
    server = await startPostgres();
    admin = new pg.Pool({ connectionString: server.url, max: 4 });
    await open().createTable();
  });
  beforeEach(async () => void (await admin.query("TRUNCATE palisade_revocations")));
  afterEach(async () => {
    for (const each of end.splice(0)) await each();
  });
  afterAll(async () => {
    await admin.end();
    await server[Symbol.asyncDispose]();
  });

  function open(options: Partial<PostgresRevocationListOptions> = {}, url = server.url) {
    const pool = new pg.Pool({ connectionString: url, max: 4 });
    const list = postgresRevocationList({ pool, timeoutMs: waitMs / 2, logger: false, ...options });
    end.push(async () => {
      await list.close();
      await pool.end();
    });
    return list;
  }

  const knows = async (list: ReturnType<typeof open>, id: string, subject = "x"): Promise<unknown> =>
    Promise.resolve(list.isRevoked({ id, subject })).catch(String);

  it("A8 without LISTEN, as behind PgBouncer, the poll sees it", async () => {
    const [one, other] = [open({ listen: false }), open({ listen: false })];
    await expect.poll(() => knows(other, "one")).toBe(false);
    await one.revokeToken("one", tomorrow);
    await expect.poll(() => knows(other, "one")).toBe(true);
  });

  it("A8 a notification is told at once: long before a poll", async () => {
    const [one, other] = [open(), open({ pollMs: 60_000, maxStaleSec: 3_600 })];
    await expect.poll(() => knows(other, "none")).toBe(false);
    const listening =
      "SELECT count(*)::int AS n FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND state = 'idle'";
    await expect.poll(async () => (await admin.query(listening)).rows[0]?.n).toBeGreaterThanOrEqual(1);
    await one.revokeToken("one", tomorrow);
    await expect.poll(() => knows(other, "one"), { timeout: 0.9 * 60_000 }).toBe(true);
  });

  it("A8 SQL revokes, and nothing that cannot be read gets in", async () => {
    const list = open();
    let changes = 0;
    list.onChange(() => changes++);
    const insert = (values: string): Promise<unknown> =>
      admin.query(`INSERT INTO palisade_revocations (kind, name, issued_before, ends_at) VALUES ${values}`);
    await insert(
      "('subject', 'ada', now(), now() + interval '1 hour'), ('token', 'one', NULL, now() + interval '1 hour')",
    );
    await expect.poll(() => knows(list, "one")).toBe(true);
    await expect.poll(() => knows(list, "other", "ada")).toBe(true);
    expect(changes).toBeGreaterThan(0);
    for (const values of [
      "('other', 'ada', now(), now())",
      "('subject', '', now(), now())",
      "('subject', 'bob', NULL, now())",
      "('subject', 'bob', 'infinity', now())",
      "('subject', 'bob', now(), 'infinity')",
      "('token', 'bob', now(), now())",
      "('token', 'bob', NULL, '-infinity')",
      "('token', 'bob', NULL, '0044-03-15 BC')",
      "('token', 'bob', NULL, '290000-01-01')",
    ])
      await expect(insert(values), values).rejects.toThrow(/violates/);
  });

  it("A8 of writers that commit in another order than they began, no reader misses one", async () => {
    const list = open();
    await expect.poll(() => knows(list, "none")).toBe(false);
    const [slow, quick] = [await admin.connect(), await admin.connect()];
    try {
      const insert = (name: string): string =>
        `INSERT INTO palisade_revocations (kind, name, ends_at) VALUES ('token', '${name}', now() + interval '1 hour')`;
      await slow.query("BEGIN");
      await slow.query(insert("slow"));
      let isCommitted = false;
      const second = quick.query(insert("quick")).then(() => {
        isCommitted = true;
      });
      // It waits for the number that the other holds. If it did not, the list would have read past that number here.
      const waiting =
        "SELECT count(*)::int AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%quick%'";
      await expect.poll(async () => isCommitted || (await admin.query(waiting)).rows[0]?.n === 1).toBe(true);
      if (isCommitted) await expect.poll(() => knows(list, "quick")).toBe(true);
      await slow.query("COMMIT");
      await second;
      await expect.poll(() => knows(list, "quick")).toBe(true);
      await expect.poll(() => knows(list, "slow")).toBe(true);
    } finally {
      slow.release();
      quick.release();
    }
  });

  it("L10 entries that have ended leave the table with later revocations, and the count is right", async () => {
    const list = open();
    for (let n = 0; n < 5; n++) await list.revokeToken(`old-${n}`, Date.now() - 301_000);
    await list.revokeToken("new", tomorrow);
    await list.revokeToken("newer", tomorrow);
    const { rows } = await admin.query(
      "SELECT (SELECT array_agg(name ORDER BY name) FROM palisade_revocations) AS names, entries::int FROM palisade_revocations_state",
    );
    expect(rows).toEqual([{ names: ["new", "newer"], entries: 2 }]);
  });

  it("A8 without its table nothing is answered, and making it twice changes nothing", async () => {
    const list = open({ table: "other_list" });
    await expect.poll(() => knows(list, "one")).toMatch(/relation "other_list\S*" does not exist/);
    await expect(list.revokeToken("one", tomorrow)).rejects.toThrow(/does not exist/);
    await list.createTable();
    await list.revokeToken("one", tomorrow);
    await list.createTable();
    await expect.poll(() => knows(list, "two")).toBe(false);
    expect(await knows(open({ table: "other_list" }), "one")).toBe(true);
    expect(await knows(open(), "one")).toBe(false);
  });

  it("A8 a state without its row is a failure", async () => {
    const list = open({ table: "stateless" });
    await list.createTable();
    await list.revokeToken("one", tomorrow);
    await admin.query("DELETE FROM stateless_state");
    await expect.poll(() => knows(open({ table: "stateless" }), "two")).toMatch(/its state has no row/);
    await expect(list.revokeToken("two", tomorrow)).rejects.toThrow();
  });

  it("A8 an instance that may only read sees all, and revokes nothing", async () => {
    await admin.query(
      "DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN; GRANT SELECT ON palisade_revocations, palisade_revocations_state TO reader",
    );
    const list = open({}, server.url.replace("//palisade@", "//reader@"));
    await open().revokeToken("one", tomorrow);
    await expect.poll(() => knows(list, "one")).toBe(true);
    await expect(list.revokeToken("two", tomorrow)).rejects.toThrow(/permission denied/);
    await admin.query("DROP OWNED BY reader; DROP ROLE reader");
  });
});
