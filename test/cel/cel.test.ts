// Conditions in CEL: what they read, what they say of it, and what is wrong with them when the server starts (Z4).
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { cel, celWith } from "../../src/cel/cel.ts";
import { methodsOf } from "../../src/grpc/method.ts";
import { alice, callFrom } from "../middleware/ended-call.ts";
import { serviceOf } from "../protovalidate/checks.ts";
import { describedBy } from "../protovalidate/descriptor-sets.ts";
import { ask, descriptorSet, question, said, untold } from "./question.ts";

const holds: readonly string[] = [
  "request.owner == principal.subject",
  // All 64 bits.
  "request.amount == 9223372036854775807",
  "request.amount != 9223372036854775806",
  "request.serial == 18446744073709551615u",
  "request.serial > 18446744073709551614u",
  "request.amount - 1 == 9223372036854775806",
  "request.state == 1 && request.state == conditions.v1.State.OPEN",
  "request.level == conditions.v1.Question.Level.HIGH",
  "has(request.user) && !has(request.group) && !has(request.note)",
  "request.note == ''",
  "request.parts.all(part, part.owner in ['a', 'b'])",
  "request.parts.exists(part, part.amount == 7)",
  "request.parts.exists_one(part, part.amount == 5)",
  "request.parts.map(part, part.owner) == ['a', 'b']",
  "request.parts.map(part, part.amount > 5, part.owner) == ['b']",
  "request.parts.filter(part, part.amount == 5).size() == 1",
  "request.parts.map(part, request.numbers.map(n, n)).size() == 2",
  "request.parts[1].owner == 'b'",
  "size(request.parts) == 2",
  "request.labels['region'] == 'eu' && request.labels.region == 'eu'",
  "request.labels.all(key, request.labels[key] == 'eu')",
  "!('toString' in request.labels) && !('__proto__' in request.labels) && !has(request.labels.constructor)",
  "request.numbered[7].owner == 'z'",
  "request.at == timestamp(1000) && request.at == timestamp('1970-01-01T00:16:40Z')",
  "request.at < now && now - request.at > duration('1h')",
  "request.at.getMinutes() == 16 && request.at.getHours() == 0 && request.at.getDayOfWeek() == 4",
  "request.lasts == duration('90s') && request.lasts.getMinutes() == 1",
  "request.wrapped == 'w' && request.wrapped != null",
  "request.free.n == 1 && request.free.s == 'x'",
  "request.data == b'hi' && request.data.size() == 2",
  "request.ratio > 1.0",
  "3 in request.numbers && !(4 in request.numbers)",
  "request.numbers == [1, 2, 3] && request.numbers + [4] == [1, 2, 3, 4]",
  "request.part.part.part.owner == ''",
  "request.ready ? request.owner == 'alice' : false",
  "principal.subject in request.names",
  "size(request.text) == 7 && request.text.size() == 7",
  "request.text.startsWith('gr') && request.text.endsWith('👋') && request.text.contains('üß')",
  "request.owner.matches('^al.*$') && !request.owner.matches('^l')",
  "int('12') == 12 && uint('7') == 7u && double('1.5') == 1.5 && string(7) == '7' && bool('true')",
  "'\\U0001f44b' > '\\uffff'",
  "principal.kind == 'user' && principal.scheme == 'jwt' && principal.issuer == 'https://id.example'",
  "principal.tenant == 'acme' && 'admin' in principal.roles && 'order:read' in principal.permissions",
  "principal.claims.level == 3 && principal.claims.level >= 2 && principal.claims.dept.id == 'd7'",
  "'a' in principal.claims.list && principal.claims['constructor'] == 'x' && !has(principal.claims.toString)",
  "principal.claims.nothing == null && has(principal.claims.nothing) && 'nothing' in principal.claims",
  "bool('T') && !bool('f') && string(request.at) == '1970-01-01T00:16:40Z' && int(request.ratio) == 1",
  "!has(actor.subject)",
  "method.path == '/conditions.v1.Conditions/Ask' && method.service == 'conditions.v1.Conditions'",
  "method.name == 'Ask' && method.kind == 'unary'",
  "peer.address == '192.0.2.7' && peer.secure",
  "metadata['x-region'] == 'eu' && !('x-other' in metadata) && !('authorization' in metadata)",
  // As cel-go has it, and not as the library does.
  "request.serial / 1u == 18446744073709551615u && 7u / 2u == 3u",
  "has(request.free.gone) && request.free.gone == null && 'gone' in request.free",
  "has({'a': null}.a) && 'a' in {'a': null} && !has({'a': null}.b)",
  "dyn(7.0) in request.numbered && request.numbered[dyn(7u)].owner == 'z' && !(dyn(7.5) in request.numbered)",
  "!(dyn(null) in request.labels) && !(dyn(b'region') in request.labels) && !(dyn([1]) in request.labels)",
  "size(request.wrapped) == 1 && request.wrapped.size() == 1",
  "principal.claims.list + [2] == ['a', 1, 2] && ['b'] + principal.claims.list == ['b', 'a', 1]",
  "matches(request.text, '^gr') && !matches(request.owner, 'x')",
  "request.at.getDayOfYear() == 0 && timestamp('2024-12-31T23:59:59Z').getDayOfYear() == 365",
  "string(1000000.0) == '1e+06' && string(999999.0) == '999999' && string(0.00001) == '1e-05'",
  "string(1.0 / 0.0) == '+Inf' && string(-1.0 / 0.0) == '-Inf' && string(-0.0) == '-0' && string(0.0) == '0'",
  "double('Infinity') > 1.0 && double('-inf') < 1.0 && double('nan') != double('NaN')",
  "string(timestamp('2026-03-04T05:06:07.500Z')) == '2026-03-04T05:06:07.5Z'",
  "timestamp('2026-03-04T05:06:07.5+01:30') == timestamp('2026-03-04T03:36:07.5Z')",
  "string(duration('90.500s')) == '90.5s' && string(duration('1ns')) == '0.000000001s' && string(duration('0')) == '0s'",
  "duration('1h2m3.5s') == duration('3723500ms') && duration('-1h2m') < duration('+.5s')",
  // An error is what the other operand says.
  "1 / 0 == 1 || true",
  "dyn(request.owner) != 5",
];

describe.each([
  ["the types of proto-loader's definition", { method: ask }],
  ["the types of descriptorSet", { method: untold, descriptorSet }],
  ["the bytes of descriptorSet", { method: untold, descriptorSet: readFileSync(descriptorSet) }],
])("Z4 a condition in CEL, by %s", (_by, options) => {
  it.each(holds)("Z4 holds: %s", (text) => {
    expect(said(text, question, options)).toBe(true);
    // And not because everything does.
    expect(said(`!(${text})`, question, options)).toBe(false);
  });
});

describe("Z4 a condition that cannot be answered denies", () => {
  it.each([
    ["actor.subject == 'x'", "field not found"],
    ["request.numbers[5] == 1", "out of bounds"],
    ["request.labels['none'] == ''", "field not found"],
    ["1 / (request.numbers[0] - 1) == 1", "divide by zero"],
    ["request.amount + 1 > 0", "overflow"],
    ["int(request.owner) == 1", "not a whole number"],
    ["int('') == 0", "not a whole number"],
    ["int('0x10') == 16", "not a whole number"],
    ["double('') == 0.0", "not a number"],
    ["principal.claims.none == 1", "field not found"],
    ["principal.claims.level.deep == 1", "field not found"],
    ["principal.claims.level < 'a'", "no matching overload"],
    ["request.any == 5", "Any"],
    ["metadata['x-other'] == ''", "field not found"],
    ["timestamp('soon') < now", "timestamp"],
    ["bool('yes')", "neither true nor false"],
    ["double('1e400') > 0.0", "out of range"],
    ["-9223372036854775808 % (request.numbers[0] - 2) == 0", "overflow"],
    ["request.serial / (request.serial - request.serial) == 0u", "divide by zero"],
    ["duration('') == duration('0s')", "duration: no duration"],
    ["duration('2562048h') > duration('0s')", "out of range"],
    ["timestamp('2026-02-29T00:00:00Z') < now", "not as RFC 3339"],
    ["timestamp('2026-03-04T24:00:00Z') < now", "not as RFC 3339"],
    ["timestamp('9999-12-31T23:59:59-01:00') > now", "out of range"],
    ["int(dyn(request.lasts)) == 90", "a duration is no number"],
    ["request.numbers[principal.claims.nothing] == 1", "a list is read by whole numbers"],
    ["request.numbers[dyn('0')] == 1", "a list is read by whole numbers"],
    ["request.numbers[dyn(true)] == 2", "a list is read by whole numbers"],
    ["dyn(request.part)['owner'] == 'p'", "reads lists and maps"],
    ["has(dyn(request.numbers).a)", "a list has no fields"],
    ["has(dyn(request.part).onwer)", "field not found"],
    ["dyn(request.at).seconds == 1000", "a time has no fields"],
    ["uint('-1') == 0u", "not a whole number"],
    ["int('9223372036854775808') == 0", "out of range"],
  ])("Z4 %s", (text, why) => {
    expect(said(text)).toMatch(new RegExp(`^Error: .*${why}`));
  });

  it.each([
    "request.labels[request.text] == 'x'",
    "principal.claims[request.text] == 'x'",
    "{'a': 1}[request.text] == 1",
    "{request.text: 1, request.owner: 2}.size() == 1",
    "timestamp(request.text) < now",
    "duration(request.text) == duration('1s')",
    "int(request.text) == 1",
  ])("Z4 U4 and the log does not tell what was sent: %s", (text) => {
    const answer = said(text, { text: "my diagnosis", owner: "my diagnosis", labels: { a: "b" } });
    expect(answer).toMatch(/^Error: /);
    expect(answer).not.toContain("diagnosis");
  });

  it.each(["principal.claims.level", "dyn(1)", "dyn('true')", "dyn(null)", "request.free.n"])(
    "Z4 what is no bool after all: %s",
    (text) => {
      expect(said(text)).toBe(false);
    },
  );
});

describe("Z4 what is wrong with a condition is a problem of the policy", () => {
  it.each<[string, string]>([
    [
      "request.ownr == 'a'",
      'conditions.v1.Question has no field ownr; did you mean "owner"? (at character 8)',
    ],
    [
      "request.parts.all(p, p.onwer == 'a')",
      'conditions.v1.Part has no field onwer; did you mean "owner"? (at character 23)',
    ],
    ["princpal.subject == 'a'", 'there is no variable princpal; did you mean "principal"? (at character 9)'],
    ["principal.sub == 'a'", expect.stringMatching(/^principal has no field sub; it has .*\bsubject\b/)],
    ["principal.subjct == 'a'", 'principal has no field subjct; did you mean "subject"? (at character 10)'],
    ["nothing", "there is no variable nothing (at character 1)"],
    ["request.owner", "the condition is string, not bool (at character 8)"],
    ["request", "the condition is conditions.v1.Question, not bool (at character 1)"],
    ["request.owner == 5", "== cannot take string and int (at character 15)"],
    [
      "request.serial == 5",
      "== cannot take uint and int; write an unsigned number as 5u, or convert one of them with int(…) (at character 16)",
    ],
    [
      "request.ratio > 1",
      "> cannot take double and int; write 5.0, or convert one of them with double(…) (at character 15)",
    ],
    ["request.owner == null", "== cannot take string and null (at character 15)"],
    ["request.ready && request.owner", "&& cannot take string; it takes bool (at character 1)"],
    ["!request.owner", "! cannot take string (at character 1)"],
    ["request.owner in request.numbers", "in cannot take string and list(int) (at character 15)"],
    [
      "request.owner[0] == 'a'",
      "string is neither a list nor a map, so […] cannot read it (at character 14)",
    ],
    ["request.numbers['a'] == 1", "a list is read by int, not by string (at character 16)"],
    ["request.labels[1] == 'a'", "map(string, string) is not read by int (at character 15)"],
    ["request.at.seconds == 5", "timestamp has no fields, so no seconds (at character 11)"],
    ["request.lasts.getMilliseconds() == 0", "getMilliseconds cannot take duration (at character 14)"],
    ["int(request.lasts) == 90", "int cannot take duration (at character 1)"],
    ["{1.5: 'a'}.size() == 1", "a key of a map is int, uint, bool or string, not double (at character 2)"],
    ["{null: 'a'}.size() == 1", "a key of a map is int, uint, bool or string, not null (at character 2)"],
    [
      "matches(request.text, request.owner)",
      "matches needs a pattern that stands in the condition as text (at character 30)",
    ],
    ["request.owner.all(x, true)", "a loop needs a list or a map, not string (at character 14)"],
    ["request.parts.all(x, x.owner)", "a loop tests string, not bool (at character 23)"],
    [
      "request.owner.contain('a')",
      'there is no function contain; did you mean "contains"? (at character 14)',
    ],
    ["request.owner.contains(1)", "contains cannot take string and int (at character 14)"],
    [
      "request.ready ? true : 'a'",
      "? gives either bool or string; they must be of one type (at character 1)",
    ],
    [
      "request.state == conditions.v1.State.OPNE",
      'conditions.v1.State has no value OPNE; did you mean "OPEN"? (at character 37)',
    ],
    [
      "9223372036854775808 == request.amount",
      "9223372036854775808 is more than an int holds; write 9223372036854775808u (at character 1)",
    ],
    [
      "metadata['x-regoin'] == 'eu'",
      'x-regoin is not among the names of the option metadata; did you mean "x-region"? (at character 9)',
    ],
    [
      "conditions.v1.Part{owner: 'a'} == request.part",
      "a condition cannot make messages; compare their fields (at character 1)",
    ],
    [
      "request.text.matches(request.owner)",
      "matches needs a pattern that stands in the condition as text (at character 29)",
    ],
    [
      "request.text.matches('(')",
      "the pattern is not RE2: error parsing regexp: missing closing ): `(` (at character 22)",
    ],
  ])("Z4 %s", (text, problem) => {
    expect(said(text)).toEqual([problem]);
  });

  it("Z4 every one of several mistakes", () => {
    expect(said("request.ownr == 'a' && princpal.subject == 5")).toHaveLength(2);
  });

  it("Z4 loops deeper than three, more parts than 500, and deep nesting", () => {
    const nested = ["a", "b", "c", "d"].reduceRight(
      (inner, x) => `request.numbers.exists(${x}, ${inner})`,
      "true",
    );
    expect(said(nested)).toEqual([expect.stringContaining("more than 3 loops stand within one another")]);
    const long = Array.from({ length: 200 }, () => "request.ready").join(" && ");
    expect(said(long)).toEqual([expect.stringContaining("more than 500 parts")]);
    expect(said(`${"1 - (".repeat(60)}1${")".repeat(60)} == 1`)).toEqual([
      expect.stringContaining("nested more than 50 deep"),
    ]);
  });

  it("Z4 a definition without types, and a set without the service, name descriptorSet", () => {
    expect(said("request.ready", question, { method: untold })).toEqual([
      expect.stringMatching(
        /^the definition of \/conditions\.v1\.Conditions\/Ask does not tell the type of its request; give the option descriptorSet/,
      ),
    ]);
    const shop = new URL("../generated/shop.binpb", import.meta.url).pathname;
    expect(said("request.ready", question, { method: untold, descriptorSet: shop })).toEqual([
      "descriptorSet: there is no service conditions.v1.Conditions in it",
    ]);
  });
});

describe("Z4 enumerations of proto2, which are closed", () => {
  const set = describedBy({
    syntax: "proto2",
    enums: { State: ["UNKNOWN", "OPEN"] },
    messages: { Request: { fields: { value: { type: "enum .t.v1.State" } } } },
  });
  const [method] = methodsOf(serviceOf(set, { enums: Number }));
  it.each([
    ["request.value == 99", true],
    ["has(request.value)", true],
    ["request.value == t.v1.State.UNKNOWN", false],
  ])("Z4 %s, for a number that is not defined and that the handler gets", (expression, expected) => {
    if (method === undefined) throw new Error("there is no method");
    const when = celWith({ descriptorSet: set })(expression).compile(method);
    expect(when(callFrom({ method, principal: alice }), { value: 99 })).toBe(expected);
  });
});

describe("Z4 options of cel", () => {
  it.each<[() => unknown, string]>([
    [() => cel(""), "cel: expected an expression as text that is not empty"],
    [() => cel(7 as never), "cel: expected an expression as text that is not empty"],
    [
      () => cel("request.owner = 'a'"),
      `cel: "request.owner = 'a'" is no expression: 1:15: found = but expecting`,
    ],
    [
      () => cel(String.raw`request.owner == '\q'`),
      String.raw`cel: "request.owner == '\\q'" is no expression: there is no escape \q; write a backslash as \\`,
    ],
    [() => cel(String.raw`request.data == b'\u00e9'`), String.raw`there is no escape \u00e9`],
    [() => cel(String.raw`'''a\'b''' == '\400'`), String.raw`there is no escape \4`],
    [() => cel(" ".repeat(5_000)), "cel: expected an expression"],
    [() => cel(`'${"a".repeat(5_000)}' == 'a'`), "cel: the expression is longer than 4096 characters"],
    [
      () => celWith({ metadata: ["Authorization"] }),
      "cel.metadata.0: expected the name of a header in lower case",
    ],
    [
      () => celWith({ metadata: ["authorization"] }),
      "cel.metadata.0: is a credential, which no condition may read",
    ],
    [() => celWith({ metadata: ["x-api-key"] }), "cel.metadata.0: is a credential"],
    [() => celWith({ metadata: ["trace-bin"] }), "cel.metadata.0: is binary"],
    [
      () => celWith({ descriptorSet: "nowhere.binpb" }),
      "cel.descriptorSet: nowhere.binpb cannot be read (ENOENT): check the path",
    ],
    [
      () => celWith({ descriptorSet: Buffer.from("not one") }),
      "write it with protoc --include_imports --descriptor_set_out, or buf build -o",
    ],
    [() => cel("request.owner = 'a'"), "; write == there"],
    [() => cel("true | false"), "; write || there"],
    [() => cel("(call, request) => true"), "; write it in CEL, such as request.owner == principal.subject"],
    [() => celWith({ descriptorSet: Buffer.from("not one") }), "cel.descriptorSet: is no FileDescriptorSet"],
    [
      () => celWith({ descriptors: "a" } as never),
      'cel.descriptors: unknown option; did you mean "descriptorSet"?',
    ],
  ])("Z4 %s", (make, message) => {
    expect(make).toThrow(message);
  });
});
