// Our conditions beside cel-go: the same expressions, over the same variables and inputs.
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { celWith } from "../../src/cel/cel.ts";
import { ConfigError, PolicyError } from "../../src/grpc/errors.ts";
import { type MethodInfo, methodInfo } from "../../src/grpc/method.ts";
import type { When } from "../../src/middleware/authorization/condition.ts";
import { type Difference, intendedDifferences, type Verdict } from "./cel-differences.ts";
import { randomExpressions, writtenExpressions } from "./cel-expressions.ts";
import {
  type Asked,
  askedAbout,
  askKinds,
  askUntold,
  everyKind,
  everyKindSet,
  longest,
  metadataNames,
  now,
} from "./cel-inputs.ts";
import { goProgram, moduleDirectory } from "./go-programs.ts";
import { LineProgram } from "./line-program.ts";
import { installTimeoutMs, lacks } from "./tools.ts";

interface Types {
  /** A FileDescriptorSet, in base64. */
  readonly files: string;
  readonly request: string;
}

interface Suite {
  readonly types: Types;
  readonly cases: readonly SuiteCase[];
  readonly left: readonly { readonly section: string; readonly why: string; readonly count: number }[];
}

interface SuiteCase {
  readonly name: string;
  readonly text: string;
  readonly request: string;
  /** true, false or error; empty where the suite does not check types. */
  readonly expected: string;
}

interface Question {
  readonly text: string;
  readonly asked: readonly Asked[];
}

/** How conditions are made of these expressions. */
interface Surroundings {
  readonly types: Types;
  readonly method: MethodInfo;
  readonly descriptorSet?: Uint8Array;
}

/** What came of a comparison: how often both said the same, and where they did not. */
class Tally {
  readonly counts: Record<"refused" | "true" | "false" | "error", number> = {
    refused: 0,
    true: 0,
    false: 0,
    error: 0,
  };
  readonly unexpected: string[] = [];

  get evaluations(): number {
    return this.counts.true + this.counts.false + this.counts.error;
  }

  toString(): string {
    const { refused, ...evaluated } = this.counts;
    const words = Object.entries(evaluated).map(([what, count]) => `${count} ${what}`);
    return `${this.evaluations} evaluations (${words.join(", ")}), ${refused} expressions refused by both`;
  }
}

/** Cases of the suite of which cel-go itself says something else. */
const failedByCelGo: readonly string[] = [
  // A float that is nearly 0.
  "dynamic/float/field_assign_proto3_round_to_zero",
  // One key twice, which is an error here.
  "fields/qualified_identifier_resolution/map_value_repeat_key",
  "fields/qualified_identifier_resolution/map_value_repeat_key_heterogeneous",
  // All milliseconds of a duration, and not those beside its seconds.
  "timestamps/duration_converters/get_milliseconds",
];

/** The directory of the suite's files, in the module that `go.mod` pins. */
function suiteDirectory(): string {
  const told = execFileSync("go", ["mod", "download", "-json", "cel.dev/expr"], {
    cwd: moduleDirectory,
    encoding: "utf8",
  });
  const { Dir: directory } = JSON.parse(told) as { readonly Dir: string };
  return join(directory, "tests/simple/testdata");
}

function ours({ text, asked }: Question, cel: ReturnType<typeof celWith>, { method }: Surroundings): Verdict {
  let when: When;
  try {
    when = cel(text).compile(method);
  } catch (error) {
    if (error instanceof ConfigError || error instanceof PolicyError)
      return { refused: error.problems.join("; "), results: [] };
    throw error;
  }
  const results = asked.map(({ call, message }) => {
    try {
      return String(when(call, message));
    } catch (error) {
      return `error: ${error instanceof Error ? error.message : String(error)}`;
    }
  });
  return { refused: "", results };
}

/** Only `true` lets a message pass, so what is no bool is as good as false. */
function kindOf(result: string): "true" | "false" | "error" {
  if (result.startsWith("error: ")) return "error";
  return result === "true" ? "true" : "false";
}

describe.skipIf(lacks("go"))("Z4 cel-go and our conditions", () => {
  let program: LineProgram;
  let suite: Suite;
  const kinds: Types = { files: Buffer.from(everyKindSet).toString("base64"), request: "kinds.v1.Request" };
  const met = new Map(intendedDifferences.map(({ why }) => [why, 0]));

  beforeAll(async () => {
    program = new LineProgram(await goProgram("cel"));
    suite = await program.ask<Suite>({ suite: suiteDirectory() });
  }, installTimeoutMs);
  afterAll(() => program?.end());

  async function compare(
    questions: readonly Question[],
    surroundings: Surroundings,
  ): Promise<{ readonly tally: Tally; readonly answers: readonly Difference[] }> {
    const given = await program.ask<
      readonly { readonly refused: string; readonly results: string[] | null }[]
    >({
      types: surroundings.types,
      questions: questions.map(({ text, asked }) => ({ text, inputs: asked.map(({ input }) => input) })),
    });
    vi.useFakeTimers({ toFake: ["Date"], now });
    try {
      const tally = new Tally();
      const cel = celWith({ metadata: metadataNames, descriptorSet: surroundings.descriptorSet });
      const answers = questions.map((question, place): Difference => {
        const { refused = "", results } = given[place] ?? {};
        const go = { refused, results: results ?? [] };
        return { text: question.text, go, ours: ours(question, cel, surroundings) };
      });
      for (const answer of answers) tell(answer, tally);
      return { tally, answers };
    } finally {
      vi.useRealTimers();
    }
  }

  function tell(answer: Difference, tally: Tally): void {
    const { text, go, ours } = answer;
    if (go.refused !== "" && ours.refused !== "") {
      tally.counts.refused += 1;
      return;
    }
    const isSame =
      go.refused === ours.refused &&
      go.results.every((result, i) => kindOf(result) === kindOf(ours.results[i] ?? "error: none"));
    if (isSame) {
      for (const result of go.results) tally.counts[kindOf(result)] += 1;
      return;
    }
    const intended = intendedDifferences.find(({ fits }) => fits(answer));
    if (intended !== undefined) met.set(intended.why, (met.get(intended.why) ?? 0) + 1);
    else tally.unexpected.push(`${text}\n  cel-go: ${inWords(go)}\n  here:   ${inWords(ours)}`);
  }

  function inWords({ refused, results }: Verdict): string {
    return refused === "" ? results.join(" | ") : `refused: ${refused.split("\n")[0]}`;
  }

  it("agree on the cases of the conformance suite", async () => {
    const method = methodInfo("/cases.v1.Cases/Ask", "unary", true, {
      serialize: (message) => (message instanceof Uint8Array ? message : new Uint8Array()),
    });
    const descriptorSet = Buffer.from(suite.types.files, "base64");
    const questions = suite.cases.map(({ text, request }) => {
      const bytes = Buffer.from(request, "base64");
      return { text, asked: [askedAbout({ message: bytes, method, bytes })] };
    });
    const { tally, answers } = await compare(questions, { types: suite.types, method, descriptorSet });
    expect(tally.unexpected).toEqual([]);
    const failing = suite.cases.flatMap(({ name, expected }, place) => {
      const result = answers[place]?.go.results[0];
      return expected === "" || result === undefined || kindOf(result) === expected ? [] : [name];
    });
    expect(failing).toEqual(failedByCelGo);
    process.stderr.write(`of the CEL conformance suite ${suite.cases.length} cases are asked: ${tally}\n`);
    for (const { section, why, count } of suite.left)
      process.stderr.write(`  left out: ${count} of ${section}: ${why}\n`);
    expect(tally.counts.true).toBeGreaterThan(1_100);
    expect(tally.counts.false).toBeGreaterThan(250);
    expect(tally.counts.error).toBeGreaterThan(75);
  });

  it.each([
    ["the types of proto-loader's definition", { types: kinds, method: askKinds }],
    ["descriptorSet", { types: kinds, method: askUntold, descriptorSet: everyKindSet }],
  ])("agree on each thing that the language has, by %s", async (_by, surroundings) => {
    const questions = [
      ...writtenExpressions.map((text) => ({ text, asked: everyKind })),
      { text: "request.lasts.getHours() == -2562047", asked: [longest] },
    ];
    const { tally } = await compare(questions, surroundings);
    expect(tally.unexpected).toEqual([]);
    process.stderr.write(`written expressions: ${tally}\n`);
    for (const kind of ["true", "false", "error"] as const) expect(tally.counts[kind]).toBeGreaterThan(1_500);
  });

  it.each([1, 2, 3, 4, 5, 6, 7, 8])("agree on random expressions, seed %i", async (seed) => {
    const questions = randomExpressions(seed, 500).map((text) => ({ text, asked: everyKind }));
    const { tally } = await compare(questions, { types: kinds, method: askKinds });
    expect(tally.unexpected).toEqual([]);
    process.stderr.write(`random expressions: ${tally}\n`);
    expect(tally.evaluations).toBeGreaterThan(1_500);
    for (const kind of ["true", "false", "error"] as const) expect(tally.counts[kind]).toBeGreaterThan(300);
  });

  it("differ nowhere without a reason, and each reason is needed", () => {
    expect([...met].filter(([, times]) => times === 0)).toEqual([]);
  });
});
