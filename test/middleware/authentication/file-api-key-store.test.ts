import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ConfigError } from "../../../src/grpc/errors.ts";
import {
  type FileApiKeyStoreOptions,
  fileApiKeyStore,
} from "../../../src/middleware/authentication/file-api-key-store.ts";
import {
  issueApiKey,
  memoryApiKeyStore,
} from "../../../src/middleware/authentication/memory-api-key-store.ts";
import { eventually, keptLog } from "../../harness/secured.ts";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "palisade-key-file-"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

let files = 0;
async function fileWith(text: string): Promise<string> {
  const path = join(directory, `${files++}.json`);
  await writeFile(path, text);
  return path;
}

const { key, record } = issueApiKey({ owner: "shop", roles: ["app"] });

function problemsOf(options: unknown): readonly string[] {
  try {
    fileApiKeyStore(options as FileApiKeyStoreOptions).close();
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return error instanceof ConfigError ? error.problems : [];
  }
  return [];
}

describe("fileApiKeyStore", () => {
  it("A3 finds the records of the file by their digests, frozen", async () => {
    const store = fileApiKeyStore({ path: await fileWith(JSON.stringify([record])), logger: false });
    expect(store.find(record.digest)).toEqual(record);
    expect(Object.isFrozen(store.find(record.digest)?.roles)).toBe(true);
    expect(store.find("0".repeat(64))).toBeUndefined();
    store.close();
  });

  const foreign = "sk_live_0123456789abcdefghij";
  it.each<[what: string, text: string, problem: RegExp]>([
    ["is empty", "", /is not JSON/],
    ["is cut off", JSON.stringify([record]).slice(0, -5), /is not JSON/],
    ["is no list", JSON.stringify({ keys: [record] }), /expected a list of API key records/],
    ["holds a key in a field of its own", JSON.stringify([{ ...record, key }]), /contains an API key/],
    ["holds a key for an id", JSON.stringify([{ ...record, id: key }]), /contains an API key/],
    ["holds a key among the roles", JSON.stringify([{ ...record, roles: [key] }]), /contains an API key/],
    ["holds a key for the name of a field", JSON.stringify([{ ...record, [key]: 1 }]), /contains an API key/],
    [
      "holds a key for a digest",
      JSON.stringify([{ ...record, digest: foreign }]),
      /0\.digest: expected the SHA-256/,
    ],
    ["holds a secret field", JSON.stringify([{ ...record, secret: foreign }]), /0\.secret: unknown option/],
    ["names nobody", JSON.stringify([{ ...record, owner: "" }]), /0\.owner: expected a string/],
    [
      "has a date that is text",
      JSON.stringify([{ ...record, expiresAt: "2030" }]),
      /0\.expiresAt: expected milli/,
    ],
    ["has a record twice", JSON.stringify([record, record]), /1\.id: the same id as record 0/],
    ["misspells a revocation", JSON.stringify([{ ...record, revokd: true }]), /0\.revokd: unknown option/],
  ])(
    "A3 a file that %s is a ConfigError with its path, and nothing from it",
    async (_what, text, problem) => {
      const path = await fileWith(text);
      const problems = problemsOf({ path, logger: false });
      expect(problems[0]).toContain(path);
      expect(problems.join("\n")).toMatch(problem);
      for (const secret of [key, foreign]) expect(problems.join("\n")).not.toContain(secret);
    },
  );

  it("A3 a record that holds the very key of its digest is refused, whatever the key looks like", async () => {
    const digest = createHash("sha256").update(foreign).digest("hex");
    const path = await fileWith(JSON.stringify([{ ...record, digest, owner: foreign }]));
    expect(problemsOf({ path, logger: false })).toEqual([
      expect.stringContaining("0.owner: contains an API key"),
    ]);
    expect(() => memoryApiKeyStore([{ ...record, id: key }])).toThrow(/0\.id: contains an API key/);
  });

  it.each<[string, unknown, string]>([
    [
      "a missing file",
      { path: "/nonexistent/keys.json" },
      "fileApiKeyStore.path: cannot read /nonexistent/keys.json (ENOENT)",
    ],
    ["a directory", { path: tmpdir() }, `fileApiKeyStore.path: cannot read ${tmpdir()} (EISDIR)`],
    ["an empty path", { path: " " }, "fileApiKeyStore.path: the path is empty"],
    ["no path", {}, "fileApiKeyStore.path: "],
    ["an unknown key", { path: "x", file: "x" }, "fileApiKeyStore.file: unknown option"],
    [
      "a logger that is none",
      { path: "x", logger: console },
      "fileApiKeyStore.logger: must be a pino logger",
    ],
  ])("A3 %s is a ConfigError", (_what, options, problem) => {
    expect(problemsOf(options).some((each) => each.startsWith(problem))).toBe(true);
  });

  it("A3 a permission that meets no rule is told by its place, and its key stays good", async () => {
    const { logger, lines } = keptLog();
    const good = issueApiKey({ owner: "shop" });
    const odd = { ...record, permissions: ["order:read", "read-everything"] };
    const path = await fileWith(JSON.stringify([good.record, odd]));
    const store = fileApiKeyStore({ path, logger });
    const told = () => lines.filter(({ msg }) => msg?.includes("grant nothing"));
    expect(store.find(record.digest)).toEqual(odd);
    expect(told()).toEqual([
      expect.objectContaining({
        level: 40,
        left_out: 0,
        problems: [
          "1.permissions.1: malformed permission, which matches no rule; write resource:action, resource:* or *",
        ],
      }),
    ]);
    expect(JSON.stringify(lines)).not.toContain("read-everything");
    await writeFile(path, JSON.stringify([{ ...odd, permissions: Array(12).fill("read-everything") }]));
    await eventually(() => told().length === 2, "the line about the changed file");
    expect(store.find(record.digest)?.permissions).toHaveLength(12);
    expect(told()[1]).toMatchObject({ left_out: 2 });
    store.close();
  });

  it("A3 what is wrong with a changed file is said once, and so is that it is good again", async () => {
    const { logger, lines } = keptLog();
    const path = await fileWith(JSON.stringify([record]));
    const store = fileApiKeyStore({ path, logger });
    const next = issueApiKey({ owner: "shop" });
    const said = (part: string): number => lines.filter((line) => line.msg?.includes(part)).length;
    await writeFile(path, "garbage");
    await eventually(() => said("cannot be used") === 1, "the report");
    // The same problem, written anew, is no news.
    await writeFile(path, "more garbage");
    await writeFile(path, JSON.stringify([record, next.record]));
    await eventually(() => store.find(next.record.digest), "the new key");
    expect(said("cannot be used")).toBe(1);
    expect(said("its keys are now in use")).toBe(1);
    store.close();
  });

  it("A3 a logger that throws changes nothing", async () => {
    const path = await fileWith(JSON.stringify([record]));
    const broken = Object.assign(pino({ enabled: false }), {
      info() {
        throw new Error("the disk is full");
      },
    });
    const store = fileApiKeyStore({ path, logger: broken });
    const next = issueApiKey({ owner: "shop" });
    await writeFile(path, JSON.stringify([next.record]));
    await eventually(() => store.find(next.record.digest), "the new key");
    expect(store.find(record.digest)).toBeUndefined();
    store.close();
  });
});
