// One instance of a service, in a process of its own: `list-instance.ts <json of ListInstanceOptions>`. Says its port, revokes
// what it is told, shuts down on "stop", and ends by itself.
import { Redis } from "ioredis";
import pg from "pg";
import { jwt } from "../../../../src/middleware/authentication/jwt/jwt.ts";
import { allowAuthenticated } from "../../../../src/middleware/authorization/allow-authenticated.ts";
import { postgresRevocationList } from "../../../../src/postgres/postgres-revocation-list.ts";
import { redisRevocationList } from "../../../../src/redis/redis-revocation-list.ts";
import { createSecureServer } from "../../../../src/server/secure-server.ts";
import { goodHandlers, kindsDefinition } from "../../../harness/kinds.ts";
import type { ListOptions } from "./list-places.ts";

export interface ListInstanceOptions {
  readonly redisPort?: number;
  readonly postgresUrl?: string;
  readonly issuer: string;
  readonly jwksUri: string;
  readonly list: ListOptions;
}

/** What it is told to revoke. It answers "stored", or why it is not. */
export type Revoke = { readonly token: string; readonly expiresAt: number } | { readonly subject: string };

const options = JSON.parse(process.argv[2] ?? "{}") as ListInstanceOptions;
const { redisPort, postgresUrl, issuer, jwksUri } = options;
const list = { ...options.list, logger: false } as const;

function open() {
  if (redisPort !== undefined) {
    const client = new Redis({ host: "127.0.0.1", port: redisPort, retryStrategy: () => 20 });
    client.on("error", () => {});
    return { revocations: redisRevocationList({ client, ...list }), end: async () => client.disconnect() };
  }
  const pool = new pg.Pool({ connectionString: postgresUrl, max: 4 });
  return { revocations: postgresRevocationList({ pool, ...list }), end: () => pool.end() };
}

const { revocations, end } = open();
const server = createSecureServer({
  tls: { plaintext: "loopback" },
  authentication: jwt({ issuer, jwksUri, audience: "kinds", revocations }),
  authorization: allowAuthenticated(),
  logger: false,
});
server.addService(kindsDefinition, goodHandlers());
const { port } = await server.listen("127.0.0.1:0");
process.send?.(port);

async function stop(): Promise<void> {
  await server.shutdown();
  await end();
  process.disconnect();
}

function revoke(what: Revoke): Promise<void> {
  return "token" in what
    ? revocations.revokeToken(what.token, what.expiresAt)
    : revocations.revokeSubject(what.subject);
}

process.on("message", (message: Revoke | "stop") => {
  if (message === "stop") {
    void stop();
    return;
  }
  revoke(message).then(
    () => process.send?.("stored"),
    (error: unknown) => process.send?.(String(error)),
  );
});
