// The small examples, one for each road in: whole programs over a real socket, in a folder of their own.
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runNode } from "../harness/child-process.ts";
import { fromSource } from "../harness/from-source.ts";

const project = resolve(import.meta.dirname, "../..");
const roads = ["create-secure-server", "secure-interceptors", "to-interceptor", "nice-grpc"];

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "roads-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function run(example: string): Promise<{ readonly code: number | null; readonly output: string }> {
  const script = join(project, "examples", example, "main.ts");
  const { code, stdout, stderr } = await runNode([script], { cwd: folder, env: fromSource });
  return { code, output: stdout + stderr };
}

describe("C6 the examples of the roads in", () => {
  // One after the other: the first makes the certificates that all use.
  it.each(roads)("%s serves who may, refuses who may not, and ends by itself", async (road) => {
    const { code, output } = await run(road);
    const told = output.split("\n").filter((line) => !line.startsWith("{"));
    expect(told).toEqual([
      "shop reads: { id: '7', owner: 'shop' }",
      "shop cancels: 7 PERMISSION_DENIED: permission denied",
      "a stranger reads: 16 UNAUTHENTICATED: missing credentials",
      "",
    ]);
    expect(code).toBe(0);
  });

  it("are linked from docs/integrations.md", () => {
    const page = readFileSync(join(project, "docs/integrations.md"), "utf8");
    const linked = [...page.matchAll(/\]\(\.\.\/examples\/([\w-]+)\/main\.ts\)/g)].map(
      ([, name = ""]) => name,
    );
    expect(linked).toEqual(expect.arrayContaining(roads));
  });
});
