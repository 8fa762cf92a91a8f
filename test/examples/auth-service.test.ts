import { mkdtemp, rm, stat } from "node:fs/promises";
import { isBuiltin } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import packageJson from "../../package.json" with { type: "json" };
import { lacks } from "../clients/tools.ts";
import { type Ended, runNode } from "../harness/child-process.ts";
import { lacksPostgres, startPostgres } from "../postgres/postgres-server.ts";
import { startRedis } from "../redis/redis-server.ts";

const project = fileURLToPath(new URL("../../", import.meta.url));

function runDemo(environment: Readonly<Record<string, string>> = {}): Promise<Ended> {
  const script = join(project, "examples/auth-service/start.ts");
  return runNode(["--import", import.meta.resolve("tsx"), script], {
    cwd: project,
    env: { ...process.env, ...environment },
  });
}

function expectAllAsExpected({ stdout, stderr, code }: Ended, where: string): void {
  const rows = stdout.split("\n").filter((line) => /^ ?\d+ {2}\S/.test(line));
  expect(
    rows.filter((row) => !/ {2}ok( |$)/.test(row)),
    stderr,
  ).toEqual([]);
  expect(rows.length).toBeGreaterThanOrEqual(20);
  expect(stdout).toContain(
    `${rows.length} of ${rows.length} as expected; users, sessions and keys are ${where}`,
  );
  expect(code).toBe(0);
}

describe("S1 npm run example:auth", () => {
  it("S1 makes at least twenty calls to three services, each as expected, with nothing installed", async () => {
    // What it does once it has built: other tests are using what is built.
    expect(packageJson.scripts["example:auth"]).toBe(
      "npm run --silent build && tsx examples/auth-service/start.ts",
    );
    expectAllAsExpected(await runDemo(), "in memory");
  });

  it.skipIf(lacksPostgres() || lacks("redis-server"))(
    "S1 does the same on PostgreSQL and Redis",
    async () => {
      await using postgres = await startPostgres();
      await using redis = await startRedis();
      const ended = await runDemo({
        AUTH_POSTGRES_URL: postgres.url,
        AUTH_REDIS_URL: `redis://127.0.0.1:${redis.port}`,
      });
      expectAllAsExpected(ended, "in PostgreSQL and Redis");
    },
  );

  if (isBuiltin("node:sqlite")) {
    it("S1 does the same on an SQLite file, again and again", async () => {
      const folder = await mkdtemp(join(tmpdir(), "palisade-auth-"));
      const path = join(folder, "auth.db");
      try {
        for (const _ of ["new", "there already"])
          expectAllAsExpected(await runDemo({ AUTH_SQLITE: path }), "in SQLite");
        // It has password hashes.
        expect((await stat(path)).mode & 0o777).toBe(0o600);
      } finally {
        await rm(folder, { recursive: true });
      }
    });
  } else {
    it("S1 says so where this Node.js has no SQLite", async () => {
      const { code, stderr } = await runDemo({ AUTH_SQLITE: "auth.db" });
      expect(stderr).toContain("AUTH_SQLITE needs Node.js 24");
      expect(code).toBe(1);
    });
  }

  it("S1 says so where only one of the two variables is set", async () => {
    const { code, stderr } = await runDemo({ AUTH_REDIS_URL: "redis://127.0.0.1:1" });
    expect(stderr).toContain("set both AUTH_POSTGRES_URL and AUTH_REDIS_URL, or neither");
    expect(code).toBe(1);
  });
});
