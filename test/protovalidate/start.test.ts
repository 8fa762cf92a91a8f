// A descriptor set that does not describe the methods, and rules that cannot be used, are problems when the server starts (L7).
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { describe, expect, it } from "vitest";
import { ConfigError } from "../../src/grpc/errors.ts";
import { methodInfo, methodsOf } from "../../src/grpc/method.ts";
import { protovalidate } from "../../src/protovalidate/index.ts";
import { checkOf, said, serviceOf } from "./checks.ts";
import {
  describedBy,
  type FileShape,
  type MessageShape,
  type Rules,
  setOf,
  validateFile,
  withExtension,
  withField,
} from "./descriptor-sets.ts";

const field = (type: string, rules: Rules): MessageShape => ({ fields: { value: { type, rules } } });
const cel = (expression: string, type = "int32"): MessageShape =>
  field(type, { cel: [{ id: "rule", message: "no", expression }] });
const ofMessage = (
  expression: string,
  fields: MessageShape["fields"] = { items: { type: "int32", repeated: true } },
): MessageShape => ({
  fields,
  rules: { cel: [{ id: "rule", message: "no", expression }] },
});

const good = describedBy({ messages: { Request: field("string", { required: true }) } });
const service = serviceOf(good);
const [unary] = methodsOf(service);
if (unary === undefined) throw new Error("there is no method");

function problemsOf(use: () => unknown): readonly string[] {
  try {
    use();
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

describe("L7 a descriptor set", () => {
  it.each<[string, string | Uint8Array, RegExp]>([
    [
      "a file that is not there",
      "/no/such/file.binpb",
      /^protovalidate.descriptorSet: \/no\S* cannot be read \(ENOENT\): check the path/,
    ],
    ["something else", new Uint8Array([1, 2, 3]), /^protovalidate.descriptorSet: is no FileDescriptorSet/],
    [
      "without the imports",
      withFiles(good, (name) => name !== validateFile.name),
      /is no FileDescriptorSet with all its imports \(protoc --include_imports\).*validate\.proto/,
    ],
  ])("L7 %s is a ConfigError", (_what, descriptorSet, problem) => {
    expect(() => protovalidate({ descriptorSet })).toThrow(ConfigError);
    expect(() => protovalidate({ descriptorSet })).toThrow(problem);
  });

  it.each([
    [{}, "protovalidate.descriptorSet: expected "],
    [{ descriptorSet: "" }, "protovalidate.descriptorSet: expected a string that is not empty"],
    [{ descriptorSet: good, maxStep: 1 }, 'protovalidate.maxStep: unknown option; did you mean "maxSteps"?'],
    [{ descriptorSet: good, maxSteps: 10 }, "protovalidate.maxSteps: must be at least 1000"],
  ])("L7 %j is refused", (options, problem) => {
    expect(() => protovalidate(options as never)).toThrow(problem);
  });

  it("L7 a method that is not in it is a ConfigError, with the nearest name", () => {
    const validator = protovalidate({ descriptorSet: good });
    const { request } = unary;
    if (request === undefined) throw new Error("there is no request");
    expect(() => validator.compile(methodInfo("/t.v1.Chekcs/Unary", "unary", true, request))).toThrow(
      'protovalidate.descriptorSet: there is no service t.v1.Chekcs in it; did you mean "t.v1.Checks"?',
    );
    expect(() => validator.compile(methodInfo("/t.v1.Checks/Unari", "unary", true, request))).toThrow(
      'has no method Unari; did you mean "Unary"?; /t.v1.Checks/Unari would not be checked',
    );
  });

  it("L7 a method without a service definition is a ConfigError", () => {
    const validator = protovalidate({ descriptorSet: good });
    expect(() => validator.compile(methodInfo("/t.v1.Checks/Unary", "unary", true))).toThrow(
      "protovalidate: nothing tells how /t.v1.Checks/Unary writes its request",
    );
  });
});

function withFiles(set: Uint8Array, keep: (name: string) => boolean): Uint8Array {
  const parsed = fromBinary(FileDescriptorSetSchema, set);
  parsed.file = parsed.file.filter(({ name }) => keep(name));
  return toBinary(FileDescriptorSetSchema, parsed);
}

const items: FileShape = {
  messages: {
    Request: ofMessage("this.items.all(i, i.skuu != '')", { items: { type: ".t.v1.Item", repeated: true } }),
    Item: { fields: { sku: { type: "string" } } },
  },
};

describe("L7 a rule that cannot be used is told at start", () => {
  it.each<[string, FileShape | MessageShape, string]>([
    [
      "of another type",
      field("int32", { type: { case: "string", value: { minLen: 1n } } }),
      'message t.v1.Request: expected rule "int32", got "string" on field t.v1.Request.value',
    ],
    [
      "of a pattern that is not RE2",
      field("string", { type: { case: "string", value: { pattern: "(?=a)" } } }),
      'field t.v1.Request.value: the pattern "(?=a)" is not RE2: ',
    ],
    [
      "that is no CEL",
      cel("this >"),
      "field t.v1.Request.value: the rule rule is no expression of CEL: 1:6: ",
    ],
    [
      "with an unknown variable",
      cel("thsi > 1"),
      'the rule rule in CEL: there is no variable thsi; did you mean "this"?',
    ],
    [
      "with an unknown function",
      cel("this.isEmial()", "string"),
      'there is no function isEmial; did you mean "isEmail"?',
    ],
    [
      "with an unknown field",
      ofMessage("this.itmes.size() > 0"),
      'message t.v1.Request: the rule rule in CEL: t.v1.Request has no field itmes; did you mean "items"?',
    ],
    ["with an unknown field, in a loop", items, 't.v1.Item has no field skuu; did you mean "sku"?'],
    ["with a field of what has none", cel("this.value > 1"), "what stands before .value has no fields"],
    [
      "of a pattern in CEL that is not RE2",
      cel("this == 'a' || this.matches('(?=a)')", "string"),
      'the rule rule in CEL: the pattern "(?=a)" is not RE2: ',
    ],
    [
      "of types that do not fit",
      cel("this.startsWith('a')"),
      "a rule in CEL cannot be evaluated: found no matching overload for 'startsWith'",
    ],
    [
      "that is neither true nor a text",
      cel("this + 1"),
      "a rule in CEL cannot be evaluated: expression rule outputs bigint, wanted either bool or string",
    ],
    [
      "of a pattern that the caller sends",
      ofMessage("this.a.matches(this.b)", { a: { type: "string" }, b: { type: "string" } }),
      "matches takes its pattern from the message",
    ],
    [
      "that must tell messages apart",
      field(".t.v1.Answer", { type: { case: "repeated", value: { unique: true } } }),
      "repeated.unique cannot compare messages",
    ],
    [
      "of a field that there is not",
      { fields: { a: { type: "string" } }, rules: { oneof: [{ fields: ["b"] }] } },
      'field "b" not found in message t.v1.Request',
    ],
    [
      "of a newer release",
      field("string", withField(99, { required: true })),
      "does not know the field 99 of buf.validate.FieldRules; install the release that belongs to your validate.proto",
    ],
    [
      "that extends a type without being there",
      field("string", {
        type: {
          case: "string",
          value: withExtension(70_009),
        },
      }),
      "Unknown extension for buf.validate.StringRules with number 70009",
    ],
  ])("L7 %s", (_what, shape, problem) => {
    const asList = "fields" in shape && shape.fields["value"]?.rules?.type?.case === "repeated";
    const used = asList
      ? { fields: { value: { ...shape.fields["value"], type: ".t.v1.Answer", repeated: true as const } } }
      : shape;
    const problems = said(used, {});
    expect(problems).toEqual([
      expect.stringMatching(
        /^protovalidate: checks\.proto: .*; correct it, and make the descriptor set anew$/s,
      ),
    ]);
    expect(problems).toEqual([expect.stringContaining(problem)]);
  });

  it("L7 also in a type that the request only holds", () => {
    const shape: FileShape = {
      messages: {
        Request: { fields: { a: { type: ".t.v1.A" } } },
        A: { fields: { b: { type: ".t.v1.B", map: "string" } } },
        B: cel("this >"),
      },
    };
    expect(problemsOf(() => checkOf(shape))).toEqual([expect.stringContaining("field t.v1.B.value")]);
  });

  it("L7 all of them at once", () => {
    const shape: FileShape = {
      messages: {
        Request: {
          fields: { a: { type: ".t.v1.A" }, b: { type: "int32", rules: { celExpression: ["x"] } } },
        },
        A: cel("this >"),
      },
    };
    expect(problemsOf(() => checkOf(shape))).toHaveLength(2);
  });
});

describe("L7 a rule that is right passes at start", () => {
  const all: FileShape = {
    enums: { State: ["UNKNOWN", "OPEN"] },
    messages: {
      Request: {
        fields: {
          items: { type: ".t.v1.Item", repeated: true },
          state: { type: "enum .t.v1.State" },
          at: { type: ".google.protobuf.Timestamp" },
          free: { type: ".google.protobuf.Value" },
          name: { type: "string" },
          labels: { type: "string", map: "string" },
          limit: { type: ".google.protobuf.Int32Value" },
        },
        rules: {
          cel: [
            "this.items.all(i, i.sku.size() > 0 && i.sku in ['a', 'b'])",
            "this.items.map(i, i.sku).unique()",
            "this.state == t.v1.State.OPEN || this.state == 0",
            "!has(this.at) || this.at < now",
            "this.free > 5.0",
            "this.name.matches('^[a-z]{1,10}$') || this.name.isEmail() || this.name.isIpPrefix(4, true)",
            "this.labels.all(k, this.labels[k] != '')",
            "!has(this.limit) || this.limit > 5",
            "this.items[0].sku == 'a'",
            "duration('5s') > duration('1s') && timestamp('2020-01-01T00:00:00Z') < now",
            "'%s'.format([this.name]) == this.name && this.name.trim() == this.name",
            "google.protobuf.Timestamp{seconds: 5} < now",
            "type(this.name) == string",
            "this.items.exists_one(i, i.sku == this.name) ? '' : 'no'",
          ].map((expression, index) => ({ id: `r${index}`, message: "no", expression })),
        },
      },
      Item: { fields: { sku: { type: "string" } } },
    },
  };

  it("L7 with every kind of expression", () => {
    expect(problemsOf(() => checkOf(all))).toEqual([]);
  });
});

describe("L7 a set of several services", () => {
  it("L7 is used for each", () => {
    const set = setOf(
      ...fromBinary(FileDescriptorSetSchema, good).file.filter(({ name }) => name === "checks.proto"),
    );
    expect(protovalidate({ descriptorSet: set }).compile(unary)).toBeTypeOf("function");
  });
});
