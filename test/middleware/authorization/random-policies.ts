// Random policies of rbac and random callers, the same ones in every run.
import { anonymousPrincipal, type Principal } from "../../../src/chain/principal.ts";
import { type MethodInfo, methodInfo } from "../../../src/grpc/method.ts";
import type { When } from "../../../src/middleware/authorization/condition.ts";
import type {
  ActorRequirement,
  Requirement,
  Rule,
} from "../../../src/middleware/authorization/method-rule.ts";
import type { RbacOptions } from "../../../src/middleware/authorization/rbac.ts";
import type { RoleDefinition } from "../../../src/middleware/authorization/roles.ts";

export const methods: readonly MethodInfo[] = [
  methodInfo("/shop.v1.Orders/Get", "unary", true),
  methodInfo("/shop.v1.Orders/Watch", "server_stream", true),
  methodInfo("/shop.v1.Mail/Send", "client_stream", true),
  methodInfo("/Bare/Hello", "bidi_stream", true),
];

export const permissions: readonly string[] = ["order:read", "order:write", "mail:send"];
const grants = [...permissions, "order:*", "mail:*", "*"];
const schemes = ["jwt", "api-key", "mtls"];
const roleNames = ["r0", "r1", "r2", "r3", "constructor"];
/** What a policy cannot name. */
const foreignRoles = ["stranger", "__proto__", "toString"];
const whens: readonly When[] = [() => true, () => false];

/** Numbers from 0 to 1 by the algorithm mulberry32. */
export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  }

  /** True this often. */
  happens(probability: number): boolean {
    return this.next() < probability;
  }

  one<T>(from: readonly T[]): T {
    const chosen = Math.floor(this.next() * from.length);
    for (const each of from.slice(chosen)) return each;
    throw new Error("nothing to choose from");
  }

  /** Each of them with this probability. */
  some<T>(from: readonly T[], probability = 0.4): readonly T[] {
    return from.filter(() => this.happens(probability));
  }
}

/** As `rbac` takes it: it always fits `methods`. */
export function randomPolicy(chance: Chance): Pick<RbacOptions, "rules"> & { readonly roles: Roles } {
  const names = chance.some(roleNames, 0.8);
  const roles = Object.fromEntries(
    names.map((name, index) => [name, randomRole(chance, names.slice(0, index))] as const),
  );
  const paths = ["/shop.v1.Orders/*", "/shop.v1.*", "/shop.*", ...methods.map(({ path }) => path)];
  const rules = Object.fromEntries(
    ["/*", ...chance.some(paths, 0.6)].map((path) => [path, randomRule(chance, names, path)] as const),
  );
  return { roles, rules };
}

type Roles = Readonly<Record<string, RoleDefinition>>;

function randomRole(chance: Chance, others: readonly string[]): RoleDefinition {
  return {
    ...(chance.happens(0.7) ? { permissions: chance.some(grants, 0.25) } : {}),
    ...(chance.happens(0.5) ? { inherits: chance.some(others) } : {}),
  };
}

function randomRule(chance: Chance, roles: readonly string[], path: string): Rule {
  if (chance.happens(0.1)) return "authenticated";
  if (!path.includes("*") && chance.happens(0.15)) return "public";
  const rule: Requirement = {
    ...randomDemand(chance, roles),
    ...(chance.happens(0.3) ? { actor: randomActor(chance, roles) } : {}),
    ...(chance.happens(0.15) ? { when: chance.one(whens) } : {}),
  };
  return Object.keys(rule).length === 0 ? "authenticated" : rule;
}

function randomActor(chance: Chance, roles: readonly string[]): "any" | ActorRequirement {
  const demand = randomDemand(chance, roles);
  return Object.keys(demand).length === 0 ? "any" : demand;
}

function randomDemand(chance: Chance, roles: readonly string[]): ActorRequirement {
  const demand = {
    roles: chance.some(roles),
    permissions: chance.some(permissions),
    schemes: chance.some(schemes, 0.2),
  };
  return Object.fromEntries(Object.entries(demand).filter(([, wanted]) => wanted.length > 0));
}

/** A verified caller: with roles that a policy may know, and some that none knows. */
export function randomPrincipal(chance: Chance): Principal {
  return {
    subject: "ada",
    kind: chance.one(["user", "service"] as const),
    scheme: chance.one([...schemes, "own"]),
    roles: new Set([...chance.some(roleNames, 0.25), ...chance.some(foreignRoles, 0.1)]),
    permissions: new Set(chance.some([...grants, "*:read", "order:"], 0.15)),
    claims: {},
  };
}

/** Who calls: nobody, an anonymous one, or a verified one; with an application or without. */
export function randomCaller(chance: Chance): {
  readonly principal: Principal | undefined;
  readonly actor: Principal | undefined;
} {
  const verified = randomPrincipal(chance);
  const principal = chance.happens(0.1) ? chance.one([undefined, anonymousPrincipal]) : verified;
  return { principal, actor: chance.happens(0.4) ? randomPrincipal(chance) : undefined };
}
