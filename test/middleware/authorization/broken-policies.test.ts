// Policies of rbac that are refused, beside those of rbac.test.ts: each with the place of the mistake, and what to do.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { cel } from "../../../src/cel/cel.ts";
import { ConfigError, PolicyError } from "../../../src/grpc/errors.ts";
import { type MethodInfo, methodInfo } from "../../../src/grpc/method.ts";
import type { CallerSchemes } from "../../../src/middleware/authorization/authorizer.ts";
import type { ConditionOfText } from "../../../src/middleware/authorization/condition-of-text.ts";
import { type RbacOptions, rbac } from "../../../src/middleware/authorization/rbac.ts";
import { rbacFile } from "../../../src/middleware/authorization/rbac-file.ts";
import { ask, untold } from "../../cel/question.ts";

const methods = ["/a.v1.B/C", "/a.v1.B/D"].map((path) => methodInfo(path, "unary", true));
const path = "/a.v1.B/C";

function problemsOf(options: unknown, callers?: CallerSchemes): readonly string[] {
  try {
    rbac(options as RbacOptions).compile(methods, callers);
  } catch (error) {
    if (error instanceof ConfigError || error instanceof PolicyError) return error.problems;
    throw error;
  }
  return [];
}

const of = (rule: unknown) => ({ roles: { admin: {} }, rules: { "/*": "authenticated", [path]: rule } });
const beside = (rulePath: string) => ({ rules: { "/*": "authenticated", [rulePath]: "authenticated" } });
const withRoles = (roles: unknown) => ({ roles, rules: { "/*": "authenticated" } });

const rule = `rbac.rules.${path}`;
const aRule = 'expected "public", "authenticated", or a demand such as { roles: ["admin"] }';
const anActor = 'expected "any", or what it must have, such as { schemes: ["mtls"] }';
const aName = "expected a name of printable characters, without spaces at its ends";
const aList = 'expected a list, not text: write ["…"]';
const aPath = "not a path; write /pkg.Service/Method, /pkg.Service/*, /pkg.* or /*";
const aFunction =
  "expected a function of the call and the request that returns true or false, or a condition such as cel(…)";
const elsewhere = "remove it, or register its service";
const undefinedRole = "define it in roles, or remove it";
const concrete = "a rule needs resource:action, without wildcards";

const shapes: readonly (readonly [what: string, options: unknown, problem: string])[] = [
  ["rules in a list", { rules: [path] }, "rbac.rules: expected an object, not a list"],
  ["roles in a list", withRoles(["admin"]), "rbac.roles: expected an object, not a list"],
  ["a rule of null", of(null), `${rule}: ${aRule}`],
  ["a rule of true", of(true), `${rule}: ${aRule}`],
  ["a list of roles as a rule", of(["admin"]), `${rule}: ${aRule}`],
  ["a function as a rule", of(() => true), `${rule}: ${aRule}`],
  ["a role as a rule", of("admin"), `${rule}: ${aRule}`],
  ["an empty text as a rule", of(""), `${rule}: ${aRule}`],
  ["public with a capital", of("Public"), `${rule}: ${aRule}; did you mean "public"?`],
  ["authenticated, mistyped", of("authenticate"), `${rule}: ${aRule}; did you mean "authenticated"?`],
  ["one role as text", of({ roles: "admin" }), `${rule}.roles: ${aList}`],
  ["one permission as text", of({ permissions: "a:b" }), `${rule}.permissions: ${aList}`],
  ["one scheme as text", of({ schemes: "jwt" }), `${rule}.schemes: ${aList}`],
  ["a number as a role", of({ roles: [1] }), `${rule}.roles.0: expected text, not a number`],
  ["an empty role", of({ roles: ["admin", ""] }), `${rule}.roles.1: ${aName}`],
  ["a permission after a space", of({ permissions: [" a:b"] }), `${rule}.permissions.0: ${aName}`],
  ["a scheme with a NUL", of({ schemes: ["jwt\0"] }), `${rule}.schemes.0: ${aName}`],
  ["a condition as text", of({ when: "request.owner" }), `${rule}.when: ${aFunction}`],
  ["a condition of true", of({ roles: ["admin"], when: true }), `${rule}.when: ${aFunction}`],
  ["an actor of true", of({ actor: true }), `${rule}.actor: ${anActor}`],
  ["a list of schemes as an actor", of({ actor: ["mtls"] }), `${rule}.actor: ${anActor}`],
  [
    "an actor with no role to have",
    of({ actor: { roles: [] } }),
    `${rule}.actor.roles: expected at least one; remove the key to demand nothing`,
  ],
  [
    "scheme in place of schemes",
    of({ roles: ["admin"], scheme: ["jwt"] }),
    `${rule}.scheme: unknown option; did you mean "schemes"?`,
  ],
  ["a role of null", withRoles({ a: null }), "rbac.roles.a: expected an object, not null"],
  [
    "a list of permissions as a role",
    withRoles({ a: ["b:c"] }),
    "rbac.roles.a: expected an object, not a list",
  ],
  [
    "a permission of a role as text",
    withRoles({ a: { permissions: "b:c" } }),
    `rbac.roles.a.permissions: ${aList}`,
  ],
  ["an inherited role as text", withRoles({ a: { inherits: "b" } }), `rbac.roles.a.inherits: ${aList}`],
  [
    "a role name with a tab",
    withRoles({ "a\tb": {} }),
    "rbac.roles.a\tb: expected a role name of printable characters, without spaces at its ends",
  ],
];

const policies: readonly (readonly [
  what: string,
  options: unknown,
  problem: string,
  callers?: CallerSchemes,
])[] = [
  ["an empty path", beside(""), `"": ${aPath}`],
  ["a slash alone", beside("/"), `/: ${aPath}`],
  ["a star alone", beside("*"), `*: ${aPath}`],
  ["a path with a space at its end", beside(`${path} `), `${path} : ${aPath}; did you mean "${path}"?`],
  ["a part of a name and a star", beside(`${path}*`), `${path}*: ${aPath}; did you mean "${path}"?`],
  ["a service without a method", beside("/a.v1.B"), `/a.v1.B: ${aPath}; did you mean "/a.v1.*"?`],
  ["two slashes", beside(`/${path}`), `/${path}: ${aPath}; did you mean "${path}"?`],
  ["a URL", beside("https://x/a.v1.B/C"), `https://x/a.v1.B/C: ${aPath}`],
  ["the full name of a method", beside("a.v1.B.C"), `a.v1.B.C: ${aPath}; did you mean "${path}"?`],
  ["a star in the place of a service", beside("/a.*/C"), `/a.*/C: ${aPath}; did you mean "/a.*"?`],
  [
    "a service of nobody",
    beside("/mail.v1.Outbox/*"),
    `/mail.v1.Outbox/*: no method of such a service; ${elsewhere}`,
  ],
  ["a package of nobody", beside("/mail.*"), `/mail.*: no method in such a package; ${elsewhere}`],
  ["an unknown role", of({ roles: ["superuser"] }), `${path}: no such role superuser; ${undefinedRole}`],
  [
    "an unknown role of an actor",
    of({ actor: { roles: ["superuser"] } }),
    `${path}: actor: no such role superuser; ${undefinedRole}`,
  ],
  ["a role in other case", of({ roles: ["Admin"] }), `${path}: no such role Admin; did you mean "admin"?`],
  [
    "an unknown role that is inherited",
    withRoles({ a: { inherits: ["__proto__"] } }),
    `roles.a.inherits: no such role __proto__; ${undefinedRole}`,
  ],
  [
    "two roles that inherit each other",
    withRoles({ a: { inherits: ["b"] }, b: { inherits: ["a"] } }),
    "roles.a.inherits: roles inherit from each other in a circle: a -> b -> a; remove one of them from inherits",
  ],
  [
    "a permission without an action",
    of({ permissions: ["a:"] }),
    `${path}: malformed permission "a:"; ${concrete}`,
  ],
  [
    "a permission of three parts",
    of({ permissions: ["a:b:c"] }),
    `${path}: malformed permission "a:b:c"; ${concrete}`,
  ],
  [
    "a wildcard for an actor",
    of({ actor: { permissions: ["*"] } }),
    `${path}: actor: malformed permission "*"; ${concrete}`,
  ],
  [
    "a permission in other case in one role",
    withRoles({ a: { permissions: ["b:c"] }, d: { permissions: ["B:c"] } }),
    "roles.d.permissions: permission B:c differs only in case from b:c (roles.a.permissions); use one of them",
  ],
  [
    "a scheme that no authenticator has",
    of({ schemes: ["mtls"] }),
    `${path}: no authenticator has the scheme mtls; there are jwt`,
    { schemes: ["jwt"] },
  ],
  [
    "a scheme, mistyped",
    of({ schemes: ["apikey"] }),
    `${path}: no authenticator has the scheme apikey; did you mean "api-key"?`,
    { schemes: ["api-key"] },
  ],
  [
    "an actor where none comes",
    of({ actor: "any" }),
    `${path}: actor: no authenticator of this server verifies an actor; use allOf({ principal, actor }), or remove the condition`,
    { actorSchemes: [] },
  ],
  [
    "a scheme that no actor has",
    of({ actor: { schemes: ["api-key"] } }),
    `${path}: actor: no authenticator has the scheme api-key; there are mtls`,
    { actorSchemes: ["mtls"] },
  ],
];

interface BrokenCondition {
  readonly what: string;
  readonly when: unknown;
  readonly problem: string;
  /** Default: `cel`. */
  readonly condition?: ConditionOfText | undefined;
  /** Default: one whose definition tells the type of its request. */
  readonly method?: MethodInfo;
}

const whenOf = ({ path: method }: MethodInfo) => `rules.${method}.when`;
const anExpression = 'expected an expression as text, such as "request.owner == principal.subject"';
const noCondition =
  "the function of the option condition returned no condition; return a function, or a condition such as cel(…)";

/** Each is a rule with a role besides, so that a condition that gets lost leaves a rule that allows more. */
const conditionsInFiles: readonly BrokenCondition[] = [
  {
    what: "a condition that nobody understands",
    when: "request.ready",
    condition: undefined,
    problem: `${whenOf(ask)}: needs what understands it: rbacFile({ path, condition: cel }) with cel of grpc-palisade/cel`,
  },
  { what: "a number", when: 5, problem: `${whenOf(ask)}: ${anExpression}` },
  { what: "true", when: true, problem: `${whenOf(ask)}: ${anExpression}` },
  { what: "null", when: null, problem: `${whenOf(ask)}: ${anExpression}` },
  { what: "a list", when: ["request.ready"], problem: `${whenOf(ask)}: ${anExpression}` },
  { what: "an object", when: { text: "request.ready" }, problem: `${whenOf(ask)}: ${anExpression}` },
  {
    what: "an empty text",
    when: "",
    problem: `${whenOf(ask)}: ${anExpression}; remove the key to demand nothing of the request`,
  },
  {
    what: "an unknown field",
    when: "request.ownr == 'a'",
    problem: `${ask.path}: when: conditions.v1.Question has no field ownr; did you mean "owner"? (at character 8)`,
  },
  {
    what: "a wrong type",
    when: "request.owner == 5",
    problem: `${ask.path}: when: == cannot take string and int (at character 15)`,
  },
  {
    what: "an expression that is no bool",
    when: "request.owner",
    problem: `${ask.path}: when: the condition is string, not bool (at character 8)`,
  },
  {
    what: "one = for two",
    when: "request.owner = 'a'",
    problem: `${whenOf(ask)}: cel: "request.owner = 'a'" is no expression: 1:15: found = but expecting`,
  },
  {
    what: "a function as text",
    when: "(call, request) => true",
    problem: `${whenOf(ask)}: cel: "(call, request) => true" is no expression: `,
  },
  {
    what: "a method whose definition does not tell the type of its request",
    when: "request.ready",
    method: untold,
    problem: `${untold.path}: when: the definition of ${untold.path} does not tell the type of its request; give the option descriptorSet`,
  },
  {
    what: "an option condition that returns nothing",
    when: "request.ready",
    condition: (() => undefined) as never,
    problem: `${whenOf(ask)}: ${noCondition}`,
  },
  {
    what: "an option condition that returns a promise",
    when: "request.ready",
    condition: (async () => () => true) as never,
    problem: `${whenOf(ask)}: ${noCondition}`,
  },
];

describe("Z2 Z4 a condition in a policy file that is broken is refused, with the file, the rule and what to do", () => {
  const directory = mkdtempSync(join(tmpdir(), "palisade-broken-"));
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  it.each(conditionsInFiles)("Z2 Z4 $what", ({ when, problem, method = ask, ...given }) => {
    const file = join(directory, "policy.json");
    const admin = { roles: ["admin"], when };
    writeFileSync(file, JSON.stringify({ roles: { admin: {} }, rules: { [method.path]: admin } }));
    const condition = "condition" in given ? given.condition : cel;
    const compile = () => rbacFile({ path: file, condition }).compile([method]);
    expect(compile).toThrow(PolicyError);
    expect(compile).toThrow(`1 problem(s):\n  - ${file}: ${problem}`);
  });
});

describe("Z2 a policy that is broken is refused, with its place and what to do", () => {
  it.each(shapes)("Z2 at once: %s", (_, options, problem) => {
    expect(() => rbac(options as RbacOptions)).toThrow(ConfigError);
    expect(problemsOf(options)).toEqual([problem]);
  });

  it.each(policies.map(([what, options, problem, callers]) => ({ what, options, problem, callers })))(
    "Z2 when it is compiled: $what",
    ({ options, problem, callers }) => {
      expect(() => rbac(options as RbacOptions)).not.toThrow();
      expect(problemsOf(options, callers)).toEqual([problem]);
    },
  );

  it("Z2 the policies that these are made from are taken", () => {
    expect(problemsOf(of({ roles: ["admin"] }))).toEqual([]);
    expect(problemsOf(withRoles({ a: {}, b: { inherits: ["a"], permissions: ["c:*"] } }))).toEqual([]);
  });
});
