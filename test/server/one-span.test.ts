// One server span and one client span, not two, beside the instrumentation of grpc-js, whichever is loaded first (U6).
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { forkProgram } from "../harness/child-process.ts";
import { kinds, paths } from "../harness/kinds.ts";
import type { Report } from "./one-span/calls.ts";

const instrumentation = "@opentelemetry/instrumentation-grpc";
const here = (file: string): string => fileURLToPath(new URL(`./one-span/${file}`, import.meta.url));

const hook = ["--import", here("esm-hook.mjs")];

describe("U6 with the instrumentation of grpc-js there is one span on each side, and no trailer is lost", () => {
  it.each([
    { program: "esm-instrumentation-first.ts", execArgv: ["--import", "tsx", ...hook] },
    { program: "esm-library-first.ts", execArgv: ["--import", "tsx", ...hook] },
    { program: "cjs-instrumentation-first.cjs", execArgv: ["--require", "tsx/cjs"] },
    { program: "cjs-library-first.cjs", execArgv: ["--require", "tsx/cjs"] },
  ])("$program", async ({ program, execArgv }) => {
    const { bare, calls } = (await forkProgram<Report>(here(program), [], execArgv)).first;
    // The control: the instrumentation is at work in this process.
    expect(bare.filter(({ kind, scope }) => kind === "SERVER" && scope === instrumentation)).toHaveLength(1);
    expect(calls.map(({ kind }) => kind)).toEqual(kinds);
    for (const { kind, code, trailer, active, spans, ofSecureClient } of calls) {
      expect({ code, trailer }).toEqual({ code: "OK", trailer: "kept" });
      const servers = spans.filter((span) => span.kind === "SERVER");
      expect(servers).toEqual([
        expect.objectContaining({ name: paths[kind as keyof typeof paths].slice(1), scope: "grpc-palisade" }),
      ]);
      expect(active).toBe(servers[0]?.id);
      const client = spans.find((span) => span.kind === "CLIENT");
      expect(client?.scope).toBe(instrumentation);
      expect(servers[0]?.parent).toBe(client?.id);
      expect(ofSecureClient.map(({ scope }) => scope)).toEqual([instrumentation]);
    }
  });
});
