// What a caller can make a condition cost: linear in what it sends, and bounded (Z4, L11).
import { create, toBinary } from "@bufbuild/protobuf";
import { StringValueSchema } from "@bufbuild/protobuf/wkt";
import { describe, expect, it } from "vitest";
import { contains } from "../../src/cel/functions.ts";
import { cpuMs } from "../harness/cpu-time.ts";
import { said } from "./question.ts";

const tooMuch = "Error: it needs more than 100000 steps for this request";

const numbers = (count: number): object => ({ numbers: Array.from({ length: count }, (_, i) => i) });
const parts = (count: number): object => ({
  parts: Array.from({ length: count }, (_, i) => ({ owner: `owner ${i}` })),
});

/** An Any with a part, whose owner has so many characters. */
function anyPart(length: number): object {
  const value = toBinary(StringValueSchema, create(StringValueSchema, { value: "a".repeat(length) }));
  // The owner of a part has the number of a wrapper's value.
  return { type_url: "type.googleapis.com/conditions.v1.Part", value: Buffer.from(value) };
}

const same = { part: { owner: "a" }, parts: [{ owner: "a" }] };

describe("Z4 a condition has so many steps for a message", () => {
  it.each<[string, object, unknown]>([
    ["request.numbers.all(n, n >= 0)", numbers(1_000), true],
    ["request.numbers.all(n, n >= 0)", numbers(100_000), tooMuch],
    // Quadratic: the smaller message is enough.
    ["request.numbers.all(n, request.numbers.exists(m, m == n))", numbers(50), true],
    ["request.numbers.all(n, request.numbers.exists(m, m == n))", numbers(1_000), tooMuch],
    ["request.parts.all(p, request.parts.exists(q, q == p))", parts(1_000), tooMuch],
    ["request.numbers.all(n, n in request.numbers)", numbers(100), true],
    ["request.numbers.all(n, n in request.numbers)", numbers(2_000), tooMuch],
    ["-1 in request.numbers", numbers(50_000), false],
    ["-1 in request.numbers", numbers(200_000), tooMuch],
    ["request.numbers.map(n, n + 1).size() == 5000", numbers(5_000), true],
    ["request.numbers.map(n, [n]).exists(l, l[0] == 4999)", numbers(5_000), true],
    [
      "request.numbers.map(n, request.numbers.map(m, request.text)).size() > 0",
      { ...numbers(1_000), text: "a" },
      tooMuch,
    ],
    ["request.numbers.all(n, request.part == request.parts[0])", { ...numbers(500), ...same }, true],
    [
      "request.numbers.all(n, request.part == request.parts[0])",
      { ...numbers(500), ...same, text: "a".repeat(100_000) },
      tooMuch,
    ],
    [
      "request.numbers.exists(n, request.text.contains('b'))",
      { ...numbers(500), text: "a".repeat(100_000) },
      tooMuch,
    ],
    ["request.text.matches('^(a+)+$')", { text: "a".repeat(20_000) }, true],
    ["request.text.matches('^(a+)+$')", { text: "a".repeat(1_000_000) }, tooMuch],
    // An Any is unpacked for each of its fields that is read.
    ["request.numbers.all(n, request.any.owner != 'b')", { ...numbers(500), any: anyPart(10) }, true],
    ["request.numbers.all(n, request.any.owner != 'b')", { ...numbers(500), any: anyPart(100_000) }, tooMuch],
    ["request.numbers.all(n, has(request.any.owner))", { ...numbers(500), any: anyPart(100_000) }, tooMuch],
    [
      "request.numbers.all(n, request.any['owner'] != 'b')",
      { ...numbers(500), any: anyPart(100_000) },
      tooMuch,
    ],
    // An error in one operand does not hide it from the other.
    ["request.numbers.all(n, n >= 0) || true", numbers(100_000), tooMuch],
    ["true || request.numbers.all(n, n >= 0)", numbers(100_000), true],
    ["request.numbers.all(n, n >= 0) ? true : true", numbers(100_000), tooMuch],
  ])("Z4 %s", (text, about, answer) => {
    expect(said(text, about)).toBe(answer);
  });

  it("Z4 a request of very many messages is not written again, however small they are", () => {
    const many = (count: number) => ({ parts: Array.from({ length: count }, () => ({})) });
    expect(said("request.owner == ''", many(40_000))).toBe(true);
    expect(said("request.owner == ''", many(60_000))).toBe(
      "Error: the request holds more than 50000 messages",
    );
  });

  it("Z4 of the next message nothing is taken", () => {
    expect(said("request.numbers.all(n, n >= 0)", numbers(100_000))).toBe(tooMuch);
    expect(said("request.numbers.all(n, n >= 0)", numbers(10))).toBe(true);
  });
});

/** Processor time of the work at each size, for one of its characters; the least of several. */
function perCharacterMs(size: number, work: (text: string) => unknown): number {
  let least = Number.POSITIVE_INFINITY;
  for (let turn = 0; turn < 5; turn += 1) {
    const text = "a".repeat(size + turn);
    const before = cpuMs();
    work(text);
    least = Math.min(least, cpuMs() - before);
  }
  return least / size;
}

/** Below this nothing is compared: no linear work is as slow on any machine. */
const fastEnoughMs = 5e-3;

describe("Z4 no function of a condition is slower than linear", () => {
  it.each<[string, (text: string) => unknown]>([
    [
      "a pattern that backtracking takes exponential time for",
      (text) => said("request.text.matches('^(a+)+$')", { text: `${text}!` }),
    ],
    ["a pattern with many ways", (text) => said("request.text.matches('^(a|aa|a?a?a)*b$')", { text })],
    ["a part that nearly stands everywhere", (text) => contains(text, `b${"a".repeat(text.length / 2)}`)],
    ["a part that ends otherwise", (text) => contains(text, `${"a".repeat(text.length / 2)}b`)],
    ["the size of a text", (text) => said("size(request.text) > 0", { text })],
    ["the order of texts", (text) => said("request.text < request.owner", { text, owner: `${text}a` })],
  ])("Z4 %s", (_what, work) => {
    const sizes = [2_000, 8_000, 24_000];
    for (const size of sizes) {
      const ms = perCharacterMs(size, work);
      // A quadratic search of the largest takes twelve times as long for a character as of the smallest.
      if (ms > fastEnoughMs) expect(ms).toBeLessThan(8 * perCharacterMs(2_000, work));
    }
  });

  it("Z4 a part of a long text is found, or not, in the time that reading it takes", () => {
    const text = "a".repeat(400_000);
    const before = cpuMs();
    // V8's own search compares half of it at each of 200,000 places.
    const part = `${"a".repeat(100_000)}b${"a".repeat(100_000)}`;
    expect(contains(text, part)).toBe(false);
    expect(contains(`${text}b${text}`, part)).toBe(true);
    // It takes milliseconds.
    expect(cpuMs() - before).toBeLessThan(5_000);
  });

  it("Z4 a part is found where it stands", () => {
    const around = "ab".repeat(400_000);
    for (const part of ["aba", "abab", "abb", "", "b", around, `${around}a`])
      for (const text of [around, `${around}b`, `x${around}aab`])
        expect(contains(text, part)).toBe(text.includes(part));
  });
});
