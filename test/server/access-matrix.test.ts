// The policy in force, read from a server (Z3).

import { Buffer } from "node:buffer";
import { describe, expect, it } from "vitest";
import { ConfigError } from "../../src/grpc/errors.ts";
import type { AccessSummary } from "../../src/middleware/authorization/access-matrix.ts";
import { rbac } from "../../src/middleware/authorization/rbac.ts";
import { createSecureServer } from "../../src/server/secure-server.ts";
import { goodHandlers, invoke, kinds, kindsDefinition, paths } from "../harness/kinds.ts";
import { keptLog, secured, theWorld } from "../harness/secured.ts";

const policy = rbac({
  roles: { caller: {}, other: {} },
  rules: {
    [paths.unary]: "public",
    [paths.client_stream]: "authenticated",
    "/test.v1.Kinds/*": { roles: ["caller"], schemes: ["jwt"] },
  },
});

describe("Z3 accessMatrix()", () => {
  it("lists every registered method, the health service too, and what it says is so", async () => {
    await using wall = await secured({ authorization: policy });
    const { roles, methods } = wall.server.accessMatrix();
    expect(roles).toEqual(["caller", "other"]);
    expect(methods.map(({ method, access, roles: allowed }) => `${method} ${access} ${allowed}`)).toEqual([
      "/grpc.health.v1.Health/Check probe ",
      "/grpc.health.v1.Health/List authenticated ",
      "/grpc.health.v1.Health/Watch probe ",
      "/test.v1.Kinds/Unary public ",
      "/test.v1.Kinds/ClientStream authenticated ",
      "/test.v1.Kinds/ServerStream restricted caller",
      "/test.v1.Kinds/BidiStream restricted caller",
    ]);
    const client = wall.client();
    for (const kind of kinds) {
      const row = methods.find(({ method }) => method === paths[kind]);
      for (const role of roles) {
        const { name } = await invoke(client, kind, { metadata: await wall.authorized({ roles: [role] }) });
        const allowed = row?.access !== "restricted" || row.roles.includes(role);
        expect(`${kind} ${role} ${name}`).toBe(`${kind} ${role} ${allowed ? "OK" : "PERMISSION_DENIED"}`);
      }
      const stranger = await invoke(client, kind);
      expect(stranger.name).toBe(row?.access === "public" ? "OK" : "UNAUTHENTICATED");
    }
  });

  it("before listen() is a ConfigError that says what to do", async () => {
    const world = await theWorld();
    const server = createSecureServer({
      tls: { cert: Buffer.from(world.server.cert), key: Buffer.from(world.server.key) },
      authentication: {
        name: "own",
        source: "metadata",
        presents: () => false,
        authenticate: () => Promise.reject(),
      },
      authorization: policy,
      logger: false,
    });
    server.addService(kindsDefinition, goodHandlers());
    expect(() => server.accessMatrix()).toThrow(ConfigError);
    expect(() => server.accessMatrix()).toThrow(
      /^accessMatrix: called before listen\(\); call it afterwards/,
    );
  });

  it("listen() logs a summary, once, and warns of nothing", async () => {
    const { logger, lines } = keptLog();
    await using _wall = await secured({ authorization: policy, logger });
    // What this version of Node does to header fields is another matter.
    expect(lines.filter(({ msg }) => msg?.startsWith("Node ") !== true)).toEqual([
      expect.objectContaining({
        level: 30,
        msg: "access policy",
        access: {
          methods: 7,
          probes: 2,
          public: 1,
          authenticated: 2,
          restricted: 2,
          decided_at_run_time: 0,
          denied: 0,
          by_role: { caller: 2, other: 0 },
        },
      }),
      expect.objectContaining({ level: 30, msg: "listening" }),
    ]);
    const access = lines[0]?.["access"];
    const { methods, by_role: _, ...byAccess } = access as AccessSummary;
    expect(Object.values(byAccess).reduce((sum, count) => sum + count, 0)).toBe(methods);
  });
});
