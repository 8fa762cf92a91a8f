// Keepalive pings of grpc-go, at the shortest interval that it and the default options allow.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connectionFlags, goProgram } from "./go-programs.ts";
import { runWell } from "./run.ts";
import { kinds, modes, type Servers, startServers } from "./servers.ts";
import { installTimeoutMs, lacks } from "./tools.ts";

describe.skipIf(lacks("go"))("grpc-go", () => {
  let servers: Servers;
  let program: string;

  beforeAll(async () => {
    program = await goProgram("calls");
    servers = await startServers();
  }, installTimeoutMs);
  afterAll(() => servers[Symbol.asyncDispose]());

  it("L3 keeps a quiet call open with a ping every 10 s, in each mode", async () => {
    const all = kinds.flatMap((kind) => modes.map((mode) => servers.server(kind, mode)));
    const reports = await Promise.all(
      all.map(async (server) => {
        const flags = ["-what", "keepalive", "-lasting", "45s"];
        const report = await runWell(program, [...(await connectionFlags(servers, server)), ...flags], {
          timeoutMs: 110_000,
        });
        return [`${server.kind} ${server.mode}`, JSON.parse(report)];
      }),
    );
    const good = all.map(({ kind, mode }) => [`${kind} ${mode}`, { ok: 1, failures: {} }]);
    expect(reports).toEqual(good);
  });
});
