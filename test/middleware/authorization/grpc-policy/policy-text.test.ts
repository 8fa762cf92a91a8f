import { describe, expect, it } from "vitest";
import { ConfigError, PolicyError } from "../../../../src/grpc/errors.ts";
import {
  type GrpcPolicyOptions,
  grpcPolicy,
} from "../../../../src/middleware/authorization/grpc-policy/grpc-policy.ts";
import { acceptedTexts, refusedTexts } from "./policy-texts.ts";

function problemsOf(policy: string | object): readonly string[] {
  try {
    grpcPolicy({ policy });
  } catch (error) {
    if (error instanceof PolicyError) return error.problems;
    throw error;
  }
  return [];
}

describe("Z6 the text of a gRPC authorization policy", () => {
  it.each(refusedTexts)("is refused, with the place and what to do: $what", ({ text, says }) => {
    const problems = problemsOf(text);
    expect(problems).not.toEqual([]);
    for (const each of says)
      expect(
        problems.some((problem) => problem.startsWith("grpcPolicy: ") && problem.includes(each)),
        `${problems.join("\n")}\ndoes not say: ${each}`,
      ).toBe(true);
  });

  it.each(acceptedTexts)("is accepted: %s", (_, text) => {
    expect(problemsOf(text)).toEqual([]);
  });

  it("has every problem told at once", () => {
    const problems = problemsOf({
      deny_rules: [{}, { name: "d", request: { headers: [{ key: "te", values: ["a"] }] } }],
      allow_rules: [{ name: "a", source: { principals: [1, 2] } }],
      audit_logging_options: { audit_condition: "SOMETIMES", audit_loggers: [{}] },
    });
    expect(problems).toHaveLength(7);
  });

  it("may be an object, of which a copy is made", () => {
    const policy = { name: "p", allow_rules: [{ name: "a", source: undefined }] };
    const authorizer = grpcPolicy({ policy });
    policy.allow_rules = [];
    expect(authorizer.compile([]).warnings).toEqual([]);
  });

  it.each([
    ["a function", { deny_rules: () => [] }],
    [
      "a Map in place of a source",
      { allow_rules: [{ name: "a", source: new Map([["principals", ["x"]]]) }] },
    ],
    ["a hole in a list", { allow_rules: [{ name: "a", source: { principals: [undefined] } }] }],
    ["no number", { allow_rules: [{ name: "a", source: { principals: [Number.NaN] } }] }],
  ])("is no object that JSON cannot say: %s", (_, fields) => {
    const [problem] = problemsOf({ name: "p", allow_rules: [{ name: "a" }], ...fields });
    expect(problem).toContain("is nothing that JSON can say");
  });

  it.each([
    [{}, "expected either policy or file"],
    [{ policy: "{}", file: "x" }, "expected either policy or file"],
    [{ path: "x" }, "grpcPolicy.path: unknown option"],
    [{ policy: 7 }, "grpcPolicy.policy"],
    [{ file: "" }, "grpcPolicy.file"],
  ])("comes in options that are checked: %j", (options, says) => {
    const make = (): unknown => grpcPolicy(options as GrpcPolicyOptions);
    expect(make).toThrow(ConfigError);
    expect(make).toThrow(says);
  });

  it("nested without end is refused in linear time", () => {
    const deep = `${"[".repeat(200_000)}${"]".repeat(200_000)}`;
    const text = `{"name":"p","allow_rules":[{"name":"a"}],"audit_logging_options":{"audit_loggers":[{"name":"stdout_logger","config":{"a":${deep}}}]}}`;
    expect(problemsOf(text)).toEqual([expect.stringContaining("nested too deeply")]);
  });
});
