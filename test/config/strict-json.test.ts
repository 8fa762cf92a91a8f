import { describe, expect, it } from "vitest";
import { repeatedNames } from "../../src/config/strict-json.ts";

describe("names that stand twice", () => {
  it.each([
    ['{"a":1,"b":2}', []],
    ['{"a":1,"a":2}', ["a"]],
    ['{"a":{"b":1,"c":2,"b":3}}', ["a.b"]],
    ['{"a":[{"b":1},{"b":2}]}', []],
    ['{"a":[{"b":1,"b":2}]}', ["a.b"]],
    ['{"a":"a","b":"a"}', []],
    ['{"a":["a","a"]}', []],
    ['{"a":1,"\\u0061":2}', ["a"]],
    ['{"a\\"b":1,"a\\"b":2}', ['a"b']],
    ['{"a":"{\\"b\\":1,\\"b\\":2}"}', []],
    ['{"__proto__":1,"__proto__":2}', ["__proto__"]],
    ['{"":1,"":2}', [""]],
    ['[{"a":{}},{"a":{}}]', []],
    ['"a"', []],
  ])("Z1 %s: %j", (text, repeated) => {
    expect(() => JSON.parse(text)).not.toThrow();
    expect(repeatedNames(text)).toEqual(repeated);
  });
});
