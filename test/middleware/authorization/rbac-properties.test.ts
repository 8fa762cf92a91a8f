// What holds for every policy of rbac, over random ones and random calls. The oracle is written from the documentation
// alone: it shares no code with the policy that it judges.
import { describe, expect, it } from "vitest";
import type { CallContext } from "../../../src/chain/context.ts";
import type { Principal } from "../../../src/chain/principal.ts";
import type { Authorizer, Policy } from "../../../src/middleware/authorization/authorizer.ts";
import type { ActorRequirement, Rule } from "../../../src/middleware/authorization/method-rule.ts";
import { type RbacOptions, rbac } from "../../../src/middleware/authorization/rbac.ts";
import { Chance, methods, permissions, randomCaller, randomPolicy } from "./random-policies.ts";

const rounds = 10_000;

interface Caller {
  readonly principal: Principal | undefined;
  readonly actor: Principal | undefined;
}

function allows(policy: Policy, path: string, caller: Caller): boolean {
  const decision = policy.forMethod(path)?.decide(caller as CallContext);
  if (decision instanceof Promise) throw new Error("rbac decides synchronously");
  return decision?.effect === "allow";
}

/** The rule that decides: the longest path that covers the method. */
function ruleFor({ rules }: RbacOptions, path: string): Rule | undefined {
  const service = path.slice(1, path.indexOf("/", 1));
  const covering = Object.keys(rules).filter(
    (one) =>
      one === path ||
      one === `/${service}/*` ||
      one === "/*" ||
      (one.endsWith(".*") && `/${service}`.startsWith(one.slice(0, -1))),
  );
  const [deciding] = covering.sort((a, b) => Number(b === path) - Number(a === path) || b.length - a.length);
  return deciding === undefined ? undefined : rules[deciding];
}

function rolesReached({ roles = {} }: RbacOptions, held: ReadonlySet<string>): ReadonlySet<string> {
  const reached = new Set([...held].filter((role) => Object.hasOwn(roles, role)));
  for (const role of reached) for (const next of roles[role]?.inherits ?? []) reached.add(next);
  return reached;
}

function mayBe(options: RbacOptions, demand: ActorRequirement, party: Principal | undefined): boolean {
  if (party === undefined || party.kind === "anonymous") return false;
  const reached = rolesReached(options, party.roles);
  const granted = new Set([
    ...party.permissions,
    ...[...reached].flatMap((role) => options.roles?.[role]?.permissions ?? []),
  ]);
  return (
    (demand.schemes?.includes(party.scheme) ?? true) &&
    (demand.roles?.some((role) => reached.has(role)) ?? true) &&
    (demand.permissions ?? []).every(
      (one) => granted.has(one) || granted.has(`${one.split(":")[0]}:*`) || granted.has("*"),
    )
  );
}

function should(options: RbacOptions, path: string, { principal, actor }: Caller): boolean {
  const rule = ruleFor(options, path);
  if (rule === undefined) return false;
  if (rule === "public") return true;
  const demand = rule === "authenticated" ? {} : rule;
  const byActor =
    demand.actor === undefined || mayBe(options, demand.actor === "any" ? {} : demand.actor, actor);
  return mayBe(options, demand, principal) && byActor;
}

describe("Z1 over 10,000 random policies and calls", () => {
  it("Z1 allows exactly what the rules say, and denies by default", () => {
    const chance = new Chance(1);
    const seen = { allowed: 0, denied: 0 };
    for (let round = 0; round < rounds; round += 1) {
      const options = randomPolicy(chance);
      const policy = rbac(options).compile(methods);
      const { path } = chance.one(methods);
      const caller = randomCaller(chance);
      const expected = should(options, path, caller);
      if (allows(policy, path, caller) !== expected)
        expect.unreachable(told({ options, path, caller, expected }));
      seen[expected ? "allowed" : "denied"] += 1;
      // A method without a rule, one that is not registered, a caller who is not verified.
      const strange = chance.one([
        "/shop.v1.Orders/Nope",
        "/shop.v1.orders/get",
        "",
        "__proto__",
        `${path}/`,
      ]);
      if (policy.forMethod(strange) !== undefined) expect.unreachable(`${strange} has a policy`);
      if (
        policy.forMethod(path)?.access !== "public" &&
        allows(policy, path, { ...caller, principal: undefined })
      )
        expect.unreachable(told({ options, path, caller: "nobody" }));
    }
    // Both happen often: the generator makes no policies that decide nothing.
    expect(Math.min(seen.allowed, seen.denied)).toBeGreaterThan(rounds / 5);
  });

  it("Z2 a method that no rule covers does not start", () => {
    const chance = new Chance(2);
    for (let round = 0; round < rounds / 10; round += 1) {
      const { roles, rules } = randomPolicy(chance);
      const { "/*": _, ...rest } = rules;
      const uncovered = methods.filter(({ path }) => ruleFor({ rules: rest }, path) === undefined);
      const compiled = () => rbac({ roles, rules: rest }).compile(methods);
      if (uncovered.length === 0) expect(compiled).not.toThrow();
      else for (const { path } of uncovered) expect(compiled).toThrow(`${path}: no rule`);
    }
  });

  it("Z1 another role of a caller takes nothing away", () => {
    const chance = new Chance(3);
    let gains = 0;
    for (let round = 0; round < rounds; round += 1) {
      const options = randomPolicy(chance);
      const policy = rbac(options).compile(methods);
      const { principal, actor } = randomCaller(chance);
      if (principal === undefined) continue;
      const role = chance.one([...Object.keys(options.roles), "stranger"]);
      const party = chance.one(["principal", "actor"] as const);
      const before = { principal, actor };
      const changed = before[party];
      if (changed === undefined) continue;
      const after = { ...before, [party]: { ...changed, roles: new Set([...changed.roles, role]) } };
      for (const { path } of methods) {
        const [was, is] = [allows(policy, path, before), allows(policy, path, after)];
        if (was && !is) expect.unreachable(told({ options, path, before, role }));
        if (is && !was) gains += 1;
      }
    }
    expect(gains).toBeGreaterThan(rounds / 50);
  });

  it("Z1 another permission of a role takes nothing away", () => {
    const chance = new Chance(4);
    let gains = 0;
    for (let round = 0; round < rounds; round += 1) {
      const options = randomPolicy(chance);
      const [role] = chance.some(Object.keys(options.roles), 0.5);
      if (role === undefined) continue;
      const permission = chance.one([...permissions, "order:*", "*", "other:thing"]);
      const own = options.roles[role];
      const more = { ...own, permissions: [...(own?.permissions ?? []), permission] };
      const before = rbac(options).compile(methods);
      const after = rbac({ ...options, roles: { ...options.roles, [role]: more } }).compile(methods);
      const caller = randomCaller(chance);
      for (const { path } of methods) {
        const [was, is] = [allows(before, path, caller), allows(after, path, caller)];
        if (was && !is) expect.unreachable(told({ options, path, caller, role, permission }));
        if (is && !was) gains += 1;
      }
    }
    expect(gains).toBeGreaterThan(rounds / 100);
  });

  it("Z4 an authorizer that wraps another and adds decideMessage never allows a call that the inner one denies", () => {
    const chance = new Chance(5);
    const wrapped = (inner: Authorizer): Authorizer => ({
      name: "wrapping",
      compile(all, callers) {
        const policy = inner.compile(all, callers);
        return {
          forMethod(path) {
            const rule = policy.forMethod(path);
            return rule && { ...rule, decideMessage: () => ({ effect: "allow", rule: "wrapping" }) };
          },
        };
      },
    });
    let denied = 0;
    for (let round = 0; round < rounds; round += 1) {
      const inner = rbac(randomPolicy(chance));
      const outer = wrapped(inner).compile(methods);
      const policy = inner.compile(methods);
      const caller = randomCaller(chance);
      for (const path of [chance.one(methods).path, "/shop.v1.Orders/Nope"]) {
        const isPublic = policy.forMethod(path)?.access === "public";
        if ((outer.forMethod(path)?.access === "public") !== isPublic)
          expect.unreachable(`${path} is public`);
        if (allows(policy, path, caller)) continue;
        denied += 1;
        if (allows(outer, path, caller)) expect.unreachable(told({ path, caller }));
      }
    }
    expect(denied).toBeGreaterThan(rounds);
  });
});

/** A counterexample, with the members of sets. */
function told(what: object): string {
  return JSON.stringify(what, (_, value: unknown) => (value instanceof Set ? [...value] : value));
}
