// The command as a user runs it: a process of its own.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { apiKey } from "../../src/middleware/authentication/api-key.ts";
import { fileApiKeyStore } from "../../src/middleware/authentication/file-api-key-store.ts";
import { type Ended, runNode } from "../harness/child-process.ts";
import { atOnce, incomingCall } from "../middleware/authentication/incoming-call.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const run = (...args: string[]): Promise<Ended> =>
  runNode(["--import", "tsx", "src/cli/palisade.ts", "api-key", ...args], { cwd: root });

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "palisade-cli-"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

describe("palisade api-key", () => {
  it("A3 prints the key once, and a record that the file store takes", async () => {
    const { stdout } = await run(
      ...["--owner", "billing", "--id", "billing-1", "--role", "app", "--role", "reader"],
      ...["--permission", "order:read", "--tenant", "acme", "--days", "30"],
    );
    const [key = "", record = "", rest] = stdout.split("\n");
    expect(rest).toBe("");
    expect(record).not.toContain(key);
    const path = join(directory, "keys.json");
    await writeFile(path, `[${record}]`);
    const store = fileApiKeyStore({ path, logger: false });
    const { principal } = atOnce(apiKey({ store }), incomingCall({ "x-api-key": key }));
    store.close();
    expect(principal).toMatchObject({ subject: "billing", tenant: "acme", claims: { keyId: "billing-1" } });
    expect([...principal.roles, ...principal.permissions]).toEqual(["app", "reader", "order:read"]);
    const days = ((principal.expiresAt ?? 0) - Date.now()) / 86_400_000;
    expect(days).toBeGreaterThan(29.9);
    expect(days).toBeLessThanOrEqual(30);
  });

  it.each([
    [[], "usage: palisade api-key issue"],
    [["issue"], "--owner is missing"],
    [["--owner", ""], "issueApiKey.owner: expected a string"],
    [
      ["--owner", "a", "--permission", "read"],
      "issueApiKey.permissions.0: malformed permission, which matches no rule; write resource:action",
    ],
    [["--owner", "a", "--days", "soon"], "--days soon: expected a whole number"],
    [["--owner", "a", "--key", "x"], "--key"],
    [["--owner", "a", "more"], "more"],
  ])("A3 %j is an error that says why, and no key", async (args, problem) => {
    const failure: unknown = await run(...args).catch((error: unknown) => error);
    expect(failure).toMatchObject({ stdout: "", stderr: expect.stringContaining(problem) });
  });
});
