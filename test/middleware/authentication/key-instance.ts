// One instance of a service, in a process of its own: `key-instance.ts <json of KeyInstanceOptions>`. Says its port, shuts
// down on the first message, and ends by itself.
import { Redis } from "ioredis";
import pg from "pg";
import { apiKey } from "../../../src/middleware/authentication/api-key.ts";
import { allowAuthenticated } from "../../../src/middleware/authorization/allow-authenticated.ts";
import { postgresApiKeyStore } from "../../../src/postgres/postgres-api-key-store.ts";
import { redisApiKeyStore } from "../../../src/redis/redis-api-key-store.ts";
import { createSecureServer } from "../../../src/server/secure-server.ts";
import { goodHandlers, kindsDefinition } from "../../harness/kinds.ts";

export interface KeyInstanceOptions {
  readonly redisPort?: number;
  readonly postgresUrl?: string;
}

const { redisPort, postgresUrl } = JSON.parse(process.argv[2] ?? "{}") as KeyInstanceOptions;

function openStore() {
  if (redisPort !== undefined) {
    const client = new Redis({ host: "127.0.0.1", port: redisPort, retryStrategy: () => 20 });
    client.on("error", () => {});
    return { store: redisApiKeyStore({ client }), end: async () => client.disconnect() };
  }
  const pool = new pg.Pool({ connectionString: postgresUrl, max: 4 });
  return { store: postgresApiKeyStore({ pool }), end: () => pool.end() };
}

const { store, end } = openStore();
const server = createSecureServer({
  tls: { plaintext: "loopback" },
  authentication: apiKey({ store }),
  authorization: allowAuthenticated(),
  logger: false,
});
server.addService(kindsDefinition, goodHandlers());
const { port } = await server.listen("127.0.0.1:0");
process.send?.(port);
process.once("message", async () => {
  await server.shutdown();
  await end();
  process.disconnect();
});
