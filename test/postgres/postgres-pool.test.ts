// PostgreSQL that ends a connection at the worst moment: in the same bytes with which it says that the connection is ready.
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import pg from "pg";
import { describe, expect, it } from "vitest";
import { listenOn, PostgresRequests } from "../../src/postgres/postgres-pool.ts";
import { eventually } from "../harness/secured.ts";
import { waitMs } from "../harness/time.ts";

/** A message of PostgreSQL's protocol: a letter, the length, what it says. */
function message(letter: string, body: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length + 4);
  return Buffer.concat([Buffer.from(letter), length, body]);
}

const authenticated = message("R", Buffer.alloc(4));
const ready = message("Z", Buffer.from("I"));
const fatal = message(
  "E",
  Buffer.from("SFATAL\0C57P01\0Mterminating connection due to unexpected postmaster exit\0\0"),
);

async function endingServer() {
  let connections = 0;
  const server = createServer((socket) => {
    connections += 1;
    socket.on("error", () => {});
    socket.once("data", () => socket.end(Buffer.concat([authenticated, ready, fatal])));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `postgres://palisade@127.0.0.1:${port}/palisade`,
    connections: () => connections,
    [Symbol.asyncDispose]: async () => {
      server.close();
      await once(server, "close");
    },
  };
}

describe("a connection that PostgreSQL ends in the moment in which it is ready", () => {
  it("C3 fails a transaction, and ends no process", async () => {
    await using server = await endingServer();
    const pool = new pg.Pool({ connectionString: server.url, max: 2 });
    const requests = new PostgresRequests(pool, waitMs);
    await expect(requests.transaction((query) => query("SELECT 1"))).rejects.toThrow();
    await pool.end();
  });

  it("C3 is tried again by who listens, and ends no process", async () => {
    await using server = await endingServer();
    const pool = new pg.Pool({ connectionString: server.url, max: 2 });
    const stop = listenOn(pool, "changes", () => {});
    await eventually(() => server.connections() > 1, "another connection");
    stop();
    await pool.end();
  });
});
