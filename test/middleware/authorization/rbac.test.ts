import { Metadata } from "@grpc/grpc-js";
import { pino } from "pino";
import { describe, expect, it } from "vitest";
import { Call, setIdentity } from "../../../src/chain/context.ts";
import { anonymousPrincipal, type Principal } from "../../../src/chain/principal.ts";
import { ConfigError, PolicyError } from "../../../src/grpc/errors.ts";
import { type MethodInfo, methodInfo } from "../../../src/grpc/method.ts";
import type { Decision } from "../../../src/middleware/authorization/authorizer.ts";
import type { Rule } from "../../../src/middleware/authorization/method-rule.ts";
import { type RbacOptions, rbac } from "../../../src/middleware/authorization/rbac.ts";

const method = (path: string): MethodInfo => methodInfo(path, "unary", true);
const get = method("/orders.v1.Orders/GetOrder");
const cancel = method("/orders.v1.Orders/CancelOrder");
const ping = method("/orders.v1.Orders/Ping");
const list = method("/orders.v1.admin.Reports/List");
const bare = method("/Greeter/Hello");
const all = [get, cancel, ping, list, bare];

interface Caller {
  readonly roles?: readonly string[];
  readonly permissions?: readonly string[];
  readonly scheme?: string;
}

function principal({ roles = [], permissions = [], scheme = "jwt" }: Caller): Principal {
  return {
    subject: "ada",
    kind: "user",
    scheme,
    roles: new Set(roles),
    permissions: new Set(permissions),
    claims: {},
  };
}

function callTo(target: MethodInfo, caller: Principal | undefined): Call {
  const call = new Call({
    method: target,
    peer: { address: "192.0.2.1", port: 1, secure: true, certificate: undefined },
    metadata: new Metadata(),
    metadataBytes: 0,
    timeoutMs: undefined,
    logger: pino({ enabled: false }),
  });
  if (caller !== undefined) setIdentity(call, { principal: caller });
  return call;
}

function decide(
  options: RbacOptions,
  target: MethodInfo,
  caller: Principal | undefined,
  methods: readonly MethodInfo[] = [target],
): Decision {
  const policy = rbac(options).compile(methods).forMethod(target.path);
  if (policy === undefined) throw new Error(`no policy for ${target.path}`);
  const decision = policy.decide(callTo(target, caller));
  if (decision instanceof Promise) throw new Error("rbac decides synchronously");
  return decision;
}

function problemsOf(options: RbacOptions, methods: readonly MethodInfo[]): readonly string[] {
  try {
    rbac(options).compile(methods);
  } catch (error) {
    if (error instanceof PolicyError) return error.problems;
    throw error;
  }
  return [];
}

const permissionsAreNotRoles =
  'the rule demands a role, which permissions ("*" included) do not replace: let the caller\'s role inherit one of them, or demand permissions';

describe("Z1 what a rule lets in", () => {
  const roles = {
    viewer: { permissions: ["order:read"] },
    editor: { permissions: ["order:write"], inherits: ["viewer"] },
    lead: { inherits: ["editor"] },
    clerk: { permissions: ["order:*"] },
    admin: { permissions: ["*"] },
    constructor: {},
  };
  const rule = (one: Rule) => ({ roles, rules: { [get.path]: one } });
  type Row = readonly [
    which: string,
    rule: Rule,
    caller: Caller,
    effect: "allow" | "deny",
    reason: string | undefined,
  ];
  const cases: readonly Row[] = [
    ["a role that is named", { roles: ["viewer"] }, { roles: ["viewer"] }, "allow", undefined],
    ["any one of several roles", { roles: ["admin", "viewer"] }, { roles: ["viewer"] }, "allow", undefined],
    ["a role that inherits the named one", { roles: ["viewer"] }, { roles: ["editor"] }, "allow", undefined],
    [
      "a role that inherits it through another",
      { roles: ["viewer"] },
      { roles: ["lead"] },
      "allow",
      undefined,
    ],
    [
      "not the role that is inherited",
      { roles: ["editor"] },
      { roles: ["viewer"] },
      "deny",
      "needs role editor",
    ],
    [
      "not another role, however mighty",
      { roles: ["viewer"] },
      { roles: ["admin"] },
      "deny",
      `needs role viewer; ${permissionsAreNotRoles}`,
    ],
    [
      "not a caller without roles",
      { roles: ["viewer", "admin"] },
      {},
      "deny",
      "needs one of the roles viewer, admin",
    ],
    [
      "not a role in other case",
      { roles: ["viewer"] },
      { roles: ["Viewer"] },
      "deny",
      'needs role viewer; unknown roles: "Viewer"',
    ],
    [
      "not a role that the policy does not know",
      { roles: ["viewer"] },
      { roles: ["root"] },
      "deny",
      'needs role viewer; unknown roles: "root"',
    ],
    [
      "a role named like a property of every object",
      { roles: ["constructor"] },
      { roles: ["constructor"] },
      "allow",
      undefined,
    ],
    [
      "not a property name as a role",
      { roles: ["viewer"] },
      { roles: ["toString", "__proto__"] },
      "deny",
      'needs role viewer; unknown roles: "toString", "__proto__"',
    ],
    ["a permission from a role", { permissions: ["order:read"] }, { roles: ["viewer"] }, "allow", undefined],
    [
      "a permission from an inherited role",
      { permissions: ["order:read"] },
      { roles: ["lead"] },
      "allow",
      undefined,
    ],
    [
      "a permission from a resource wildcard",
      { permissions: ["order:read"] },
      { roles: ["clerk"] },
      "allow",
      undefined,
    ],
    [
      "a permission from the wildcard",
      { permissions: ["order:read"] },
      { roles: ["admin"] },
      "allow",
      undefined,
    ],
    [
      "a permission of the credential",
      { permissions: ["order:read"] },
      { permissions: ["order:read"] },
      "allow",
      undefined,
    ],
    [
      "a resource wildcard of the credential",
      { permissions: ["order:read"] },
      { permissions: ["order:*"] },
      "allow",
      undefined,
    ],
    [
      "the wildcard of the credential",
      { permissions: ["order:read"] },
      { permissions: ["*"] },
      "allow",
      undefined,
    ],
    [
      "permissions from both together",
      { permissions: ["order:read", "mail:send"] },
      { roles: ["viewer"], permissions: ["mail:send"] },
      "allow",
      undefined,
    ],
    [
      "a permission that only a credential grants",
      { permissions: ["mail:send"] },
      { permissions: ["mail:send"] },
      "allow",
      undefined,
    ],
    [
      "not one of two permissions",
      { permissions: ["order:read", "order:write"] },
      { roles: ["viewer"] },
      "deny",
      "needs permission order:write",
    ],
    [
      "not the wildcard of another resource",
      { permissions: ["order:read"] },
      { permissions: ["orders:*"] },
      "deny",
      "needs permission order:read",
    ],
    [
      "not a wildcard over actions",
      { permissions: ["order:read"] },
      { permissions: ["*:read"] },
      "deny",
      "needs permission order:read",
    ],
    [
      "not a prefix",
      { permissions: ["order:read"] },
      { permissions: ["order:rea", "order:", "order"] },
      "deny",
      "needs permission order:read",
    ],
    [
      "role and permission together",
      { roles: ["editor"], permissions: ["mail:send"] },
      { roles: ["editor"], permissions: ["mail:send"] },
      "allow",
      undefined,
    ],
    [
      "not the role alone",
      { roles: ["editor"], permissions: ["mail:send"] },
      { roles: ["editor"] },
      "deny",
      "needs permission mail:send",
    ],
    [
      "not the permission alone",
      { roles: ["editor"], permissions: ["mail:send"] },
      { permissions: ["*"] },
      "deny",
      `needs role editor; ${permissionsAreNotRoles}`,
    ],
    ["a scheme that is named", { schemes: ["jwt", "mtls"] }, { scheme: "mtls" }, "allow", undefined],
    ["not another scheme", { schemes: ["jwt"] }, { scheme: "api-key" }, "deny", "needs scheme jwt"],
    [
      "not another scheme, whatever its roles",
      { roles: ["admin"], schemes: ["jwt", "mtls"] },
      { roles: ["admin"], scheme: "api-key" },
      "deny",
      "needs one of the schemes jwt, mtls",
    ],
    [
      "not the scheme alone",
      { roles: ["admin"], schemes: ["jwt"] },
      { scheme: "jwt" },
      "deny",
      "needs role admin",
    ],
    ["every verified caller where `authenticated`", "authenticated", {}, "allow", undefined],
    ["everybody where `public`", "public", {}, "allow", undefined],
  ];
  it.each(cases)("Z1 lets in: %s", (_, one, caller, effect, reason) => {
    const decision = decide(rule(one), get, principal(caller));
    expect(decision).toEqual(
      reason === undefined ? { effect, rule: get.path } : { effect, rule: get.path, reason },
    );
  });

  const notIdentified: readonly (readonly [Rule, "allow" | "deny"])[] = [
    ["public", "allow"],
    ["authenticated", "deny"],
    [{ schemes: ["anonymous"] }, "deny"],
    [{ roles: ["viewer"] }, "deny"],
    [{ permissions: ["order:read"] }, "deny"],
  ];
  it.each(notIdentified)("Z1 answers anonymous callers under %j with %s", (one, effect) => {
    const privileged: Principal = {
      ...anonymousPrincipal,
      roles: new Set(["viewer"]),
      permissions: new Set(["*"]),
    };
    expect(decide(rule(one), get, anonymousPrincipal).effect).toBe(effect);
    expect(decide(rule(one), get, privileged).effect).toBe(effect);
    expect(decide(rule(one), get, undefined).effect).toBe(effect);
  });

  it("Z1 says of each method whether it is public", () => {
    const policy = rbac({ rules: { [get.path]: "public", [cancel.path]: "authenticated" } }).compile([
      get,
      cancel,
    ]);
    expect(policy.forMethod(get.path)?.access).toBe("public");
    expect(policy.forMethod(cancel.path)?.access).toBe("checked");
  });

  it("Z1 knows no policy for a method that is not registered", () => {
    const policy = rbac({ rules: { "/*": "authenticated" } }).compile([get]);
    expect(policy.forMethod("/orders.v1.Orders/getorder")).toBeUndefined();
    expect(policy.forMethod("__proto__")).toBeUndefined();
  });

  it("Z1 is not changed by who changes the options afterwards", () => {
    const wanted = ["admin"];
    const options = { roles: { admin: {}, viewer: {} }, rules: { [get.path]: { roles: wanted } } };
    const authorizer = rbac(options);
    wanted.push("viewer");
    const decision = authorizer
      .compile([get])
      .forMethod(get.path)
      ?.decide(callTo(get, principal({ roles: ["viewer"] })));
    expect(decision).toMatchObject({ effect: "deny" });
  });
});

describe("Z1 which rule decides", () => {
  const rules = {
    "/*": "authenticated",
    "/orders.*": { roles: ["orders"] },
    "/orders.v1.*": { roles: ["v1"] },
    "/orders.v1.Orders/*": { roles: ["service"] },
    "/orders.v1.Orders/GetOrder": { roles: ["method"] },
  } as const;
  const roles = { orders: {}, v1: {}, service: {}, method: {} };
  const without = (...left: readonly string[]) => ({
    roles,
    rules: Object.fromEntries(Object.entries(rules).filter(([path]) => !left.includes(path))),
  });
  const cases: readonly (readonly [string, RbacOptions, MethodInfo, string])[] = [
    ["the method's own", without(), get, "/orders.v1.Orders/GetOrder"],
    ["its service's", without(), cancel, "/orders.v1.Orders/*"],
    ["its package's", without("/orders.v1.Orders/*"), cancel, "/orders.v1.*"],
    ["the package's above", without("/orders.v1.*"), list, "/orders.*"],
    ["its package's, from two packages below", without(), list, "/orders.v1.*"],
    ["the one about everything", without(), bare, "/*"],
  ];
  it.each(cases)("Z1 the most specific rule alone decides: %s", (_, options, target, rulePath) => {
    const everything = principal({ roles: Object.keys(roles), permissions: ["*"] });
    expect(decide(options, target, everything, all)).toEqual({ effect: "allow", rule: rulePath });
  });

  it("Z1 a wider rule does not help where a narrower one denies", () => {
    const decision = decide({ roles, rules }, get, principal({ roles: ["orders", "v1", "service"] }), all);
    expect(decision).toEqual({ effect: "deny", rule: get.path, reason: "needs role method" });
  });

  it("Z1 a package is no prefix of a name: /orders.v1.* says nothing about orders.v10", () => {
    const other = method("/orders.v10.Orders/GetOrder");
    expect(problemsOf({ rules: { "/orders.v1.*": "authenticated" } }, [get, other])).toEqual([
      "/orders.v10.Orders/GetOrder: no rule; add one, or a wildcard that covers it",
    ]);
  });
});

describe("Z2 what does not fit is found at start-up", () => {
  const cases: readonly (readonly [string, RbacOptions, readonly MethodInfo[], readonly string[]])[] = [
    ["a policy that fits", { rules: { "/*": "authenticated" } }, all, []],
    [
      "a mistyped method",
      { rules: { "/orders.v1.Orders/GetOrdr": "authenticated", "/*": "authenticated" } },
      all,
      ['/orders.v1.Orders/GetOrdr: no such method; did you mean "/orders.v1.Orders/GetOrder"?'],
    ],
    [
      "a method in other case",
      { rules: { "/orders.v1.orders/getOrder": "authenticated", "/*": "authenticated" } },
      all,
      ['/orders.v1.orders/getOrder: no such method; did you mean "/orders.v1.Orders/GetOrder"?'],
    ],
    [
      "a mistyped service",
      { rules: { "/orders.v1.Ordres/*": "authenticated", "/*": "authenticated" } },
      all,
      ['/orders.v1.Ordres/*: no method of such a service; did you mean "/orders.v1.Orders/*"?'],
    ],
    [
      "a mistyped package",
      { rules: { "/order.v1.*": "authenticated", "/*": "authenticated" } },
      all,
      ['/order.v1.*: no method in such a package; did you mean "/orders.v1.*"?'],
    ],
    [
      "a service written as a package",
      { rules: { "/Greeter.*": "authenticated", "/*": "authenticated" } },
      [bare],
      ['/Greeter.*: no method in such a package; did you mean "/Greeter/*"?'],
    ],
    [
      "a path without its slash",
      { rules: { "orders.v1.Orders/Ping": "public", "/*": "authenticated" } },
      all,
      [
        'orders.v1.Orders/Ping: not a path; write /pkg.Service/Method, /pkg.Service/*, /pkg.* or /*; did you mean "/orders.v1.Orders/Ping"?',
      ],
    ],
    [
      "a wildcard in the middle",
      { rules: { "/orders.*.Orders/Ping": "authenticated", "/*": "authenticated" } },
      [bare],
      ["/orders.*.Orders/Ping: not a path; write /pkg.Service/Method, /pkg.Service/*, /pkg.* or /*"],
    ],
    [
      "a method far from every name",
      { rules: { "/mail.v1.Outbox/Send": "authenticated", "/*": "authenticated" } },
      all,
      ["/mail.v1.Outbox/Send: no such method; remove it, or register its service"],
    ],
    [
      "a method without a rule",
      { rules: { "/orders.v1.Orders/*": "authenticated" } },
      [get, bare],
      ["/Greeter/Hello: no rule; add one, or a wildcard that covers it"],
    ],
    [
      "no rules at all",
      { rules: {} },
      [get, bare],
      [
        "/orders.v1.Orders/GetOrder: no rule; add one, or a wildcard that covers it",
        "/Greeter/Hello: no rule; add one, or a wildcard that covers it",
      ],
    ],
    [
      "nothing registered",
      { rules: { "/*": "authenticated" } },
      [],
      ["/*: no method is registered; call addService before listen()"],
    ],
    [
      "an unknown role in a rule",
      { roles: { admin: {} }, rules: { "/*": { roles: ["admn"] } } },
      all,
      ['/*: no such role admn; did you mean "admin"?'],
    ],
    [
      "a property name as a role",
      { roles: { admin: {} }, rules: { "/*": { roles: ["constructor"] } } },
      all,
      ["/*: no such role constructor; define it in roles, or remove it"],
    ],
    [
      "an unknown role in inherits",
      { roles: { admin: { inherits: ["viewr"] }, viewer: {} }, rules: { "/*": "authenticated" } },
      all,
      ['roles.admin.inherits: no such role viewr; did you mean "viewer"?'],
    ],
    [
      "a role that inherits itself",
      { roles: { admin: { inherits: ["admin"] } }, rules: { "/*": "authenticated" } },
      all,
      [
        "roles.admin.inherits: roles inherit from each other in a circle: admin -> admin; remove one of them from inherits",
      ],
    ],
    [
      "a circle of three, told once",
      {
        roles: {
          a: { inherits: ["b"] },
          b: { inherits: ["c"] },
          c: { inherits: ["a"] },
          d: { inherits: ["a"] },
        },
        rules: { "/*": "authenticated" },
      },
      all,
      [
        "roles.a.inherits: roles inherit from each other in a circle: a -> b -> c -> a; remove one of them from inherits",
      ],
    ],
    [
      "malformed permissions of a role",
      {
        roles: { a: { permissions: ["read", "*:read", "order:*:x", "order:read ", "order:*", "*"] } },
        rules: { "/*": "authenticated" },
      },
      all,
      ["read", "*:read", "order:*:x", "order:read "].map(
        (one) => `roles.a.permissions: malformed permission "${one}"; write resource:action, resource:* or *`,
      ),
    ],
    [
      "wildcards where a rule needs a permission",
      { rules: { "/*": { permissions: ["order:*", "*", "read"] } } },
      all,
      ["order:*", "*", "read"].map(
        (one) => `/*: malformed permission "${one}"; a rule needs resource:action, without wildcards`,
      ),
    ],
    [
      "roles that differ only in case",
      { roles: { admin: {}, Admin: {} }, rules: { "/*": "authenticated" } },
      all,
      ["roles.Admin: role Admin differs only in case from admin (roles.admin); use one of them"],
    ],
    [
      "permissions that differ only in case",
      { roles: { a: { permissions: ["order:read"] } }, rules: { "/*": { permissions: ["Order:read"] } } },
      all,
      [
        "/*: permission Order:read differs only in case from order:read (roles.a.permissions); use one of them",
      ],
    ],
    [
      "a permission that only credentials carry",
      { rules: { "/*": { permissions: ["order:read"] } } },
      all,
      [],
    ],
  ];
  it.each(cases)("Z2 finds %s", (_, options, methods, problems) => {
    expect(problemsOf(options, methods)).toEqual(problems);
  });

  it("Z2 lists every problem at once", () => {
    const problems = problemsOf(
      {
        roles: { a: { inherits: ["b"], permissions: ["x"] } },
        rules: { "/a.B/C": "authenticated", "/*": { roles: ["z"] } },
      },
      [],
    );
    expect(problems).toHaveLength(5);
  });

  const probes = ["Check", "Watch"].map((name) => method(`/grpc.health.v1.Health/${name}`));
  const health = [...probes, method("/grpc.health.v1.Health/List")];
  it("A10 health probes need no rule and are public; List needs one", () => {
    const rules = { [get.path]: "authenticated" } as const;
    const policy = rbac({ rules }).compile([get, ...probes]);
    expect(probes.map(({ path }) => policy.forMethod(path)?.access)).toEqual(["public", "public"]);
    expect(problemsOf({ rules }, [get, ...health])).toEqual([
      "/grpc.health.v1.Health/List: no rule; add one, or a wildcard that covers it",
    ]);
  });

  it("A10 a wildcard does not close health probes, and governs List", () => {
    const policy = rbac({ roles: { ops: {} }, rules: { "/*": { roles: ["ops"] } } }).compile([
      get,
      ...health,
    ]);
    expect(policy.forMethod("/grpc.health.v1.Health/Check")?.access).toBe("public");
    expect(policy.forMethod("/grpc.health.v1.Health/List")?.decide(callTo(get, principal({})))).toMatchObject(
      {
        effect: "deny",
        rule: "/*",
      },
    );
  });

  it("A10 a rule that would close a health probe is an error, one that says it is open is not", () => {
    const rules = { [get.path]: "authenticated", "/grpc.health.v1.Health/Check": "public" } as const;
    expect(problemsOf({ rules }, [get, ...probes])).toEqual([]);
    expect(
      problemsOf({ rules: { ...rules, "/grpc.health.v1.Health/Check": "authenticated" } }, [get, ...probes]),
    ).toEqual(["/grpc.health.v1.Health/Check: health probes need no credentials; remove this rule"]);
    expect(
      problemsOf({ rules: { ...rules, "/grpc.health.v1.Health/*": "authenticated" } }, [get, ...probes]),
    ).toEqual(["/grpc.health.v1.Health/*: covers only health probes, which need no credentials; remove it"]);
  });
});

describe("Z1 a rule about the actor", () => {
  const roles = { caller: {}, app: { permissions: ["order:write"] }, gateway: { inherits: ["app"] } };
  const ada = principal({ roles: ["caller", "app"], permissions: ["order:write"] });
  const shop = principal({ roles: ["app"], scheme: "api-key" });
  const proxy = principal({ roles: ["gateway"], scheme: "mtls" });
  const bare = principal({ scheme: "mtls" });
  const scoped = principal({ permissions: ["order:*"], scheme: "api-key" });

  function effect(rule: Rule, actor: Principal | undefined, caller: Principal = ada): string {
    const policy = rbac({ roles, rules: { [get.path]: rule } })
      .compile([get])
      .forMethod(get.path);
    const call = callTo(get, undefined);
    setIdentity(call, { principal: caller, ...(actor === undefined ? {} : { actor }) });
    const decision = policy?.decide(call);
    if (decision === undefined || decision instanceof Promise || decision.effect === "none") return "nothing";
    return decision.effect === "allow" ? "allow" : `deny: ${decision.reason}`;
  }

  const noActor = "deny: needs an actor: an application that calls for the user (allOf)";
  const cases: readonly [rule: Rule, actor: Principal | undefined, expected: string][] = [
    [{ actor: "any" }, undefined, noActor],
    [{ actor: "any" }, anonymousPrincipal, noActor],
    [{ actor: "any" }, bare, "allow"],
    [{ actor: { roles: ["app"] } }, undefined, noActor],
    // The principal's own roles and permissions are no substitute.
    [{ actor: { roles: ["app"] } }, bare, "deny: needs an actor with role app"],
    [{ actor: { roles: ["app"] } }, shop, "allow"],
    [{ actor: { roles: ["app"] } }, proxy, "allow"],
    [{ actor: { schemes: ["mtls"] } }, shop, "deny: needs an actor with scheme mtls"],
    [{ actor: { schemes: ["mtls"] } }, proxy, "allow"],
    [{ actor: { permissions: ["order:write"] } }, bare, "deny: needs an actor with permission order:write"],
    [{ actor: { permissions: ["order:write"] } }, scoped, "allow"],
    [{ actor: { permissions: ["order:write"], schemes: ["mtls"] } }, proxy, "allow"],
    [{ roles: ["gateway"], actor: "any" }, proxy, "deny: needs role gateway"],
    // A rule that does not speak of an actor does not look at one.
    [{ roles: ["caller"] }, bare, "allow"],
    ["authenticated", undefined, "allow"],
  ];
  it.each(cases)("Z1 %j with actor %#", (rule, actor, expected) => {
    expect(effect(rule, actor)).toBe(expected);
  });

  it("Z1 an actor does not stand in for a principal", () => {
    expect(effect({ actor: "any" }, shop, anonymousPrincipal)).toBe("deny: needs a verified caller");
  });

  it.each<[Rule, readonly string[]]>([
    [{ roles: ["caller"] }, []],
    [{ actor: "any" }, ["an actor"]],
    [{ actor: { roles: ["app"], schemes: ["mtls"] } }, ["an actor with role app and scheme mtls"]],
  ])("Z3 the rule can be read: %j", (rule, conditions) => {
    const policy = rbac({ roles, rules: { [get.path]: rule } }).compile([get]);
    expect(policy.forMethod(get.path)?.describe?.()).toMatchObject({ conditions });
  });

  it("Z2 what a rule demands of an actor is checked like what it demands of the caller", () => {
    const rule: Rule = { actor: { roles: ["ap"], permissions: ["order:*"] } };
    expect(() => rbac({ roles, rules: { [get.path]: rule } }).compile([get])).toThrow(
      /: actor: no such role ap[\s\S]*: actor: malformed permission "order:\*"/,
    );
    const twin: Rule = { actor: { permissions: ["Order:write"] } };
    expect(() => rbac({ roles, rules: { [get.path]: twin } }).compile([get])).toThrow(/differs only in case/);
  });
});

describe("Z1 options of the wrong shape are refused when they are handed in", () => {
  const cases: readonly (readonly [string, unknown, string])[] = [
    ["no options", undefined, "rbac: "],
    ["no rules", { roles: {} }, "rbac.rules: "],
    ["an unknown option", { rules: {}, roleLookups: () => [] }, "rbac.roleLookups: unknown option"],
    [
      "public on a service",
      { rules: { "/a.B/*": "public" } },
      'rbac.rules./a.B/*: "public" is not allowed on a wildcard path',
    ],
    [
      "public on a package",
      { rules: { "/a.*": "public" } },
      'rbac.rules./a.*: "public" is not allowed on a wildcard path',
    ],
    [
      "public on everything",
      { rules: { "/*": "public" } },
      'rbac.rules./*: "public" is not allowed on a wildcard path',
    ],
    [
      "an empty rule",
      { rules: { "/a.B/C": {} } },
      "rbac.rules./a.B/C: expected at least one of roles, permissions, schemes",
    ],
    [
      "a rule of undefined",
      { rules: { "/a.B/C": { roles: undefined } } },
      "rbac.rules./a.B/C: expected at least one of",
    ],
    [
      "no roles in a rule",
      { rules: { "/a.B/C": { roles: [] } } },
      "rbac.rules./a.B/C.roles: expected at least one",
    ],
    [
      "no permissions in a rule",
      { rules: { "/a.B/C": { permissions: [] } } },
      "rbac.rules./a.B/C.permissions: expected at least one",
    ],
    [
      "no schemes in a rule",
      { rules: { "/a.B/C": { schemes: [] } } },
      "rbac.rules./a.B/C.schemes: expected at least one",
    ],
    [
      "an unknown key in a rule",
      { rules: { "/a.B/C": { role: ["a"] } } },
      "rbac.rules./a.B/C.role: unknown option",
    ],
    [
      "an actor of whom nothing is demanded",
      { rules: { "/a.B/C": { roles: ["a"], actor: {} } } },
      "rbac.rules./a.B/C.actor: expected at least one",
    ],
    ["an unknown word for an actor", { rules: { "/a.B/C": { actor: "some" } } }, "rbac.rules./a.B/C.actor: "],
    [
      "an unknown key in an actor",
      { rules: { "/a.B/C": { actor: { role: ["a"] } } } },
      "rbac.rules./a.B/C.actor.role: unknown option",
    ],
    [
      "an actor of an actor",
      { rules: { "/a.B/C": { actor: { actor: "any" } } } },
      "rbac.rules./a.B/C.actor.actor: unknown option",
    ],
    ["an unknown word", { rules: { "/a.B/C": "Public" } }, "rbac.rules./a.B/C: "],
    [
      "an unknown key in a role",
      { roles: { a: { permission: [] } }, rules: {} },
      "rbac.roles.a.permission: unknown option",
    ],
    [
      "a role name with space around it",
      { roles: { "a ": {} }, rules: {} },
      "rbac.roles.a : expected a role name",
    ],
    [
      "a role name with a line break",
      { rules: { "/a.B/C": { roles: ["a\nb"] } } },
      "rbac.rules./a.B/C.roles.0: expected a name",
    ],
    [
      "a role named __proto__",
      { roles: JSON.parse('{"__proto__":{}}'), rules: {} },
      "rbac.roles.__proto__: ",
    ],
    ["a rule named __proto__", { rules: JSON.parse('{"__proto__":"public"}') }, "rbac.rules.__proto__: "],
  ];
  it.each(cases)("Z1 refuses %s", (_, options, problem) => {
    try {
      rbac(options as RbacOptions);
    } catch (error) {
      expect(error).toBeInstanceOf(ConfigError);
      expect((error as ConfigError).problems.some((one) => one.startsWith(problem))).toBe(true);
      return;
    }
    expect.unreachable("the options were taken");
  });
});
