import { describe, expect, it } from "vitest";
import type { CallContext } from "../../../src/chain/context.ts";
import { PolicyError } from "../../../src/grpc/errors.ts";
import { type MethodInfo, methodInfo, methodsOf } from "../../../src/grpc/method.ts";
import { allowAuthenticated } from "../../../src/middleware/authorization/allow-authenticated.ts";
import type { Authorizer, MethodPolicy, Policy } from "../../../src/middleware/authorization/authorizer.ts";
import { comparePolicies } from "../../../src/middleware/authorization/compare-policies.ts";
import type { Rule } from "../../../src/middleware/authorization/method-rule.ts";
import type { PolicyChange } from "../../../src/middleware/authorization/policy-change.ts";
import { type RbacOptions, rbac } from "../../../src/middleware/authorization/rbac.ts";
import { kindsDefinition } from "../../harness/kinds.ts";
import { hostileNames } from "./hostile-names.ts";
import { Chance, randomCaller, methods as randomMethods, randomPolicy } from "./random-policies.ts";

const get = methodInfo("/orders.v1.Orders/GetOrder", "unary", true);
const cancel = methodInfo("/orders.v1.Orders/CancelOrder", "unary", true);

/** `gained role clerk call: no -> yes`. */
function told({ direction, party, role, what, before, after, note }: PolicyChange): string {
  const who = party === "role" ? `role ${role}` : party;
  return `${direction} ${who} ${what}: ${before} -> ${after}${note === undefined ? "" : ` (${note})`}`;
}

const mirrored = { gained: "lost", lost: "gained", changed: "changed" } as const;

function mirror(change: PolicyChange): PolicyChange {
  const { direction, before, after, accessBefore, accessAfter } = change;
  return {
    ...change,
    direction: mirrored[direction],
    before: after,
    after: before,
    accessBefore: accessAfter,
    accessAfter: accessBefore,
  };
}

const inOrder = (changes: readonly PolicyChange[]): readonly string[] =>
  changes.map((change) => JSON.stringify(change, Object.keys(change).sort())).sort();

const roles: NonNullable<RbacOptions["roles"]> = {
  viewer: { permissions: ["order:read"] },
  clerk: { permissions: ["order:read", "order:write"] },
  admin: { inherits: ["clerk"] },
};
const isOwner = (): boolean => true;
const isPaid = (): boolean => true;

interface Row {
  readonly of: string;
  readonly before: Rule;
  readonly after: Rule;
  readonly rolesBefore?: NonNullable<RbacOptions["roles"]>;
  readonly rolesAfter?: NonNullable<RbacOptions["roles"]>;
  readonly changes: readonly string[];
}

const byFunction = "a condition is a function: whether it allows more or less cannot be told";
const some = "some callers may more, others less";
const unknownRole = "only one of the policies knows this role";

const rows: readonly Row[] = [
  { of: "nothing", before: { roles: ["clerk"] }, after: { roles: ["clerk"] }, changes: [] },
  {
    of: "the order of names",
    before: { roles: ["clerk", "viewer"], permissions: ["a:b", "c:d"], schemes: ["jwt", "mtls"] },
    after: { roles: ["viewer", "clerk"], permissions: ["c:d", "a:b"], schemes: ["mtls", "jwt"] },
    changes: [],
  },
  {
    of: "authenticated to public",
    before: "authenticated",
    after: "public",
    changes: ["gained everybody call: no -> yes"],
  },
  {
    of: "a role to public",
    before: { roles: ["clerk"] },
    after: "public",
    changes: [
      "gained everybody call: no -> yes",
      "gained verified call: no -> yes",
      "gained role viewer call: no -> yes",
    ],
  },
  {
    of: "a role to authenticated",
    before: { roles: ["clerk"] },
    after: "authenticated",
    changes: ["gained verified call: no -> yes", "gained role viewer call: no -> yes"],
  },
  {
    of: "public to a scheme",
    before: "public",
    after: { schemes: ["jwt"] },
    changes: [
      "lost everybody call: yes -> no",
      "lost verified schemes: any -> jwt",
      "lost role viewer schemes: any -> jwt",
      "lost role clerk schemes: any -> jwt",
      "lost role admin schemes: any -> jwt",
    ],
  },
  {
    of: "one role more",
    before: { roles: ["clerk"] },
    after: { roles: ["clerk", "viewer"] },
    changes: ["gained role viewer call: no -> yes"],
  },
  {
    of: "another role",
    before: { roles: ["viewer"] },
    after: { roles: ["clerk"] },
    changes: [
      "lost role viewer call: yes -> no",
      "gained role clerk call: no -> yes",
      "gained role admin call: no -> yes",
    ],
  },
  {
    of: "what a role inherits",
    before: { roles: ["clerk"] },
    after: { roles: ["clerk"] },
    rolesAfter: { ...roles, viewer: { inherits: ["clerk"] } },
    changes: ["gained role viewer call: no -> yes"],
  },
  {
    of: "what a role grants",
    before: { roles: ["viewer"], permissions: ["order:read", "order:write", "mail:send"] },
    after: { roles: ["viewer"], permissions: ["order:read", "order:write", "mail:send"] },
    rolesAfter: { ...roles, viewer: { permissions: ["order:*"] } },
    changes: ["gained role viewer permissions: order:write, mail:send -> mail:send"],
  },
  {
    of: "a role that grants the last permission",
    before: { permissions: ["order:write"] },
    after: { permissions: ["order:write"] },
    rolesAfter: { ...roles, viewer: { permissions: ["*"] } },
    changes: ["gained role viewer permissions: order:write -> none"],
  },
  {
    of: "permissions that no longer need a role besides",
    before: { roles: ["clerk"], permissions: ["order:write"] },
    after: { permissions: ["order:write"] },
    changes: [
      "gained verified call: no -> yes, with permissions order:write",
      "gained role viewer call: no -> yes, with permissions order:write",
    ],
  },
  {
    of: "one permission less",
    before: { permissions: ["mail:send", "order:read"] },
    after: { permissions: ["order:read"] },
    changes: [
      "gained verified permissions: mail:send, order:read -> order:read",
      "gained role viewer permissions: mail:send -> none",
      "gained role clerk permissions: mail:send -> none",
      "gained role admin permissions: mail:send -> none",
    ],
  },
  {
    of: "another permission",
    before: { permissions: ["mail:send"] },
    after: { permissions: ["mail:read"] },
    changes: ["verified", "role viewer", "role clerk", "role admin"].map(
      (who) => `changed ${who} permissions: mail:send -> mail:read (${some})`,
    ),
  },
  {
    of: "one scheme more",
    before: { roles: ["clerk"], schemes: ["jwt"] },
    after: { roles: ["clerk"], schemes: ["jwt", "api-key"] },
    changes: ["role clerk", "role admin"].map((who) => `gained ${who} schemes: jwt -> jwt, api-key`),
  },
  {
    of: "another scheme",
    before: { roles: ["admin"], schemes: ["jwt"] },
    after: { roles: ["admin"], schemes: ["mtls"] },
    changes: [`changed role admin schemes: jwt -> mtls (${some})`],
  },
  {
    of: "any scheme",
    before: { roles: ["admin"], schemes: ["jwt"] },
    after: { roles: ["admin"] },
    changes: ["gained role admin schemes: jwt -> any"],
  },
  {
    of: "a new condition",
    before: { roles: ["admin"] },
    after: { roles: ["admin"], when: isOwner },
    changes: ["lost role admin conditions: none -> a condition on the request (when)"],
  },
  {
    of: "the same function",
    before: { roles: ["admin"], when: isOwner },
    after: { roles: ["admin"], when: isOwner },
    changes: [],
  },
  {
    of: "another function under the same words",
    before: { roles: ["admin"], when: isOwner },
    after: { roles: ["admin"], when: isPaid },
    changes: [
      `changed role admin conditions: a condition on the request (when) -> a condition on the request (when) (${byFunction})`,
    ],
  },
  {
    of: "an actor besides",
    before: { roles: ["admin"] },
    after: { roles: ["admin"], actor: "any" },
    changes: ["lost role admin actor: none needed -> any actor"],
  },
  {
    of: "more of an actor",
    before: { roles: ["admin"], actor: "any" },
    after: { roles: ["admin"], actor: { permissions: ["order:write"], schemes: ["mtls"] } },
    changes: ["lost role admin actor: any actor -> an actor with permission order:write and scheme mtls"],
  },
  {
    of: "who counts as the actor's role",
    before: { roles: ["admin"], actor: { roles: ["clerk"] } },
    after: { roles: ["admin"], actor: { roles: ["clerk"] } },
    rolesAfter: { ...roles, viewer: { inherits: ["clerk"] } },
    changes: [
      "gained role admin actor: an actor with role clerk or admin -> an actor with role viewer or clerk or admin",
    ],
  },
  {
    of: "a role that a permission of the actor comes from",
    before: { roles: ["admin"], actor: { permissions: ["order:write"] } },
    after: { roles: ["admin"], actor: { permissions: ["order:write"] } },
    rolesAfter: { ...roles, viewer: { permissions: ["order:write"] } },
    changes: [
      "gained role admin actor: an actor with permission order:write -> an actor with permission order:write",
    ],
  },
  {
    of: "what a role adds to another one that the rule names",
    before: { roles: ["admin"], permissions: ["mail:send"] },
    after: { roles: ["admin"], permissions: ["mail:send"] },
    rolesAfter: { ...roles, viewer: { permissions: ["mail:*"] } },
    changes: [
      "gained role viewer permissions: grants none -> grants mail:send (for callers who have another role besides, which the rule names)",
    ],
  },
  {
    of: "what an actor's role adds to another one",
    before: { roles: ["admin"], actor: { roles: ["clerk"], permissions: ["mail:send"] } },
    after: { roles: ["admin"], actor: { roles: ["clerk"], permissions: ["mail:send"] } },
    rolesBefore: { ...roles, viewer: { permissions: ["mail:*"] } },
    changes: [
      "lost role admin actor: an actor with role clerk or admin and permission mail:send -> an actor with role clerk or admin and permission mail:send",
    ],
  },
  {
    of: "a role that is new",
    before: { roles: ["admin"] },
    after: { roles: ["admin", "auditor"] },
    rolesAfter: { ...roles, auditor: {} },
    changes: [`gained role auditor call: no -> yes (${unknownRole})`],
  },
  {
    of: "a new role that may no more than others",
    before: "authenticated",
    after: "authenticated",
    rolesAfter: { ...roles, auditor: {} },
    changes: [],
  },
  {
    of: "what is demanded, when a call is first allowed",
    before: { roles: ["admin"] },
    after: {
      roles: ["clerk"],
      permissions: ["mail:send"],
      schemes: ["jwt", "mtls"],
      actor: "any",
      when: isOwner,
    },
    changes: [
      "gained role clerk call: no -> yes, with permissions mail:send, by jwt or mtls, through any actor, on a condition on the request (when)",
      "lost role admin permissions: none -> mail:send",
      "lost role admin schemes: any -> jwt, mtls",
      "lost role admin actor: none needed -> any actor",
      "lost role admin conditions: none -> a condition on the request (when)",
    ],
  },
];

describe("Z3 comparePolicies", () => {
  it.each(rows)("Z3 tells the change of $of, and its mirror", (row) => {
    const before = rbac({ roles: row.rolesBefore ?? roles, rules: { [get.path]: row.before } });
    const after = rbac({ roles: row.rolesAfter ?? roles, rules: { [get.path]: row.after } });
    const comparison = comparePolicies(before, after, [get]);
    expect(comparison.changes.map(told)).toEqual(row.changes);
    expect(comparison.isEmpty).toBe(row.changes.length === 0);
    const back = comparePolicies(after, before, [get]);
    expect(inOrder(back.changes)).toEqual(inOrder(comparison.changes.map(mirror)));
    const count = (direction: string): number =>
      row.changes.filter((one) => one.startsWith(direction)).length;
    expect(comparison.counts).toEqual({
      gained: count("gained"),
      lost: count("lost"),
      changed: count("changed"),
    });
  });

  it("Z3 gives every access of a method: before, after, and absent where it is not there", () => {
    const before = rbac({ roles, rules: { [get.path]: { roles: ["clerk"] } } });
    const after = rbac({
      roles,
      rules: { [get.path]: "authenticated", [cancel.path]: { roles: ["admin"] } },
    });
    const { changes } = comparePolicies(before, after, { before: [get], after: [get, cancel] });
    expect(
      changes.map(({ method, accessBefore, accessAfter, role, direction }) => [
        method,
        `${accessBefore} ${accessAfter}`,
        role,
        direction,
      ]),
    ).toEqual([
      [get.path, "restricted authenticated", undefined, "gained"],
      [get.path, "restricted authenticated", "viewer", "gained"],
      [cancel.path, "absent restricted", "admin", "gained"],
    ]);
    const back = comparePolicies(after, before, { before: [get, cancel], after: [get] });
    expect(back.counts).toEqual({ gained: 0, lost: 3, changed: 0 });
  });

  it("Z3 reads the methods from definitions of services", () => {
    const methods = methodsOf(kindsDefinition);
    expect(methods.map(({ path, kind, known }) => `${path} ${kind} ${known}`)).toEqual([
      "/test.v1.Kinds/Unary unary true",
      "/test.v1.Kinds/ClientStream client_stream true",
      "/test.v1.Kinds/ServerStream server_stream true",
      "/test.v1.Kinds/BidiStream bidi_stream true",
    ]);
    const after = rbac({ roles: { caller: {} }, rules: { "/test.v1.*": { roles: ["caller"] } } });
    expect(comparePolicies(allowAuthenticated(), after, methods).counts).toEqual({
      gained: 0,
      lost: methods.length,
      changed: 0,
    });
  });

  it("Z2 says which policy does not fit, and every problem", () => {
    const before = rbac({ rules: { "/a.B/C": "public" } });
    const after = rbac({ rules: { [get.path]: { roles: ["root"] } } });
    expect(() => comparePolicies(before, after, [get])).toThrow(PolicyError);
    expect(() => comparePolicies(before, after, [get])).toThrow(
      /before: \/a\.B\/C: no such method[\s\S]*before: .*no rule[\s\S]*after: .*no such role root/,
    );
    expect(() => comparePolicies(after, after, [get])).toThrow(PolicyError);
  });

  describe("Z3 with authorizers of one's own", () => {
    const own = (rule: MethodPolicy | undefined, known?: readonly string[]): Authorizer => ({
      name: "own",
      compile: (): Policy => ({ roles: known, forMethod: () => rule }),
    });
    const decide = (): { effect: "none" } => ({ effect: "none" });
    const runTime = "decided at run time: whether it allows more or less cannot be told";
    const restricted = rbac({ roles: { admin: {}, other: {} }, rules: { "/*": { roles: ["admin"] } } });

    it("Z3 what is decided at run time is changed, in words", () => {
      const { changes } = comparePolicies(restricted, own({ access: "checked", decide }), [get]);
      expect(changes.map(told)).toEqual([
        `changed verified call: no -> decided at run time (${runTime})`,
        `changed role admin call: yes -> decided at run time (${runTime})`,
        `changed role other call: no -> decided at run time (${runTime})`,
      ]);
    });

    it("Z3 what is decided at run time by the same function is the same, by another one cannot be told", () => {
      const first = own({ access: "checked", decide });
      const second = own({ access: "checked", decide: () => ({ effect: "none" }) });
      expect(comparePolicies(first, own({ access: "checked", decide }), [get]).isEmpty).toBe(true);
      expect(comparePolicies(first, second, [get]).changes.map(told)).toEqual([
        `changed verified call: decided at run time -> decided at run time (${runTime})`,
      ]);
    });

    it("Z3 a method that a policy does not know is denied", () => {
      const { changes } = comparePolicies(restricted, own(undefined), [get]);
      expect(changes.map(told)).toEqual([`lost role admin call: yes -> no (${unknownRole})`]);
      expect(changes[0]).toMatchObject({ accessBefore: "restricted", accessAfter: "denied" });
    });

    it("Z3 what is wrapped, and asked about each message, is a condition more", () => {
      const wrapping = (
        inner: Authorizer,
        decideMessage: NonNullable<MethodPolicy["decideMessage"]>,
      ): Authorizer => ({
        name: "wrapping",
        compile(methods) {
          const policy = inner.compile(methods);
          return {
            roles: policy.roles,
            forMethod(path) {
              const rule = policy.forMethod(path);
              return rule && { ...rule, decideMessage };
            },
          };
        },
      });
      const first = wrapping(restricted, () => ({ effect: "none" }));
      expect(comparePolicies(restricted, first, [get]).changes.map(told)).toEqual([
        "lost role admin conditions: none -> a check of each message",
      ]);
      const second = wrapping(restricted, () => ({ effect: "none" }));
      expect(comparePolicies(first, second, [get]).changes.map(told)).toEqual([
        `changed role admin conditions: a check of each message -> a check of each message (${byFunction})`,
      ]);
    });
  });
});

describe("Z3 comparePolicies over random policies", () => {
  const rounds = 2_000;

  it("Z3 a policy does not differ from itself, compiled twice", () => {
    const chance = new Chance(11);
    for (let round = 0; round < rounds; round += 1) {
      const options = randomPolicy(chance);
      const { changes } = comparePolicies(rbac(options), rbac(options), randomMethods);
      if (changes.length > 0) expect.unreachable(JSON.stringify({ options, changes }));
    }
  });

  it("Z3 the comparison the other way round is its mirror", () => {
    const chance = new Chance(12);
    for (let round = 0; round < rounds; round += 1) {
      const [a, b] = [rbac(randomPolicy(chance)), rbac(randomPolicy(chance))];
      const there = inOrder(comparePolicies(a, b, randomMethods).changes.map(mirror));
      const back = inOrder(comparePolicies(b, a, randomMethods).changes);
      if (there.join("\n") !== back.join("\n")) expect(back).toEqual(there);
    }
  });

  it("Z3 no call is newly allowed without a change that says gained or changed, for a role of its caller", () => {
    const chance = new Chance(13);
    const seen = { newlyAllowed: 0, noLongerAllowed: 0 };
    for (let round = 0; round < rounds; round += 1) {
      const [before, after] = [randomPolicy(chance), randomPolicy(chance)];
      const [was, is] = [rbac(before).compile(randomMethods), rbac(after).compile(randomMethods)];
      const { changes } = comparePolicies(rbac(before), rbac(after), randomMethods);
      for (let calls = 0; calls < 10; calls += 1) {
        const caller = randomCaller(chance);
        const { path } = chance.one<MethodInfo>(randomMethods);
        const [allowedBefore, allowedAfter] = [was, is].map((policy) => {
          const decision = policy.forMethod(path)?.decide(caller as CallContext);
          return decision !== undefined && "effect" in decision && decision.effect === "allow";
        });
        if (allowedBefore === allowedAfter) continue;
        const direction = allowedAfter ? "gained" : "lost";
        seen[allowedAfter ? "newlyAllowed" : "noLongerAllowed"] += 1;
        const isVerified = caller.principal !== undefined && caller.principal.kind !== "anonymous";
        const isTold = changes.some(
          (change) =>
            change.method === path &&
            (change.direction === direction || change.direction === "changed") &&
            (isVerified
              ? change.party === "verified" || caller.principal?.roles.has(change.role ?? "") === true
              : change.party === "everybody"),
        );
        if (!isTold)
          expect.unreachable(
            JSON.stringify({
              before,
              after,
              path,
              caller,
              roles: [...(caller.principal?.roles ?? [])],
              changes,
            }),
          );
      }
    }
    expect(Math.min(seen.newlyAllowed, seen.noLongerAllowed)).toBeGreaterThan(rounds / 2);
  });
});

describe("Z3 the comparison to read", () => {
  const before = rbac({
    roles,
    rules: { [get.path]: { roles: ["clerk"] }, [cancel.path]: { roles: ["viewer"] } },
  });
  const after = rbac({ roles, rules: { [get.path]: "public", [cancel.path]: { roles: ["clerk"] } } });

  it("Z3 as text: what is gained first, parties with the same change in one row", () => {
    expect(comparePolicies(before, after, [get, cancel]).toText()).toBe(
      `5 gained, 1 lost, 0 changed.

direction  who                                                                method                         access                what  before  after  note
gained     everybody without credentials, every verified caller, role viewer  /orders.v1.Orders/GetOrder     restricted -> public  call  no      yes    -
gained     role clerk, role admin                                             /orders.v1.Orders/CancelOrder  restricted            call  no      yes    -
lost       role viewer                                                        /orders.v1.Orders/CancelOrder  restricted            call  yes     no     -
`,
    );
  });

  it("Z3 as Markdown, for a pull request", () => {
    expect(comparePolicies(before, after, [get, cancel]).toMarkdown()).toBe(
      String.raw`# Access changes

5 gained, 1 lost, 0 changed.

| direction | who | method | access | what | before | after | note |
|---|---|---|---|---|---|---|---|
| gained | everybody without credentials, every verified caller, role viewer | /orders.v1.Orders/GetOrder | restricted -\> public | call | no | yes |  |
| gained | role clerk, role admin | /orders.v1.Orders/CancelOrder | restricted | call | no | yes |  |
| lost | role viewer | /orders.v1.Orders/CancelOrder | restricted | call | yes | no |  |
`,
    );
  });

  it("Z3 as data: what JSON holds of it is what there is", () => {
    const comparison = comparePolicies(before, after, [get, cancel]);
    const { isEmpty, counts, changes } = comparison;
    expect(JSON.parse(JSON.stringify(comparison))).toEqual({ isEmpty, counts, changes });
  });

  it.each(hostileNames)("Z3 a role and a scheme named %j break no row", (name) => {
    const hostile = rbac({ roles: { [name]: {} }, rules: { "/*": { roles: [name], schemes: [name] } } });
    const plain = rbac({ roles: { role: {} }, rules: { "/*": { roles: ["role"], schemes: ["role"] } } });
    const none = rbac({ rules: { "/*": { schemes: ["jwt"] } } });
    const [markdown, other] = [hostile, plain].map((one) => comparePolicies(none, one, [get]).toMarkdown());
    const bars = (text = ""): readonly number[] =>
      text.split("\n").map((line) => line.match(/(?<!\\)(?:\\\\)*\|/g)?.length ?? 0);
    expect(bars(markdown)).toEqual(bars(other));
    expect(markdown).not.toMatch(/(?<!\\)(?:\\\\)*[<[`*_]/);
    expect(comparePolicies(none, hostile, [get]).toText().split("\n")).toHaveLength(
      comparePolicies(none, plain, [get]).toText().split("\n").length,
    );
  });

  it("Z3 nothing to tell is one sentence", () => {
    const { isEmpty, toText, toMarkdown } = comparePolicies(before, before, [get, cancel]);
    expect(isEmpty).toBe(true);
    expect(toText()).toBe("Nobody gains or loses access.\n");
    expect(toMarkdown()).toBe("# Access changes\n\nNobody gains or loses access.\n");
  });
});
