// Several policies at once: each of them must allow.
import type { CallContext } from "../../chain/context.ts";
import { isThenable } from "../../chain/thenable.ts";
import { ConfigError, PolicyError } from "../../grpc/errors.ts";
import type { MethodInfo } from "../../grpc/method.ts";
import type {
  Authorizer,
  CallerSchemes,
  Decision,
  MethodPolicy,
  Policy,
  ReadableRule,
} from "./authorizer.ts";

type Ask = (policy: MethodPolicy) => Decision | Promise<Decision>;

/** One of the policies, for one method. */
interface Part {
  readonly authorizer: string;
  readonly policy: MethodPolicy;
}

/**
 * Asks the authorizers in this order, and allows what all of them allow. The first that does not allow decides; the others are
 * not asked any more. A method that one of them has no rule for is denied. A method is public where it is public for all of
 * them. One that throws makes the call UNAVAILABLE.
 *
 * The rule of an allowed call, in log and audit, is that of each, joined by ` + `; of a denied call, the rule that denied.
 *
 * @throws {ConfigError} without an authorizer, or for what is none.
 * @throws {PolicyError} from `compile`, with the problems of all.
 *
 * @example
 * allAuthorizers(rbac({ … }), grpcPolicy({ file: "/etc/mesh/policy.json" }))
 */
export function allAuthorizers(...authorizers: readonly Authorizer[]): Authorizer {
  if (authorizers.length === 0)
    throw new ConfigError(
      "allAuthorizers: expected at least one authorizer; without one every call would be allowed",
    );
  for (const [index, authorizer] of authorizers.entries())
    if (typeof authorizer?.compile !== "function")
      throw new ConfigError(`allAuthorizers.${index}: must be an authorizer, such as rbac({ … })`);
  return Object.freeze({
    name: authorizers.map(({ name }) => name).join(" + "),
    compile: (methods: readonly MethodInfo[], callers?: CallerSchemes) =>
      new AllPolicies(compileEach(authorizers, methods, callers)),
    onChange(listener: () => void) {
      const stops = authorizers.map((authorizer) => authorizer.onChange?.(listener));
      return () => {
        for (const stop of stops) stop?.();
      };
    },
  });
}

interface NamedPolicy {
  readonly name: string;
  readonly policy: Policy;
}

function compileEach(
  authorizers: readonly Authorizer[],
  methods: readonly MethodInfo[],
  callers: CallerSchemes | undefined,
): readonly NamedPolicy[] {
  const problems: string[] = [];
  const compiled = authorizers.flatMap((authorizer) => {
    try {
      return [{ name: authorizer.name, policy: authorizer.compile(methods, callers) }];
    } catch (error) {
      if (!(error instanceof PolicyError)) throw error;
      problems.push(...error.problems);
      return [];
    }
  });
  if (problems.length > 0) throw new PolicyError(problems);
  return compiled;
}

class AllPolicies implements Policy {
  readonly roles: readonly string[];
  readonly warnings: readonly string[];
  readonly #policies: readonly NamedPolicy[];

  constructor(policies: readonly NamedPolicy[]) {
    this.#policies = policies;
    this.roles = [...new Set(policies.flatMap(({ policy }) => policy.roles ?? []))];
    this.warnings = policies.flatMap(({ policy }) => policy.warnings ?? []);
  }

  forMethod(path: string): MethodPolicy | undefined {
    const parts: Part[] = [];
    for (const { name, policy } of this.#policies) {
      const own = policy.forMethod(path);
      if (own === undefined) return undefined;
      parts.push({ authorizer: name, policy: own });
    }
    return all(parts);
  }
}

function all(parts: readonly Part[]): MethodPolicy {
  const isPublic = parts.every(({ policy }) => policy.access === "public");
  const readMessages = parts.filter(({ policy }) => policy.decideMessage !== undefined);
  return {
    access: isPublic ? "public" : "checked",
    decide: (call: CallContext) => each(parts, (policy) => policy.decide(call)),
    ...(readMessages.length === 0
      ? {}
      : {
          decideMessage: (call: CallContext, message: unknown) =>
            each(readMessages, (policy) => policy.decideMessage?.(call, message) ?? none),
        }),
    describe: () => describeAll(parts),
  };
}

const none: Decision = Object.freeze({ effect: "none" });

/** One after the other, so that what a later one costs is not spent on what an earlier one denies. */
function each(
  parts: readonly Part[],
  ask: Ask,
  before: readonly MadeDecision[] = [],
): Decision | Promise<Decision> {
  let allowed = before;
  for (const { policy } of parts.slice(before.length)) {
    const decision = ask(policy);
    if (isThenable(decision)) {
      const soFar = allowed;
      return decision.then((settled) =>
        isAllowed(settled) ? each(parts, ask, [...soFar, settled]) : settled,
      );
    }
    if (!isAllowed(decision)) return decision;
    allowed = [...allowed, decision];
  }
  return together(allowed);
}

function together(allowed: readonly MadeDecision[]): Decision {
  const ids = allowed.flatMap(({ id }) => (id === undefined ? [] : [id]));
  return {
    effect: "allow",
    rule: [...new Set(allowed.map(({ rule }) => rule))].join(" + "),
    ...(ids.length === 0 ? {} : { id: ids.join(" + ") }),
    // There is a record where one of them does not ask for none.
    ...(allowed.every(({ audit }) => audit === false) ? { audit: false } : {}),
  };
}

type MadeDecision = Extract<Decision, { readonly rule: string }>;

/** Whatever else it is goes to the middleware as it is, which refuses it. */
function isAllowed(decision: Decision): decision is MadeDecision {
  return typeof decision === "object" && decision !== null && decision.effect === "allow";
}

/** What all of them demand together. */
function describeAll(parts: readonly Part[]): ReadableRule {
  const rules = parts.map(({ authorizer, policy }) => readable(authorizer, policy));
  const schemes = rules.map((rule) => rule.schemes ?? []).filter((each) => each.length > 0);
  const [first = [], ...others] = schemes;
  const common = first.filter((scheme) => others.every((each) => each.includes(scheme)));
  return {
    rule: rules.map(({ rule }) => rule).join(" + "),
    ...rolesOf(rules),
    permissions: [...new Set(rules.flatMap(({ permissions = [] }) => permissions))],
    schemes: common,
    conditions: [
      ...rules.flatMap(({ conditions = [] }) => conditions),
      ...(first.length > 0 && common.length === 0
        ? ["no scheme satisfies all policies: nobody is allowed"]
        : []),
    ],
  };
}

function readable(authorizer: string, policy: MethodPolicy): ReadableRule {
  if (policy.access === "public")
    return { rule: policy.describe?.().rule ?? "public", roles: "every verified caller" };
  return (
    policy.describe?.() ?? {
      rule: authorizer,
      roles: "every verified caller",
      conditions: [`what ${authorizer} decides at run time`],
    }
  );
}

function rolesOf(rules: readonly ReadableRule[]): Pick<ReadableRule, "roles" | "rolesWithPermissions"> {
  const limited = rules.filter(({ roles }) => roles !== "every verified caller");
  if (limited.length === 0) return { roles: "every verified caller" };
  const lists = limited.map(({ roles, rolesWithPermissions = [] }) => ({
    enough: roles === "every verified caller" ? [] : roles,
    withPermissions: rolesWithPermissions,
  }));
  const named = [...new Set(lists.flatMap(({ enough, withPermissions }) => [...enough, ...withPermissions]))];
  const roles = named.filter((role) => lists.every(({ enough }) => enough.includes(role)));
  const possible = named.filter((role) =>
    lists.every(({ enough, withPermissions }) => enough.includes(role) || withPermissions.includes(role)),
  );
  return { roles, rolesWithPermissions: possible.filter((role) => !roles.includes(role)) };
}
