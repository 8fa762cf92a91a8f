import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { cel } from "../../../src/cel/cel.ts";
import { ConfigError, PolicyError } from "../../../src/grpc/errors.ts";
import { methodInfo } from "../../../src/grpc/method.ts";
import { comparePolicies } from "../../../src/middleware/authorization/compare-policies.ts";
import { rbac } from "../../../src/middleware/authorization/rbac.ts";
import { rbacFile } from "../../../src/middleware/authorization/rbac-file.ts";
import { ask, decoded, encoded } from "../../cel/question.ts";
import { alice, callFrom } from "../ended-call.ts";

const get = methodInfo("/orders.v1.Orders/GetOrder", "unary", true);
const cancel = methodInfo("/orders.v1.Orders/CancelOrder", "unary", true);
const methods = [get, cancel];

const good = {
  roles: { viewer: { permissions: ["order:read"] }, admin: { permissions: ["*"], inherits: ["viewer"] } },
  rules: {
    "/orders.v1.Orders/*": { permissions: ["order:read"] },
    "/orders.v1.Orders/CancelOrder": { roles: ["admin"], schemes: ["jwt"], actor: "any" },
  },
} as const;

let directory: string;
let path: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "palisade-policy-"));
  path = join(directory, "policy.json");
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** The problems that a server would not start with. */
function problemsOf(text: string | Buffer): readonly string[] {
  writeFileSync(path, text);
  try {
    rbacFile({ path }).compile(methods);
  } catch (error) {
    expect(error).toBeInstanceOf(PolicyError);
    return error instanceof PolicyError ? error.problems : [];
  }
  return [];
}

describe("Z4 rbacFile with conditions", () => {
  const owner = "request.owner == principal.subject";
  const clerk = { roles: ["clerk"], when: owner };
  const write = (rule: unknown = clerk): void =>
    writeFileSync(path, JSON.stringify({ roles: { clerk: {} }, rules: { [ask.path]: rule } }));

  it("Z4 is the same policy as in code", () => {
    write();
    const inCode = rbac({
      roles: { clerk: {} },
      rules: { [ask.path]: { ...clerk, when: cel(owner) } },
    }).compile([ask]);
    const inFile = rbacFile({ path, condition: cel }).compile([ask]);
    const described = inFile.forMethod(ask.path)?.describe?.();
    expect(described).toEqual(inCode.forMethod(ask.path)?.describe?.());
    expect(described).toMatchObject({ conditions: [owner] });
  });

  it("Z4 decides each message by the condition", async () => {
    write();
    const policy = rbacFile({ path, condition: cel }).compile([ask]).forMethod(ask.path);
    const call = callFrom({ method: ask, principal: { ...alice, roles: new Set(["clerk"]) } });
    expect(await policy?.decide(call)).toMatchObject({ effect: "allow" });
    const of = (name: string) => policy?.decideMessage?.(call, decoded(encoded({ owner: name })));
    expect(await of(alice.subject)).toMatchObject({ effect: "allow", rule: ask.path });
    expect(await of("bob")).toMatchObject({
      effect: "deny",
      reason: `the condition on the request (when: ${owner}) does not hold`,
    });
  });

  it("Z4 takes functions that the option makes, and asks for each text once", () => {
    write({ when: owner });
    const texts: string[] = [];
    const condition = (text: string) => {
      texts.push(text);
      return () => true;
    };
    const policy = rbacFile({ path, condition }).compile([ask]).forMethod(ask.path);
    expect(texts).toEqual([owner]);
    expect(policy?.decideMessage).toBeDefined();
  });

  it("Z4 shows what a changed condition changes", () => {
    write();
    const other = join(directory, "other.json");
    const stricter = `${owner} && request.ready`;
    writeFileSync(
      other,
      JSON.stringify({ roles: { clerk: {} }, rules: { [ask.path]: { ...clerk, when: stricter } } }),
    );
    const [before, after] = [path, other].map((each) => rbacFile({ path: each, condition: cel }));
    if (before === undefined || after === undefined) throw new Error("there are two");
    const { changes } = comparePolicies(before, after, [ask]);
    expect(changes).toMatchObject([
      { direction: "changed", role: "clerk", what: "conditions", before: owner, after: stricter },
    ]);
    expect(comparePolicies(before, rbacFile({ path, condition: cel }), [ask]).isEmpty).toBe(true);
  });
});

describe("rbacFile", () => {
  it("Z1 is the same policy as in code", () => {
    writeFileSync(path, JSON.stringify({ $schema: "./rbac.schema.json", ...good }));
    const { rules } = good;
    const inCode = rbac({ roles: good.roles, rules }).compile(methods);
    const inFile = rbacFile({ path }).compile(methods);
    expect(inFile.roles).toEqual(inCode.roles);
    for (const method of methods)
      expect(inFile.forMethod(method.path)?.describe?.()).toEqual(
        inCode.forMethod(method.path)?.describe?.(),
      );
  });

  const changed = (change: object): string => JSON.stringify({ ...good, ...change });
  const withRule = (rule: unknown): string =>
    changed({ rules: { ...good.rules, "/orders.v1.Orders/GetOrder": rule } });

  it.each<[string, string | Buffer, RegExp]>([
    ["nothing", "", /not JSON/],
    ["half of it", JSON.stringify(good).slice(0, 80), /not JSON/],
    ["a comment", `// policy\n${JSON.stringify(good)}`, /not JSON/],
    ["no text", Buffer.from([0x7b, 0xff, 0xfe, 0x7d]), /expected text in UTF-8/],
    ["a list", "[]", /options: expected an object/],
    ["null", "null", /expected an object/],
    ["no rules", changed({ rules: undefined }), /rules: expected an object; it is missing/],
    ["an unknown member", changed({ rule: {} }), /rule: unknown option; did you mean "rules"/],
    [
      "an unknown member of a rule",
      withRule({ role: ["admin"] }),
      /GetOrder\.role: unknown option; did you mean "roles"/,
    ],
    [
      "an unknown member of a role",
      changed({ roles: { viewer: { permission: [] } } }),
      /roles\.viewer\.permission: unknown/,
    ],
    ["a text for a list", withRule({ roles: "admin" }), /GetOrder\.roles: expected a list.*write \["…"\]/],
    ["an empty list", withRule({ roles: [] }), /expected at least one; remove the key/],
    ["an empty rule", withRule({}), /expected at least one of roles, permissions, schemes, actor/],
    [
      "a word that is no rule",
      withRule("publik"),
      /GetOrder: expected "public", "authenticated", or a demand.*did you mean "public"/,
    ],
    [
      "a public wildcard",
      changed({ rules: { "/*": "public" } }),
      /"public" is not allowed on a wildcard path/,
    ],
    ["a role that is not there", withRule({ roles: ["vievver"] }), /GetOrder: no such role vievver/],
    [
      "a method that is not there",
      changed({ rules: { "/orders.v1.Orders/*": "authenticated", "/orders.v1.Orders/GetOrdr": "public" } }),
      /GetOrdr: no such method.*GetOrder/,
    ],
    [
      "a method without a rule",
      changed({ rules: { "/orders.v1.Orders/GetOrder": "public" } }),
      /CancelOrder: no rule; add one/,
    ],
    [
      "a rule twice",
      '{"rules":{"/*":{"roles":["admin"]},"/*":"authenticated"}}',
      /rules\.\/\*: stands twice.*keep one/,
    ],
    [
      "a member of a rule twice",
      '{"roles":{"a":{}},"rules":{"/*":{"roles":["a"],"roles":["a"]}}}',
      /rules\.\/\*\.roles: stands twice/,
    ],
    ["rules twice", '{"rules":{},"rules":{"/*":"authenticated"}}', /rules: stands twice/],
    ["a rule for __proto__", '{"rules":{"/*":"authenticated","__proto__":"authenticated"}}', /__proto__/],
    ["a role __proto__", '{"roles":{"__proto__":{}},"rules":{"/*":"authenticated"}}', /__proto__/],
    ["too much", " ".repeat(4 * 1024 * 1024 + 1), /is larger than 4 MiB/],
  ])("Z2 refuses %s, and says which file, what and where", (_what, text, message) => {
    const problems = problemsOf(text);
    expect(problems.join("\n")).toMatch(message);
    for (const problem of problems) expect(problem.startsWith(`${path}: `)).toBe(true);
  });

  it("Z2 tells every problem at once", () => {
    expect(problemsOf(withRule({ roles: ["nobody"], permissions: ["order"] }))).toHaveLength(2);
  });

  it("Z2 refuses a file that is not there, a directory and a pipe", () => {
    expect(() => rbacFile({ path }).compile(methods)).toThrow(
      /policy\.json: cannot be read \(ENOENT\): check the path/,
    );
    expect(() => rbacFile({ path: directory }).compile(methods)).toThrow(/not a file/);
    execFileSync("mkfifo", [path]);
    expect(() => rbacFile({ path }).compile(methods)).toThrow(/not a file/);
  });

  it.each([
    [{}, /rbacFile\.path/],
    [{ path: " " }, /rbacFile\.path: the path is empty/],
    [{ path: "p", rules: {} }, /rbacFile\.rules: unknown option/],
    [{ path: "p", roleLookup: 1 }, /rbacFile\.roleLookup/],
    [
      { path: "p", condition: "cel" },
      /rbacFile\.condition: expected a function that makes a condition of a text/,
    ],
  ])("refuses the options %j", (options, message) => {
    expect(() => rbacFile(options as { path: string })).toThrow(ConfigError);
    expect(() => rbacFile(options as { path: string })).toThrow(message);
  });
});
