import { execFileSync } from "node:child_process";
import { mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { PolicyError } from "../../../../src/grpc/errors.ts";
import { methodInfo } from "../../../../src/grpc/method.ts";
import type { Authorizer } from "../../../../src/middleware/authorization/authorizer.ts";
import { grpcPolicy } from "../../../../src/middleware/authorization/grpc-policy/grpc-policy.ts";
import { eventually } from "../../../harness/secured.ts";
import { callOf } from "./naive.ts";

const path = "/shop.v1.Orders/Get";
const methods = [methodInfo(path, "unary", true)];
const open = JSON.stringify({ name: "open", allow_rules: [{ name: "everybody" }] });
const closed = JSON.stringify({
  name: "closed",
  deny_rules: [{ name: "everybody" }],
  allow_rules: [{ name: "everybody" }],
});

function problemsOf(authorizer: Authorizer): readonly string[] {
  try {
    authorizer.compile(methods);
  } catch (error) {
    if (error instanceof PolicyError) return error.problems;
    throw error;
  }
  return [];
}

function ruleOf(authorizer: Authorizer): unknown {
  const decision = authorizer
    .compile(methods)
    .forMethod(path)
    ?.decide(callOf({ path, headers: [] }));
  return decision !== undefined && "rule" in decision ? decision.rule : undefined;
}

describe("Z6 the file of a gRPC authorization policy", () => {
  let directory: string;
  let file: string;
  const stops: (() => void)[] = [];

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "palisade-policy-"));
    file = join(directory, "policy.json");
  });
  afterEach(() => {
    for (const stop of stops.splice(0)) stop();
    rmSync(directory, { recursive: true, force: true });
  });

  /** Compiles as a server does: at the start and after each change, keeping the last good policy. */
  function server(authorizer: Authorizer): { rule: unknown; compiled: number; problems: readonly string[] } {
    const state = { rule: ruleOf(authorizer), compiled: 1, problems: [] as readonly string[] };
    const stop = authorizer.onChange?.(() => {
      state.compiled += 1;
      state.problems = problemsOf(authorizer);
      if (state.problems.length === 0) state.rule = ruleOf(authorizer);
    });
    if (stop !== undefined) stops.push(stop);
    return state;
  }

  it("is read by each compile", () => {
    writeFileSync(file, open);
    const authorizer = grpcPolicy({ file });
    expect(ruleOf(authorizer)).toBe("open_everybody");
    writeFileSync(file, closed);
    expect(ruleOf(authorizer)).toBe("closed_everybody");
  });

  it("is named in each problem, with the rule", () => {
    writeFileSync(
      file,
      JSON.stringify({
        name: "p",
        allow_rules: [{ name: "ops", request: { headers: [{ key: "host", values: ["a"] }], path: [] } }],
      }),
    );
    expect(problemsOf(grpcPolicy({ file }))).toEqual([
      `${file}: allow_rules[0] "ops": request.path: no such field; did you mean "paths"?`,
      expect.stringMatching(
        /policy\.json: allow_rules\[0\] "ops": request\.headers\[0\]\.key: "host" cannot be matched: .*compare another header/,
      ),
    ]);
  });

  it("that cannot be read is a problem with its path: missing, a directory, a pipe, too large", () => {
    expect(problemsOf(grpcPolicy({ file }))).toEqual([
      expect.stringContaining(`${file}: cannot be read (ENOENT): check the path`),
    ]);
    expect(problemsOf(grpcPolicy({ file: directory }))).toEqual([
      expect.stringContaining(`${directory}: is not a file`),
    ]);
    execFileSync("mkfifo", [file]);
    expect(problemsOf(grpcPolicy({ file }))).toEqual([expect.stringContaining(`${file}: is not a file`)]);
    rmSync(file);
    writeFileSync(file, " ".repeat(4 * 1024 * 1024 + 1));
    expect(problemsOf(grpcPolicy({ file }))).toEqual([
      expect.stringContaining(`${file}: is larger than 4 MiB`),
    ]);
    writeFileSync(file, open.padEnd(4 * 1024 * 1024));
    expect(problemsOf(grpcPolicy({ file }))).toEqual([]);
  });

  it.each([
    ["written in place", (text: string) => writeFileSync(file, text)],
    [
      "renamed over",
      (text: string) => {
        writeFileSync(`${file}.new`, text);
        renameSync(`${file}.new`, file);
      },
    ],
    [
      "swapped by a symbolic link",
      (text: string) => {
        writeFileSync(join(directory, "next.json"), text);
        symlinkSync("next.json", join(directory, "link"));
        renameSync(join(directory, "link"), file);
      },
    ],
  ])("is told of when it is %s", async (_, replace) => {
    writeFileSync(file, open);
    const state = server(grpcPolicy({ file }));
    expect(state.rule).toBe("open_everybody");
    replace(closed);
    await eventually(() => state.rule === "closed_everybody", "the new policy");
    expect(state.problems).toEqual([]);
  });

  it("that cannot be used is told of, and so is that it is good again; the last good policy stays meanwhile", async () => {
    writeFileSync(file, open);
    const state = server(grpcPolicy({ file }));
    writeFileSync(file, "{");
    await eventually(() => state.problems.length > 0, "the problem");
    expect(state.problems).toEqual([expect.stringContaining(`${file}: not JSON`)]);
    expect(state.rule).toBe("open_everybody");
    writeFileSync(file, open);
    await eventually(() => state.problems.length === 0, "the end of the problem");
    expect(state.rule).toBe("open_everybody");
  });

  it("is not told of where it says the same, nor after the end of watching", async () => {
    writeFileSync(file, open);
    const authorizer = grpcPolicy({ file });
    const [watched, stopped] = [server(authorizer), server(authorizer)];
    stops.pop()?.();
    writeFileSync(file, open);
    writeFileSync(file, closed);
    await eventually(() => watched.rule === "closed_everybody", "the new policy");
    // In place: it may have been seen empty, and good again, between the two.
    expect(watched.compiled).toBeLessThanOrEqual(4);
    expect(stopped).toEqual({ rule: "open_everybody", compiled: 1, problems: [] });
  });

  it("a listener that throws ends nothing", async () => {
    writeFileSync(file, open);
    const authorizer = grpcPolicy({ file });
    authorizer.compile(methods);
    let told = 0;
    const stop = authorizer.onChange?.(() => {
      told += 1;
      throw new Error("a listener's own mistake");
    });
    if (stop !== undefined) stops.push(stop);
    writeFileSync(file, closed);
    await eventually(() => told >= 1, "the first change");
    const before = told;
    writeFileSync(file, open);
    await eventually(() => told > before, "the second change");
  });

  it("a policy that is given has nothing to watch", () => {
    expect(grpcPolicy({ policy: open }).onChange).toBeUndefined();
  });
});
