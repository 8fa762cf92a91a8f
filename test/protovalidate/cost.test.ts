// What a caller can make the rules cost (L7, L11): counted before a message is checked, linear in what it sends, and bounded.
import { Buffer } from "node:buffer";
import { describe, expect, it } from "vitest";
import { methodInfo } from "../../src/grpc/method.ts";
import { protovalidate } from "../../src/protovalidate/index.ts";
import { patternSize } from "../../src/protovalidate/pattern.ts";
import { cpuMs } from "../harness/cpu-time.ts";
import { ask, checkOf, said } from "./checks.ts";
import { describedBy, type FileShape, type MessageShape, type Rules } from "./descriptor-sets.ts";

const tooMuch = [": holds more than can be checked; send fewer or shorter values"];
const tooMany = [": holds more than 50000 messages, lists and maps"];

const list = (type: string, items: Rules): MessageShape => ({
  fields: { value: { type, repeated: true, rules: { type: { case: "repeated", value: { items } } } } },
});
const one = (type: string, rules: Rules): MessageShape => ({ fields: { value: { type, rules } } });
const rule = (expression: string, fields: MessageShape["fields"]): MessageShape => ({
  fields,
  rules: { cel: [{ id: "rule", message: "no", expression }] },
});
const of = (count: number, value: unknown): object => ({ value: Array.from({ length: count }, () => value) });
const text = (length: number): object => ({ value: "a".repeat(length) });

const positive: Rules = { type: { case: "int32", value: { greaterThan: { case: "gte", value: 0 } } } };
const pattern = (value: string): Rules => ({ type: { case: "string", value: { pattern: value } } });
const numbers = { value: { type: "int32", repeated: true } } as const;
const texts = { value: { type: "string" }, other: { type: "string" } } as const;

const countries = Array.from({ length: 250 }, (_, at) => `c${at}`);

const tree: FileShape = {
  messages: {
    Request: { fields: { root: { type: ".t.v1.Node" } } },
    Node: {
      fields: {
        child: { type: ".t.v1.Node" },
        name: { type: "string", rules: { type: { case: "string", value: { maxLen: 3n } } } },
      },
    },
  },
};

function deep(levels: number): object {
  let node: object = {};
  for (let i = 0; i < levels; i += 1) node = { child: node };
  return { root: node };
}

describe("L7 the rules have so many steps for a message", () => {
  it.each<[string, FileShape | MessageShape, object, unknown]>([
    ["numbers", list("int32", positive), of(40_000, 7), []],
    ["millions of numbers", list("int32", positive), of(200_000, 7), tooMuch],
    ["numbers without a rule of their own", one("int32", {}), { value: 1 }, "nothing to check"],
    [
      "numbers of which only the count is limited",
      {
        fields: {
          value: {
            type: "int32",
            repeated: true,
            rules: { type: { case: "repeated", value: { maxItems: 2_000_000n } } },
          },
        },
      },
      of(200_000, 7),
      [],
    ],
    ["numbers that break their rule", list("int32", positive), of(40_000, -1), [expect.any(String)]],
    [
      "texts that are not in a list, whose violations name the whole list",
      list("string", { type: { case: "string", value: { in: countries } } }),
      of(10_000, "x"),
      [expect.stringContaining("value[0]: must be in list [")],
    ],
    [
      "durations that are compared with a list, one after the other",
      list(".google.protobuf.Duration", {
        type: { case: "duration", value: { in: countries.map((_, at) => ({ seconds: BigInt(at) })) } },
      }),
      of(4_000, { seconds: 1_000 }),
      tooMuch,
    ],
    [
      "a text that is split into more values than it is",
      rule("this.value.split(',').all(p, p.size() <= 10 && p.trim() == p)", texts),
      { value: ",".repeat(1_000_000) },
      tooMuch,
    ],
    [
      "a short text that is split",
      rule("this.value.split(',').all(p, p.size() <= 10 && p.trim() == p)", texts),
      { value: "a,b,c" },
      [],
    ],
    [
      "the pieces of a text that are compared with one another",
      rule("this.value.split(',').all(p, this.value.split(',').exists_one(q, q == p))", texts),
      { value: "a,".repeat(2_000) },
      tooMuch,
    ],
    [
      "millions of numbers of which only the count is limited",
      {
        fields: {
          value: {
            type: "int32",
            repeated: true,
            rules: { type: { case: "repeated", value: { maxItems: 10n } } },
          },
        },
      },
      of(600_000, 7),
      tooMuch,
    ],
    [
      "numbers with a rule in CEL",
      list("int32", { cel: [{ id: "x", message: "no", expression: "this > 0 && this < 10" }] }),
      of(10_000, 7),
      [],
    ],
    [
      "more of them",
      list("int32", { cel: [{ id: "x", message: "no", expression: "this > 0 && this < 10" }] }),
      of(40_000, 7),
      tooMuch,
    ],
    [
      "times",
      list(".google.protobuf.Timestamp", {
        type: { case: "timestamp", value: { lessThan: { case: "ltNow", value: true } } },
      }),
      of(2_000, { seconds: 1 }),
      [],
    ],
    [
      "more times",
      list(".google.protobuf.Timestamp", {
        type: { case: "timestamp", value: { lessThan: { case: "ltNow", value: true } } },
      }),
      of(20_000, { seconds: 1 }),
      tooMuch,
    ],
    [
      "unique numbers",
      {
        fields: {
          value: {
            type: "int32",
            repeated: true,
            rules: { type: { case: "repeated", value: { unique: true } } },
          },
        },
      },
      { value: Array.from({ length: 50_000 }, (_, i) => i) },
      [],
    ],
    [
      "more unique numbers",
      {
        fields: {
          value: {
            type: "int32",
            repeated: true,
            rules: { type: { case: "repeated", value: { unique: true } } },
          },
        },
      },
      { value: Array.from({ length: 200_000 }, (_, i) => i) },
      tooMuch,
    ],
    [
      "unique bytes",
      {
        fields: {
          value: {
            type: "bytes",
            repeated: true,
            rules: { type: { case: "repeated", value: { unique: true } } },
          },
        },
      },
      of(4, Buffer.alloc(1_000_000)),
      tooMuch,
    ],
    [
      "a long text whose length is limited",
      one("string", { type: { case: "string", value: { maxLen: 5n } } }),
      text(4_000_000),
      ["value: must be at most 5 characters"],
    ],
    ["a long text for a pattern", one("string", pattern("^[a-z]+$")), text(200_000), []],
    ["a longer text for a pattern", one("string", pattern("^[a-z]+$")), text(1_000_000), tooMuch],
    [
      "a long text for a pattern that counts",
      one("string", pattern("^([a-z]{1,100}){1,9}[0-9]$")),
      text(2_000),
      expect.any(Array),
    ],
    [
      "a longer text for a pattern that counts",
      one("string", pattern("^([a-z]{1,100}){1,9}[0-9]$")),
      text(20_000),
      tooMuch,
    ],
    [
      "an address",
      one("string", { type: { case: "string", value: { wellKnown: { case: "uri", value: true } } } }),
      text(1_000_000),
      tooMuch,
    ],
    [
      "many addresses",
      list("string", { type: { case: "string", value: { wellKnown: { case: "email", value: true } } } }),
      of(10_000, "a".repeat(100)),
      tooMuch,
    ],
    ["a loop", rule("this.value.all(n, n >= 0)", numbers), of(5_000, 1), []],
    ["a loop over more", rule("this.value.all(n, n >= 0)", numbers), of(100_000, 1), tooMuch],
    // Quadratic: the smaller message is enough.
    ["a loop in a loop", rule("this.value.all(n, this.value.exists(m, m == n))", numbers), of(50, 1), []],
    [
      "a loop in a loop over more",
      rule("this.value.all(n, this.value.exists(m, m == n))", numbers),
      of(1_000, 1),
      tooMuch,
    ],
    ["a list in a loop", rule("this.value.all(n, n in this.value)", numbers), of(100, 1), []],
    ["a longer list in a loop", rule("this.value.all(n, n in this.value)", numbers), of(2_000, 1), tooMuch],
    ["unique in CEL", rule("this.value.unique()", numbers), of(2_000, 1), tooMuch],
    ["a list made by a loop", rule("this.value.map(n, n + 1).size() > 0", numbers), of(2_000, 1), tooMuch],
    ["matches", rule("this.value.matches('^a*$')", texts), text(100_000), []],
    ["matches with a longer text", rule("this.value.matches('^a*$')", texts), text(1_000_000), tooMuch],
    [
      "a text in a text",
      rule("!this.value.contains(this.other)", texts),
      { value: "a".repeat(5_000), other: "b" },
      [],
    ],
    [
      "a text in a longer text",
      rule("!this.value.contains(this.other)", texts),
      { value: "a".repeat(200_000), other: `${"a".repeat(100_000)}b` },
      tooMuch,
    ],
    [
      "a text that is written into the rule, in a long one",
      rule("!this.value.contains('b')", texts),
      text(1_000_000),
      [],
    ],
    ["a long text that is compared once", rule("this.value != this.other", texts), text(3_000_000), []],
    [
      "a long text in a loop",
      rule("this.list.all(n, this.value.size() > 0)", {
        list: { type: "int32", repeated: true },
        value: { type: "string" },
      }),
      { list: Array(1_000).fill(1), value: "a".repeat(100_000) },
      tooMuch,
    ],
    [
      "very many empty messages",
      {
        messages: {
          Request: { fields: { items: { type: ".t.v1.Item", repeated: true } } },
          Item: one("string", { required: true }),
        },
      },
      { items: Array.from({ length: 60_000 }, () => ({})) },
      tooMany,
    ],
    [
      "many messages",
      {
        messages: {
          Request: { fields: { items: { type: ".t.v1.Item", repeated: true } } },
          Item: one("string", { required: true }),
        },
      },
      { items: Array.from({ length: 40_000 }, () => ({})) },
      tooMuch,
    ],
    ["messages within messages", tree, deep(60), []],
    [
      "a large map",
      {
        fields: {
          value: {
            type: "string",
            map: "string",
            rules: {
              type: { case: "map", value: { keys: { type: { case: "string", value: { maxLen: 9n } } } } },
            },
          },
        },
      },
      { value: Array.from({ length: 45_000 }, (_, i) => ({ key: `k${i}`, value: "" })) },
      expect.any(Array),
    ],
    [
      "a large value of any type",
      rule("this.value == this.value", { value: { type: ".google.protobuf.ListValue" } }),
      { value: { values: Array.from({ length: 10_000 }, () => ({ number_value: 1 })) } },
      expect.any(Array),
    ],
  ])("L7 %s", (_what, shape, message, answer) => {
    expect(said(shape, message)).toEqual(answer);
  });

  it("L7 as many as the option says", () => {
    const shape = list("int32", positive);
    expect(said(shape, of(1_000, 7), { maxSteps: 1_000 })).toEqual(tooMuch);
    expect(said(shape, of(400, 7), { maxSteps: 1_000 })).toEqual([]);
    expect(said(shape, of(100_000, 7), { maxSteps: 1_000_000 })).toEqual([]);
  });

  it("L7 of the next message nothing is taken", () => {
    const { check, decoded } = checkOf(list("int32", positive));
    for (let turn = 0; turn < 2; turn += 1) {
      expect(ask(check, decoded(of(200_000, 7)))).toEqual(tooMuch);
      expect(ask(check, decoded(of(30_000, 7)))).toEqual([]);
    }
  });

  it("L7 a message that is refused for its size is refused soon", () => {
    const { check, decoded } = checkOf(rule("this.value.all(n, this.value.exists(m, m == n))", numbers));
    const message = decoded(of(300_000, 1));
    const before = cpuMs();
    expect(ask(check, message)).toEqual(tooMuch);
    // A second for what would take days.
    expect(cpuMs() - before).toBeLessThan(10_000);
  });

  it("L7 a message nested deeper than decoders go is refused", () => {
    const set = describedBy(tree);
    const bytes = (levels: number): Buffer => {
      let inner = Buffer.alloc(0);
      for (let i = 0; i < levels; i += 1) {
        const length: number[] = [];
        for (let rest = inner.length; ; rest = Math.floor(rest / 128)) {
          length.push(rest < 128 ? rest : (rest % 128) | 128);
          if (rest < 128) break;
        }
        inner = Buffer.concat([Buffer.from([10, ...length]), inner]);
      }
      return inner;
    };
    const method = methodInfo("/t.v1.Checks/Unary", "unary", true, {
      serialize: (levels) => bytes(Number(levels)),
    });
    const check = protovalidate({ descriptorSet: set }).compile(method);
    expect(ask(check, 90)).toEqual([]);
    expect(() => ask(check, 5_000)).toThrow("maximum recursion depth");
  });
});

describe("L7 the size of a pattern", () => {
  it.each([
    ["", 1],
    ["abc", 4],
    ["[a-z]{1,100}", 101],
    ["([a-z]{1,100}){1,9}", 910],
    ["[]a]{3}", 5],
    ["[^]a]{2,3}", 4],
    ["\\{3}[\\]]{5}", 10],
    ["a{0}", 2],
    ["a{2,}", 4],
    ["(", 2],
    [")a{100}", 1],
  ])("L7 %s", (written, size) => {
    expect(patternSize(written)).toBe(size);
  });
});
