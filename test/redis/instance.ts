// One instance of a service, in a process of its own: `instance.ts <json of InstanceOptions>`. Says its port, shuts down
// on the first message, and ends by itself.
import { Redis } from "ioredis";
import { type ApiKeyRecord, apiKey } from "../../src/middleware/authentication/api-key.ts";
import { memoryApiKeyStore } from "../../src/middleware/authentication/memory-api-key-store.ts";
import { allowAuthenticated } from "../../src/middleware/authorization/allow-authenticated.ts";
import { redisRateLimitStore } from "../../src/redis/redis-rate-limit-store.ts";
import { createSecureServer } from "../../src/server/secure-server.ts";
import type { SecureServerOptions } from "../../src/server/server-options.ts";
import { goodHandlers, kindsDefinition } from "../harness/kinds.ts";
import { waitMs } from "../harness/time.ts";

export interface InstanceOptions extends Pick<SecureServerOptions, "rateLimit" | "methods" | "peer"> {
  readonly redisPort: number;
  readonly keys: readonly ApiKeyRecord[];
}

const { redisPort, keys, rateLimit, ...options } = JSON.parse(process.argv[2] ?? "{}") as InstanceOptions;

const client = new Redis({ host: "127.0.0.1", port: redisPort, enableAutoPipelining: true });
const server = createSecureServer({
  tls: { plaintext: "loopback" },
  authentication: apiKey({ store: memoryApiKeyStore(keys) }),
  authorization: allowAuthenticated(),
  logger: false,
  // Counting is what is tested: a busy machine must not be taken for a slow Redis.
  rateLimit: { ...rateLimit, store: redisRateLimitStore({ client, timeoutMs: waitMs }) },
  ...options,
});
server.addService(kindsDefinition, goodHandlers());
const { port } = await server.listen("127.0.0.1:0");
process.send?.(port);
process.once("message", async () => {
  await server.shutdown();
  client.disconnect();
  process.disconnect();
});
