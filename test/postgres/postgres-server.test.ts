// The PostgreSQL of the tests: it can be killed, restarted and made to hang.
import pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { lacksPostgres, type PostgresServer, startPostgres } from "./postgres-server.ts";

describe.skipIf(lacksPostgres())("the PostgreSQL of the tests", () => {
  let server: PostgresServer;
  beforeAll(async () => {
    server = await startPostgres();
  });
  afterAll(() => server[Symbol.asyncDispose]());

  async function query(text: string): Promise<unknown> {
    const client = new pg.Client({ connectionString: server.url });
    // A killed server ends the connection with an event.
    client.on("error", () => {});
    await client.connect();
    try {
      return (await client.query(text)).rows;
    } finally {
      await client.end();
    }
  }

  it("keeps what was committed when it is killed and started again", async () => {
    await query("CREATE TABLE kept AS SELECT 7 AS number");
    await server.kill();
    await expect(query("SELECT 1")).rejects.toThrow("ECONNREFUSED");
    await server.start();
    expect(await query("SELECT number FROM kept")).toEqual([{ number: 7 }]);
  });

  it("a session of it that hangs answers when it goes on", async () => {
    const client = new pg.Client({ connectionString: server.url });
    await client.connect();
    server.hang();
    const answer = client.query("SELECT 1 AS one").then(({ rows }) => rows);
    const late = new Promise((resolve) => setTimeout(resolve, 200, "late"));
    expect(await Promise.race([answer, late])).toBe("late");
    server.goOn();
    expect(await answer).toEqual([{ one: 1 }]);
    await client.end();
  });
});
