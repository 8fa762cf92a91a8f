// What the rules of buf.validate say of a message as a handler would get it (L7).
import { describe, expect, it } from "vitest";
import { said } from "./checks.ts";
import {
  type FieldShape,
  type FileShape,
  type MessageShape,
  type Rules,
  withExtension,
} from "./descriptor-sets.ts";

function one(type: string, rules: Rules, more: Partial<FieldShape> = {}): MessageShape {
  return { fields: { value: { type, rules, ...more } } };
}

const string = (value: NonNullable<Extract<Rules["type"], { case: "string" }>>["value"]): MessageShape =>
  one("string", { type: { case: "string", value } });
const wellKnown = (name: "email" | "uuid" | "hostname" | "ip" | "uri"): MessageShape =>
  string({ wellKnown: { case: name, value: true } });
const repeated = (type: string, value: NonNullable<Extract<Rules["type"], { case: "repeated" }>>["value"]) =>
  one(type, { type: { case: "repeated", value } }, { repeated: true });
const map = (type: string, value: NonNullable<Extract<Rules["type"], { case: "map" }>>["value"]) =>
  one(type, { type: { case: "map", value } }, { map: "string" });
const entries = (...pairs: readonly (readonly [string | number, unknown])[]): object => ({
  value: pairs.map(([key, value]) => ({ key, value })),
});

const states: FileShape = {
  enums: { State: ["UNKNOWN", "OPEN"] },
  messages: {
    Request: one("enum .t.v1.State", { type: { case: "enum", value: { definedOnly: true } } }),
  },
};
const short: Rules = { type: { case: "string", value: { maxLen: 3n } } };
/** Expressions hold groups, which hold expressions. */
const filters: FileShape = {
  messages: {
    Request: { fields: { filter: { type: ".t.v1.Expr" }, byName: { type: ".t.v1.Group", map: "string" } } },
    Expr: { fields: { field: { type: "string", rules: short }, group: { type: ".t.v1.Group" } } },
    Group: {
      fields: {
        op: { type: "string", rules: short },
        exprs: { type: ".t.v1.Expr", repeated: true },
        leaf: { type: ".t.v1.Leaf" },
      },
    },
    Leaf: { fields: { name: { type: "string", rules: short } } },
  },
};
const atMost3 = "must be at most 3 characters";
const wrapped = one(".google.protobuf.StringValue", { type: { case: "string", value: { minLen: 2n } } });
const lasting = one(".google.protobuf.Duration", {
  type: { case: "duration", value: { greaterThan: { case: "gt", value: { seconds: 5n } } } },
});
const past = one(".google.protobuf.Timestamp", {
  type: { case: "timestamp", value: { lessThan: { case: "ltNow", value: true } } },
});
const anyOf = one(".google.protobuf.Any", {
  type: { case: "any", value: { in: ["type.googleapis.com/t.v1.Answer"] } },
});
const choice: MessageShape = {
  fields: { a: { type: "string", oneof: "choice" }, b: { type: "string", oneof: "choice" } },
  required: ["choice"],
};
const nested: FileShape = {
  messages: {
    Request: { fields: { items: { type: ".t.v1.Item", repeated: true } } },
    Item: { fields: { sku: { type: "string", rules: { required: true } } } },
  },
};
const between: MessageShape = {
  fields: { first: { type: "int32" }, last: { type: "int32" } },
  rules: { cel: [{ id: "order", message: "first comes before last", expression: "this.first < this.last" }] },
};
const shout: FileShape = {
  messages: {
    Request: one("string", {
      cel: [{ id: "shout", expression: "this == this.upperAscii() ? '' : 'must be loud'" }],
    }),
  },
};

describe("L7 the rules of a message", () => {
  it.each<[string, FileShape | MessageShape, object, readonly string[]]>([
    ["required", one("string", { required: true }), {}, ["value: value is required"]],
    ["min_len", string({ minLen: 3n }), { value: "ab" }, ["value: must be at least 3 characters"]],
    ["max_len in code points", string({ maxLen: 2n }), { value: "👋👋" }, []],
    [
      "pattern",
      string({ pattern: "^[a-z]+$" }),
      { value: "A" },
      ["value: does not match regex pattern `^[a-z]+$`"],
    ],
    ["email", wellKnown("email"), { value: "ada" }, ["value: must be a valid email address"]],
    ["uuid", wellKnown("uuid"), { value: "7" }, ["value: must be a valid UUID"]],
    ["hostname", wellKnown("hostname"), { value: "-" }, ["value: must be a valid hostname"]],
    ["ip", wellKnown("ip"), { value: "1.2.3" }, ["value: must be a valid IP address"]],
    ["uri", wellKnown("uri"), { value: "a b" }, ["value: must be a valid URI"]],
    [
      "a range",
      one("int32", {
        type: {
          case: "int32",
          value: { greaterThan: { case: "gte", value: 1 }, lessThan: { case: "lt", value: 5 } },
        },
      }),
      { value: 5 },
      ["value: must be greater than or equal to 1 and less than 5"],
    ],
    [
      "a large number, as text",
      one("uint64", { type: { case: "uint64", value: { lessThan: { case: "lte", value: 2n ** 63n } } } }),
      { value: "9223372036854775809" },
      ["value: must be less than or equal to 9223372036854775808"],
    ],
    [
      "bytes",
      one("bytes", { type: { case: "bytes", value: { maxLen: 1n } } }),
      { value: Buffer.from("ab") },
      ["value: must be at most 1 bytes"],
    ],
    [
      "unique",
      repeated("int32", { unique: true }),
      { value: [1, 2, 1] },
      ["value: repeated value must contain unique items"],
    ],
    ["min_items", repeated("string", { minItems: 1n }), {}, ["value: must contain at least 1 item(s)"]],
    [
      "items",
      repeated("string", { items: { type: { case: "string", value: { minLen: 2n } } } }),
      { value: ["ab", "c"] },
      ["value[1]: must be at least 2 characters"],
    ],
    ["min_pairs", map("string", { minPairs: 1n }), {}, ["value: map must be at least 1 entries"]],
    [
      "keys, which are not repeated",
      map("string", { keys: { type: { case: "string", value: { maxLen: 3n } } } }),
      entries(["secret", "x"]),
      ["value[…]: key: must be at most 3 characters"],
    ],
    [
      "values",
      map("int32", { values: { type: { case: "int32", value: { greaterThan: { case: "gt", value: 0 } } } } }),
      entries(["secret", -1]),
      ["value[…]: must be greater than 0"],
    ],
    [
      "a key that is a number",
      one(
        "string",
        {
          type: {
            case: "map",
            value: { values: { required: true, type: { case: "string", value: { minLen: 1n } } } },
          },
        },
        { map: "int32" },
      ),
      entries([7, ""]),
      ["value[…]: must be at least 1 characters"],
    ],
    ["defined_only", states, { value: 7 }, ["value: value must be one of the defined enum values"]],
    ["a wrapper", wrapped, { value: { value: "a" } }, ["value: must be at least 2 characters"]],
    ["a wrapper that is not there", wrapped, {}, []],
    ["a duration", lasting, { value: { seconds: 1 } }, ["value: must be greater than 5s"]],
    ["a timestamp", past, { value: { seconds: 99_999_999_999 } }, ["value: must be less than now"]],
    ["Any", anyOf, { value: { type_url: "x/y" } }, ["value: type URL must be in the allow list"]],
    ["a oneof of which one is required", choice, {}, [": one of a, b must be set"]],
    ["one of a oneof", choice, { b: "x" }, []],
    ["a message in a list", nested, { items: [{ sku: "a" }, {}] }, ["items[1].sku: value is required"]],
    ["a rule of the message in CEL", between, { first: 2, last: 1 }, [": first comes before last"]],
    ["a rule of a field in CEL", shout, { value: "a" }, ["value: must be loud"]],
    [
      "a rule without a text of its own",
      { fields: { value: { type: "int32", rules: { celExpression: ["this > 1"] } } } },
      { value: 1 },
      ['value: "this > 1" returned false'],
    ],
    ["ignore always", one("string", { required: true, ignore: 3 }), {}, []],
    ["ignore if zero", one("string", { ignore: 1, type: { case: "string", value: { minLen: 2n } } }), {}, []],
  ])("L7 %s", (_what, shape, message, problems) => {
    expect(said(shape, message)).toEqual(problems);
  });

  const predefined: FileShape = {
    predefined: [
      {
        name: "starts_with_letter",
        number: 70_001,
        extendee: "StringRules",
        type: "bool",
        cel: [
          {
            id: "letter",
            message: "must start with a letter",
            expression: "!rule || this.matches('^[a-z]')",
          },
        ],
      },
    ],
    messages: {
      Request: {
        fields: {
          value: {
            type: "string",
            rules: {
              type: {
                case: "string",
                value: withExtension(70_001, { minLen: 1n }),
              },
            },
          },
        },
      },
    },
  };

  it("L7 predefined rules are found in the descriptor set", () => {
    expect(said(predefined, { value: "7" })).toEqual(["value: must start with a letter"]);
    expect(said(predefined, { value: "a7" })).toEqual([]);
  });

  it("L7 a type without rules is not looked at", () => {
    expect(said({ fields: { value: { type: "string" } } }, { value: "a" })).toBe("nothing to check");
    expect(
      said({ fields: { a: { type: "string", oneof: "c" }, b: { type: "string", oneof: "c" } } }, { a: "1" }),
    ).toBe("nothing to check");
  });

  it("L7 a rule in a type that holds itself is found", () => {
    const tree: FileShape = {
      messages: {
        Request: { fields: { root: { type: ".t.v1.Node" } } },
        Node: {
          fields: {
            children: { type: ".t.v1.Node", repeated: true },
            name: { type: "string", rules: { type: { case: "string", value: { maxLen: 1n } } } },
          },
        },
      },
    };
    expect(said(tree, { root: { children: [{ children: [{ name: "ab" }] }] } })).toEqual([
      "root.children[0].children[0].name: must be at most 1 characters",
    ]);
  });
});

describe("L7 rules of types that hold one another", () => {
  it.each<[string, object, readonly string[]]>([
    ["all good", { filter: { field: "ok", group: { op: "and", exprs: [{ field: "abc" }] } } }, []],
    ["the first type", { filter: { field: "long" } }, [`filter.field: ${atMost3}`]],
    ["the second type", { filter: { group: { op: "long" } } }, [`filter.group.op: ${atMost3}`]],
    [
      "the first type again, below the second",
      { filter: { field: "ok", group: { op: "and", exprs: [{ field: "abc" }, { field: "long" }] } } },
      [`filter.group.exprs[1].field: ${atMost3}`],
    ],
    [
      "the second type again",
      { filter: { group: { exprs: [{ group: { op: "long" } }] } } },
      [`filter.group.exprs[0].group.op: ${atMost3}`],
    ],
    [
      "what the second type holds, far down",
      { filter: { group: { exprs: [{ group: { exprs: [{ group: { leaf: { name: "long" } } }] } }] } } },
      [`filter.group.exprs[0].group.exprs[0].group.leaf.name: ${atMost3}`],
    ],
    [
      "values of a map",
      { byName: [{ key: "x", value: { exprs: [{ field: "long" }] } }] },
      [`byName[…].exprs[0].field: ${atMost3}`],
    ],
    [
      "several, each told once",
      { filter: { field: "long", group: { op: "long", exprs: [{ field: "long" }] } } },
      [`filter.field: ${atMost3}`, `filter.group.exprs[0].field: ${atMost3}`, `filter.group.op: ${atMost3}`],
    ],
  ])("L7 %s", (_what, message, expected) => {
    const answer = said(filters, message);
    expect(Array.isArray(answer) ? [...answer].sort() : answer).toEqual(expected);
  });
});

describe("L7 enumerations of proto2, which are closed", () => {
  const closed = (rules: Rules): FileShape => ({
    ...states,
    syntax: "proto2",
    messages: { Request: one("enum .t.v1.State", rules) },
  });
  it.each<[string, Rules, object, unknown]>([
    ["a number that is defined", { type: { case: "enum", value: { definedOnly: true } } }, { value: 1 }, []],
    [
      "one that is not",
      { type: { case: "enum", value: { definedOnly: true } } },
      { value: 99 },
      ["value: value must be one of the defined enum values"],
    ],
    [
      "one that is not in a list",
      { type: { case: "enum", value: { in: [1] } } },
      { value: 99 },
      ["value: must be in list [1]"],
    ],
    [
      "one that a rule in CEL refuses",
      { cel: [{ id: "x", message: "no", expression: "this == 1" }] },
      { value: 99 },
      ["value: no"],
    ],
  ])("L7 %s", (_what, rules, message, expected) => {
    expect(said(closed(rules), message, { loader: { enums: Number } })).toEqual(expected);
  });
});

describe("L7 a decoder that keeps several members of a oneof", () => {
  const shape: MessageShape = {
    fields: {
      a: { type: "string", oneof: "choice", rules: { type: { case: "string", value: { maxLen: 1n } } } },
      b: { type: "string", oneof: "choice" },
    },
  };

  it("L7 does not get a message past the rule of the one that is not last", () => {
    expect(said(shape, { a: "much too long", b: "x" })).toEqual([
      "a: must be at most 1 characters",
      ": only one of a, b can be set",
    ]);
  });
});

describe("L7 a rule that cannot be evaluated", () => {
  it("L7 refuses the message, and does not show its values", () => {
    const shape: MessageShape = {
      fields: { labels: { type: "string", map: "string" }, key: { type: "string" } },
      rules: { cel: [{ id: "label", message: "no", expression: "this.labels[this.key] != ''" }] },
    };
    const answer = said(shape, { key: "hunter2" });
    expect(answer).toMatch(
      /^Error: protovalidate: a rule of t.v1.Request cannot be evaluated for this message/,
    );
    expect(answer).not.toContain("hunter2");
  });

  it("L7 a message that its descriptors cannot read is refused", () => {
    const answer = said({ fields: { value: { type: "string", rules: { required: true } } } }, { value: "a" });
    expect(answer).toEqual([]);
  });
});

describe("L7 what the decoder makes of a message", () => {
  const shape: FileShape = {
    enums: { State: ["UNKNOWN", "OPEN"] },
    messages: {
      Request: {
        fields: {
          order_id: {
            type: "int64",
            rules: { type: { case: "int64", value: { greaterThan: { case: "gt", value: 5n } } } },
          },
          state: { type: "enum .t.v1.State", rules: { type: { case: "enum", value: { notIn: [1] } } } },
          note: {
            type: "string",
            optional: true,
            rules: { type: { case: "string", value: { minLen: 2n } } },
          },
        },
      },
    },
  };

  it.each([
    [
      "as proto-loader's users are told",
      { keepCase: true, longs: String, enums: String, defaults: true, oneofs: true },
    ],
    ["numbers", { longs: Number }],
    ["objects of Long", {}],
    ["defaults of lists and objects", { arrays: true, objects: true, defaults: true }],
  ])("L7 is validated, whichever its options: %s", (_what, loader) => {
    expect(said(shape, { order_id: 5, state: 1, note: "" }, { loader })).toEqual([
      "order_id: must be greater than 5",
      "state: must not be in list [1]",
      "note: must be at least 2 characters",
    ]);
    expect(said(shape, { order_id: 6, state: 0 }, { loader })).toEqual([]);
  });
});
