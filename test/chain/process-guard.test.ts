// Work that handlers leave behind, each in a process of its own (C3).
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { runNode } from "../harness/child-process.ts";

const server = fileURLToPath(new URL("./detached/server.ts", import.meta.url));
const fromTypeScript = ["--import", import.meta.resolve("tsx")];

interface Ended {
  readonly code: number | null;
  readonly stderr: string;
  readonly alive?: boolean;
  readonly told: readonly string[];
  readonly ids: readonly string[];
  readonly reports: readonly {
    readonly call_id?: string;
    readonly request_id?: string;
    readonly method?: string;
    readonly err?: unknown;
  }[];
}

async function run(what: string, how: string): Promise<Ended> {
  const { code, stdout, stderr } = await runNode([...fromTypeScript, server, what, how]);
  const line = stdout.split("\n").find((each) => each.startsWith("{"));
  const said: object = line === undefined ? { told: [], ids: [], reports: [] } : JSON.parse(line);
  return { code, stderr, ...said } as Ended;
}

describe("processGuard", () => {
  const left = ["timer", "immediate", "tick", "promise", "async function", "file callback", "a string"];
  it.each([...left.map((what) => [what, "OK"]), ["derived signal", "CANCELLED"]])(
    "C3 %s: the process goes on, and each failure is reported with its call's id",
    async (what, name) => {
      const { code, alive, told, ids, reports } = await run(what, "guarded");
      expect({ code, alive, told }).toEqual({ code: 0, alive: true, told: [name, name, name, name] });
      expect(ids).toHaveLength(4);
      // In what order files are read is not ours to say.
      expect(reports.map((report) => report.request_id).sort()).toEqual([...ids].sort());
      for (const report of reports) {
        expect(report.call_id).toMatch(/^[0-9a-f-]{36}$/);
        expect(report.method).toMatch(/^\/test\.v1\.Kinds\//);
        expect(JSON.stringify(report.err)).toContain("left behind");
      }
    },
  );

  it.each([
    ["timer", "unguarded", "left behind"],
    ["promise", "unguarded", "left behind"],
    ["timer", "removed", "left behind"],
    ["foreign", "guarded", "belongs to no call"],
  ])("C3 %s %s: Node ends the process as it does by default", async (what, how, message) => {
    const { code, alive, stderr } = await run(what, how);
    expect({ code, alive }).toEqual({ code: 1, alive: undefined });
    expect(stderr).toContain(`Error: ${message}`);
    expect(stderr).toContain("Node.js v");
  });
});
