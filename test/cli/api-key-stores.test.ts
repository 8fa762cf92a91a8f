// `palisade api-key` as an operator runs it, against a file, a real Redis and a real PostgreSQL.
import { chmod, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Redis } from "ioredis";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { apiKeyCommand } from "../../src/cli/api-key.ts";
import { type ApiKeyStore, apiKey } from "../../src/middleware/authentication/api-key.ts";
import { fileApiKeyStore } from "../../src/middleware/authentication/file-api-key-store.ts";
import { issueApiKey } from "../../src/middleware/authentication/memory-api-key-store.ts";
import { postgresApiKeyStore } from "../../src/postgres/postgres-api-key-store.ts";
import { redisApiKeyStore } from "../../src/redis/redis-api-key-store.ts";
import { lacks } from "../clients/tools.ts";
import { type Ended, runNode } from "../harness/child-process.ts";
import { freePort } from "../harness/free-port.ts";
import { waitMs } from "../harness/time.ts";
import { incomingCall, verdict } from "../middleware/authentication/incoming-call.ts";
import { lacksPostgres, startPostgres } from "../postgres/postgres-server.ts";
import { startRedis } from "../redis/redis-server.ts";
import { runCommandHere } from "./run-command-here.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const run = (args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ended> =>
  runNode(["--import", "tsx", "src/cli/palisade.ts", "api-key", ...args], {
    cwd: root,
    env: { ...process.env, ...env },
  });

/** The same without a process, which takes seconds to start on a busy machine. */
const runHere = (args: readonly string[], env?: Readonly<Record<string, string>>) =>
  runCommandHere(apiKeyCommand, args, env);

interface Place extends AsyncDisposable {
  /** The options that name it. */
  readonly options: readonly string[];
  /** Without the options. */
  readonly url: string;
  readonly store: ApiKeyStore;
}

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "palisade-cli-"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

async function file(): Promise<Place> {
  const path = join(directory, "keys.json");
  await writeFile(path, "[]");
  const store = fileApiKeyStore({ path, logger: false });
  return {
    options: ["--file", path],
    url: path,
    store,
    async [Symbol.asyncDispose]() {
      store.close();
    },
  };
}

async function redis(): Promise<Place> {
  const server = await startRedis();
  const client = new Redis({ host: "127.0.0.1", port: server.port });
  const store = redisApiKeyStore({ client, keyPrefix: "shop", timeoutMs: waitMs });
  const url = `redis://127.0.0.1:${server.port}`;
  return {
    options: ["--redis", url, "--key-prefix", "shop"],
    url,
    store,
    async [Symbol.asyncDispose]() {
      await store.close();
      client.disconnect();
      await server[Symbol.asyncDispose]();
    },
  };
}

async function postgres(): Promise<Place> {
  const server = await startPostgres();
  const pool = new pg.Pool({ connectionString: server.url });
  const store = postgresApiKeyStore({ pool, table: "shop_keys", timeoutMs: waitMs });
  const options = ["--postgres", server.url, "--table", "shop_keys"];
  expect(await run(["list", ...options])).toMatchObject({ code: 1, stdout: "" });
  expect(await run(["setup", ...options])).toMatchObject({ code: 0 });
  return {
    options,
    url: server.url,
    store,
    async [Symbol.asyncDispose]() {
      await store.close();
      await pool.end();
      await server[Symbol.asyncDispose]();
    },
  };
}

describe.each([
  { name: "a file", isMissing: false, start: file },
  { name: "Redis", isMissing: lacks("redis-server"), start: redis },
  { name: "PostgreSQL", isMissing: lacksPostgres(), start: postgres },
])("A3 palisade api-key with $name", ({ isMissing, start }) => {
  describe.skipIf(isMissing)("as an operator runs it", () => {
    let place: Place;
    beforeAll(async () => {
      place = await start();
    });
    afterAll(() => place[Symbol.asyncDispose]());

    const judged = (key: string): Promise<string> =>
      verdict(apiKey({ store: place.store }), incomingCall({ "x-api-key": key }));

    it("issues, lists, rotates and revokes", async () => {
      const issued = await run([
        "issue",
        ...["--owner", "shop", "--id", "shop-1", "--role", "app", "--permission", "order:read"],
        ...["--network", "127.0.0.0/8", "--network", "2001:db8::/32", "--days", "30", ...place.options],
      ]);
      expect(issued).toMatchObject({ code: 0, stderr: expect.stringContaining("issued the API key shop-1") });
      // The key alone, on its line.
      expect(issued.stdout).toMatch(/^plsd_[\w-]{43}\n$/);
      const key = issued.stdout.trim();
      await expect.poll(() => judged(key)).toBe("good: shop");

      const rotated = await run([
        ...["rotate", "shop-1", "--id", "shop-2", "--days", "60", "--overlap-days", "1", "--json"],
        ...place.options,
      ]);
      expect(rotated).toMatchObject({ code: 0, stderr: "" });
      const { key: nextKey, id, owner, roles, previous } = JSON.parse(rotated.stdout);
      expect({ id, owner, roles }).toEqual({ id: "shop-2", owner: "shop", roles: ["app"] });
      const overlap = Date.parse(previous.expiresAt) - Date.now();
      expect(overlap).toBeLessThanOrEqual(86_400_000);
      expect(overlap).toBeGreaterThan(86_400_000 - waitMs);
      await expect.poll(() => judged(nextKey)).toBe("good: shop");
      expect(await judged(key)).toBe("good: shop");

      const revoked = await run(["revoke", "shop-1", ...place.options]);
      expect(revoked).toMatchObject({ code: 0, stdout: "revoked the API key shop-1 of shop\n" });
      await expect.poll(() => judged(key)).toBe("invalid");

      const listed = await run(["list", ...place.options]);
      const [title, first, second, ...rest] = listed.stdout.split("\n");
      expect(title).toMatch(/^ID +OWNER +ROLES +PERMISSIONS +TENANT +NETWORKS +EXPIRES +REVOKED +LAST USE$/);
      expect(first).toMatch(
        /^shop-1 +shop +app +order:read +- +127.0.0.0\/8,2001:db8::\/32 +\S+Z +yes +(-|\S+Z)$/,
      );
      expect(second).toMatch(
        /^shop-2 +shop +app +order:read +- +127.0.0.0\/8,2001:db8::\/32 +\S+Z +- +(-|\S+Z)$/,
      );
      expect(rest).toEqual([""]);
      const json = await run(["list", "--json", ...place.options]);
      expect(
        JSON.parse(json.stdout).map((each: { id: string; revoked: boolean }) => [each.id, each.revoked]),
      ).toEqual([
        ["shop-1", true],
        ["shop-2", false],
      ]);
      // Neither keys nor digests.
      for (const output of [listed.stdout, json.stdout, rotated.stdout.replace(nextKey, ""), issued.stderr]) {
        expect(output).not.toMatch(/[0-9a-f]{64}/);
        expect(output).not.toContain("plsd_");
      }
    });

    it.each<[number, readonly string[], string]>([
      [1, ["issue", "--owner", "shop", "--id", "shop-1"], "is there already"],
      [1, ["revoke", "nobody's"], `no API key has the id "nobody's"`],
      [1, ["rotate", "shop-1"], "is revoked"],
      [
        1,
        ["rotate", "shop-2"],
        "Z; say when the new one ends: expiresAt, or --days with palisade api-key rotate",
      ],
      [2, ["revoke"], "revoke: give the id of one API key"],
      [2, ["revoke", "shop-1", "shop-2"], "revoke: give the id of one API key"],
      [2, ["rotate", "shop-2", "--overlap-days", "-1"], "--overlap-days"],
      [2, ["issue", "--owner", "shop", "--network", "shop.example"], "issueApiKey.networks.0"],
      [2, ["list", "more"], "more"],
    ])("ends with %i: %j", async (code, args, problem) => {
      const ended = await runHere([...args, ...place.options]);
      expect(ended).toMatchObject({ code, stdout: "", stderr: expect.stringContaining(problem) });
    });
  });
});

describe("A3 palisade api-key", () => {
  it("writes a file for its owner alone, keeps who owns one that is there, and leaves nothing beside it", async () => {
    const folder = await mkdtemp(join(directory, "file-"));
    const path = join(folder, "keys.json");
    expect(await run(["issue", "--owner", "a", "--file", path])).toMatchObject({ code: 0 });
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    const { record } = issueApiKey({ owner: "kept" });
    const shared = join(folder, "shared.json");
    await writeFile(shared, JSON.stringify([record]), { mode: 0o640 });
    const link = join(folder, "link.json");
    await symlink(shared, link);
    expect(await run(["issue", "--owner", "b", "--file", link])).toMatchObject({ code: 0 });
    expect((await stat(shared)).mode & 0o777).toBe(0o640);
    const records = JSON.parse(await readFile(shared, "utf8"));
    expect(records).toEqual([record, expect.objectContaining({ owner: "b" })]);
    expect((await readdir(folder)).sort()).toEqual(["keys.json", "link.json", "shared.json"]);
  });

  it.each<[string, string, string]>([
    ["is cut off", "[{", "is not JSON"],
    ["holds a key", `[{"key":"${issueApiKey({ owner: "a" }).key}"}]`, "contains an API key"],
    ["has a record that is none", '[{"id":"a"}]', "0.digest"],
  ])("leaves a file that %s as it is", async (_what, text, problem) => {
    const folder = await mkdtemp(join(directory, "bad-"));
    const path = join(folder, "keys.json");
    await writeFile(path, text);
    const ended = await runHere(["issue", "--owner", "a", "--file", path]);
    expect(ended).toMatchObject({ code: 1, stdout: "", stderr: expect.stringContaining(problem) });
    expect(await readFile(path, "utf8")).toBe(text);
    expect(await readdir(folder)).toEqual(["keys.json"]);
  });

  it("does not change a file in a folder where everybody may write", async () => {
    const folder = await mkdtemp(join(directory, "open-"));
    const path = join(folder, "keys.json");
    await chmod(folder, 0o777);
    const ended = await runHere(["issue", "--owner", "a", "--file", path]);
    expect(ended).toMatchObject({
      code: 1,
      stdout: "",
      stderr: expect.stringContaining("everybody may write"),
    });
    expect(await readdir(folder)).toEqual([]);
    // As in the folder for temporary files: nobody renames what is another's.
    await chmod(folder, 0o1777);
    expect(await runHere(["issue", "--owner", "a", "--file", path])).toMatchObject({ code: 0 });
  });

  it("shows no control characters of a record to a terminal", async () => {
    const path = join(directory, "escapes.json");
    const { record } = issueApiKey({ owner: "shop\u001b[2J", id: "one\u009b31m" });
    await writeFile(path, JSON.stringify([record]));
    for (const args of [["rotate", record.id, "--id", "two\u001b]0;x"], ["list"], ["revoke", record.id]]) {
      const { code, stdout, stderr } = await runHere([...args, "--file", path]);
      expect(code, stderr).toBe(0);
      expect(`${stdout}${stderr}`.replaceAll("\n", "")).not.toMatch(/\p{Cc}/u);
    }
  });

  it("does not change a file that another process is changing", async () => {
    const path = join(directory, "busy.json");
    await writeFile(path, "[]");
    await writeFile(`${path}.unfinished`, "");
    const ended = await runHere(["issue", "--owner", "a", "--file", path]);
    expect(ended).toMatchObject({ code: 1, stdout: "", stderr: expect.stringContaining("another process") });
    expect(await readFile(path, "utf8")).toBe("[]");
  });

  it("takes the store from the environment, so that a password is not in the list of processes", async () => {
    const path = join(directory, "environment.json");
    const env = { PALISADE_API_KEY_STORE: path };
    expect(await run(["issue", "--owner", "shop"], env)).toMatchObject({ code: 0 });
    expect((await run(["list", "--json"], env)).stdout).toContain('"owner":"shop"');
  });

  const secret = "s3cr3t-password";
  it.each([
    ["--redis", "redis", "ECONNREFUSED"],
    ["--postgres", "postgres", "ECONNREFUSED"],
  ])("says that a server is away, and not its password: %s", async (option, scheme, problem) => {
    const port = await freePort();
    const url = `${scheme}://palisade:${secret}@127.0.0.1:${port}/0`;
    for (const ended of [
      await run(["list", option, url]),
      await run(["list"], { PALISADE_API_KEY_STORE: url }),
    ]) {
      expect(ended).toMatchObject({ code: 1, stdout: "", stderr: expect.stringContaining(problem) });
      expect(ended.stderr).not.toContain(secret);
    }
  });

  it.each<[readonly string[], Readonly<Record<string, string>>, string]>([
    [["list"], {}, "no store: give --file, --redis or --postgres"],
    [["list", "--file", "a", "--redis", "redis://x"], {}, "give one of them"],
    [["list", "--redis", `http://:${secret}@x`], {}, "--redis: expected a URL"],
    [["list", "--postgres", `localhost:${secret}`], {}, "--postgres: expected a URL"],
    [["list"], { PALISADE_API_KEY_STORE: `mysql://:${secret}@x` }, "PALISADE_API_KEY_STORE: expected a URL"],
    [["list"], { PALISADE_API_KEY_STORE: `Redis://u:${secret}@x` }, "--redis: expected a URL"],
    [
      ["list"],
      { PALISADE_API_KEY_STORE: `postgres+ssl://u:${secret}@x` },
      "PALISADE_API_KEY_STORE: expected a URL",
    ],
    [["list"], { PALISADE_API_KEY_STORE: `mysql:u:${secret}@x` }, "PALISADE_API_KEY_STORE: expected a URL"],
    [["list", "--file", `redis://u:${secret}@x`], {}, "--file: expected the path of a file, not a URL"],
    [["list", "--file", `postgres:u:${secret}@x`], {}, "--file: expected the path of a file, not a URL"],
    [["list", "--file", "a", "--table", "b"], {}, "--table: is for a store in PostgreSQL"],
    [["list", "--file", "a", "--key-prefix", "b"], {}, "--key-prefix: is for a store in Redis"],
    [["setup", "--file", "a"], {}, "only PostgreSQL needs it"],
    [["remove", "shop-1"], {}, 'unknown command "remove"'],
    [["constructor"], {}, 'unknown command "constructor"'],
  ])("ends with 2: %j %j", async (args, env, problem) => {
    const ended = await runHere(args, env);
    expect(ended).toMatchObject({ code: 2, stdout: "", stderr: expect.stringContaining(problem) });
    expect(ended.stderr).not.toContain(secret);
  });
});
