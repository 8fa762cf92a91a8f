// One method's rule, worked out at start-up: nearly every answer it can give is made once.
import type { CallContext } from "../../chain/context.ts";
import { FrozenSet } from "../../chain/frozen-set.ts";
import { everyPermission } from "../../chain/permission.ts";
import type { Principal } from "../../chain/principal.ts";
import { isThenable } from "../../chain/thenable.ts";
import { describeError } from "../../observability/error-description.ts";
import { LogThrottle } from "../../observability/log-throttle.ts";
import { redactSecrets } from "../../observability/redaction.ts";
import type { Decision, MethodPolicy, ReadableDemand, ReadableRule } from "./authorizer.ts";
import type { Condition, When } from "./condition.ts";
import type { LookedUpRoles } from "./role-lookup.ts";
import type { DemandedPermission, Roles } from "./roles.ts";

/** What a rule demands of the application that speaks for the caller. Every part that is given must hold. */
export interface ActorRequirement {
  /** Any one of these roles, or a role that inherits one of them. Default: not looked at. */
  readonly roles?: readonly string[] | undefined;
  /** All of these permissions (`resource:action`), from the actor's own or from its roles. Default: not looked at. */
  readonly permissions?: readonly string[] | undefined;
  /** How the actor was verified: any one of these schemes (`api-key`, `mtls`, …). Default: not looked at. */
  readonly schemes?: readonly string[] | undefined;
}

/** What a rule demands of an identified caller. Every part that is given must hold. */
export interface Requirement {
  /** Any one of these roles, or a role that inherits one of them. Default: not looked at. */
  readonly roles?: readonly string[] | undefined;
  /** All of these permissions (`resource:action`), from the caller's own or from its roles. Default: not looked at. */
  readonly permissions?: readonly string[] | undefined;
  /** How the caller was verified: any one of these schemes (`jwt`, `api-key`, `mtls`, …). Default: not looked at. */
  readonly schemes?: readonly string[] | undefined;
  /**
   * The application that speaks for the caller (`allOf`): `"any"` that was verified, or what it must have. Default: not
   * looked at.
   */
  readonly actor?: "any" | ActorRequirement | undefined;
  /**
   * Asked after all of the above with each request message, before the handler sees it. Only `true` lets the message pass;
   * a throw or a rejection denies. The message is what the method's deserializer made of it, so name its type in the
   * function's parameters. Or a condition that can be read: `cel("…")` of `grpc-palisade/cel`. Default: messages are not
   * looked at.
   */
  readonly when?: When | Condition | undefined;
}

/** `public`: nobody has to say who they are. `authenticated`: anybody who did. Else what the caller must have. */
export type Rule = "public" | "authenticated" | Requirement;

/** A method's rule, as it can be read: the row of an access matrix. */
export interface MethodRule extends MethodPolicy {
  /** The path under which the rule stands in the policy. */
  readonly rulePath: string;
  readonly rule: Rule;
}

export interface MethodRuleParts {
  readonly roles: Roles;
  /** What was made of the rule's `when` for this method. */
  readonly ask: When | undefined;
  /** Where a caller's further roles come from. */
  readonly lookedUp: LookedUpRoles | undefined;
}

/**
 * A plain object, so that `{ ...methodRule }` is one too: whoever wraps it and adds a check keeps this one.
 */
export function methodRule(
  rulePath: string,
  rule: Rule,
  { roles, ask, lookedUp }: MethodRuleParts,
): MethodRule {
  const allowed = allow(rulePath);
  if (rule === "public")
    return Object.freeze<MethodRule>({
      access: "public",
      rulePath,
      rule,
      decide: () => allowed,
      describe: () => ({ rule: rulePath, roles: [] }),
    });
  const demand: Requirement = rule === "authenticated" ? {} : rule;
  const principal = principalCheck(rulePath, demand, roles);
  const actor = actorCheck(rulePath, demand, roles);
  const named = conditionInWords(demand.when);
  return Object.freeze<MethodRule>({
    access: "checked",
    rulePath,
    rule,
    decide: (call) => {
      const { principal: caller } = call;
      const denial = principal.denial(caller);
      const actorsDenial = actor?.denial(call.actor);
      if (denial === undefined) return actorsDenial ?? allowed;
      if (lookedUp === undefined || actorsDenial !== undefined || !principal.mayLackRoles(caller))
        return denial;
      const decideWith = (further: ReadonlySet<string>): Decision =>
        principal.denial(withRoles(caller, further)) ?? allowed;
      const further = lookedUp.rolesOf(caller);
      return isThenable(further) ? further.then(decideWith) : decideWith(further);
    },
    ...(ask === undefined ? {} : { decideMessage: conditionOf(rulePath, { ask, named, allowed }) }),
    describe: () => readable(rulePath, rule, { principal, actor }),
  });
}

/** Nobody has more by it than who is verified: an unverified caller's roles are not looked up. */
function withRoles(principal: Principal, further: ReadonlySet<string>): Principal {
  return { ...principal, roles: new Set([...principal.roles, ...further]) };
}

function principalCheck(rulePath: string, demand: Requirement, roles: Roles): PartyCheck {
  return new PartyCheck(rulePath, demand, roles, { missing: "needs a verified caller", prefix: "needs" });
}

function actorCheck(rulePath: string, { actor }: Requirement, roles: Roles): PartyCheck | undefined {
  if (actor === undefined) return undefined;
  return new PartyCheck(rulePath, actor === "any" ? {} : actor, roles, {
    missing: "needs an actor: an application that calls for the user (allOf)",
    prefix: "needs an actor with",
  });
}

interface AskedCondition {
  readonly ask: When;
  readonly named: string;
  readonly allowed: Decision;
}

function conditionOf(
  rulePath: string,
  { ask, named, allowed }: AskedCondition,
): NonNullable<MethodPolicy["decideMessage"]> {
  const unfulfilled = deny(rulePath, `${named} does not hold`);
  const settle = (answer: unknown): Decision =>
    /* protection: when */ answer === true ? allowed : unfulfilled;
  const threw = deny(rulePath, `${named} threw an error, which is in the log`);
  const logged = new LogThrottle({ periodMs: logEveryMs });
  // What was thrown may show the request, which is not for the audit.
  const failed = (call: CallContext, error: unknown): Decision => {
    const message = "the condition of a rule (when) threw an error; the call is denied";
    const leftOut = logged.admit(message);
    if (leftOut !== undefined)
      call.log.warn({ rule: rulePath, err: describeError(error), left_out: leftOut }, message);
    return threw;
  };
  return (call, request) => {
    try {
      const answer = ask(call, request);
      return isThenable(answer)
        ? answer.then(settle, (error: unknown) => failed(call, error))
        : settle(answer);
    } catch (error) {
      return failed(call, error);
    }
  };
}

function conditionInWords(when: Requirement["when"]): string {
  const which = typeof when === "object" ? `: ${when.text}` : "";
  return `the condition on the request (when${which})`;
}

/** Of one rule. */
const logEveryMs = 60_000;

interface Checks {
  readonly principal: PartyCheck;
  readonly actor: PartyCheck | undefined;
}

function readable(rule: string, demand: Exclude<Rule, "public">, checks: Checks): ReadableRule {
  if (typeof demand === "string") return { rule, roles: "every verified caller" };
  const { roles: _roles, permissions: _permissions, schemes: _schemes, actor, when, ...rest } = demand;
  const words = actorInWords(actor);
  const conditions = [
    ...(words === undefined ? [] : [words]),
    ...(when === undefined
      ? []
      : [typeof when === "function" ? "a condition on the request (when)" : when.text]),
    ...Object.entries(rest).flatMap(inWords),
  ];
  return {
    rule,
    ...checks.principal.demand(),
    conditions,
    ...(words === undefined || checks.actor === undefined
      ? {}
      : { actor: { ...checks.actor.demand(), words } }),
    ...(when === undefined ? {} : { functions: typeof when === "function" ? [when] : [] }),
  };
}

/** What one of the two parties of a call must have, the principal or the actor. */
class PartyCheck {
  readonly #schemes: readonly string[] | undefined;
  readonly #roles: readonly string[] | undefined;
  readonly #everyRole: readonly string[];
  readonly #known: Pick<Roles, "has">;
  readonly #permissions: readonly DemandedPermission[];
  readonly #lacks: (permission: string) => Denial;
  readonly #unidentified: Decision;
  readonly #wrongScheme: Decision;
  readonly #wrongRole: Denial;
  /** For whoever has every permission, and may expect that to be enough. */
  readonly #wrongRoleOnly: Denial;
  readonly #everything: DemandedPermission;

  constructor(
    rulePath: string,
    { schemes, roles: wanted, permissions = [] }: ActorRequirement,
    roles: Roles,
    words: { readonly missing: string; readonly prefix: string },
  ) {
    this.#schemes = schemes;
    this.#roles = wanted && roles.countingAsAnyOf(wanted);
    this.#everyRole = roles.names;
    this.#known = roles;
    this.#permissions = permissions.map((exact) => roles.demanded(exact));
    this.#lacks = (permission) => deny(rulePath, `${words.prefix} permission ${permission}`);
    this.#unidentified = deny(rulePath, words.missing);
    this.#wrongScheme = deny(rulePath, `${words.prefix} ${oneOf("scheme", schemes ?? [])}`);
    const wrongRole = `${words.prefix} ${oneOf("role", wanted ?? [])}`;
    this.#wrongRole = deny(rulePath, wrongRole);
    this.#wrongRoleOnly = deny(
      rulePath,
      `${wrongRole}; the rule demands a role, which permissions ("*" included) do not replace: let the caller's role inherit one of them, or demand permissions`,
    );
    this.#everything = roles.demanded(everyPermission);
  }

  /** Why not, or undefined where the party has everything. */
  denial(party: Principal | undefined): Decision | undefined {
    if (party === undefined || party.kind === "anonymous") return this.#unidentified;
    if (this.#schemes !== undefined && !this.#schemes.includes(party.scheme)) return this.#wrongScheme;
    if (this.#roles !== undefined && !hasAny(party.roles, this.#roles)) {
      const denial = this.#mayDoEverything(party) ? this.#wrongRoleOnly : this.#wrongRole;
      return withUnknownRoles(withAbsence(denial, party.roles), party, this.#known);
    }
    for (const needed of this.#permissions) {
      if (!hasPermission(party, needed))
        return withUnknownRoles(
          withAbsence(this.#lacks(needed.exact), party.permissions),
          party,
          this.#known,
        );
    }
    return undefined;
  }

  /** May further roles make a difference to this party? */
  mayLackRoles(party: Principal | undefined): party is Principal {
    if (party === undefined || party.kind === "anonymous") return false;
    return this.#schemes === undefined || this.#schemes.includes(party.scheme);
  }

  #mayDoEverything(party: Principal): boolean {
    return party.permissions.has(everyPermission) || hasAny(party.roles, this.#everything.grantedBy);
  }

  /** The same to read: the roles with which the party has everything, those with which it has all but some permissions. */
  demand(): ReadableDemand {
    const permissions = this.#permissions.map(({ exact }) => exact);
    const demand = { permissions, schemes: this.#schemes ?? [] };
    if (this.#roles === undefined && permissions.length === 0)
      return { roles: "every verified caller", ...demand };
    const grantedBy = (role: string): readonly string[] =>
      this.#permissions.filter((needed) => needed.grantedBy.includes(role)).map(({ exact }) => exact);
    const granted = new Map(this.#everyRole.map((role) => [role, grantedBy(role)]));
    const grantsAll = (role: string): boolean => granted.get(role)?.length === permissions.length;
    const counting = this.#roles ?? this.#everyRole;
    return {
      roles: counting.filter(grantsAll),
      // Where no role is asked for, one that grants nothing of it is of no use.
      rolesWithPermissions: this.#roles === undefined ? [] : counting.filter((role) => !grantsAll(role)),
      permissionsSuffice: this.#roles === undefined,
      granted,
      ...demand,
    };
  }
}

/** For log and audit: a claim that is looked for in the wrong place is a common mistake. */
function withAbsence(denial: Denial, names: ReadonlySet<string>): Denial {
  const absence = names instanceof FrozenSet ? names.absence : undefined;
  return absence === undefined ? denial : { ...denial, reason: `${denial.reason}; ${absence}` };
}

const maxNamed = 3;
const maxRoleLength = 64;

/** For log and audit: a role that the policy does not know grants nothing, and is often one that somebody mistyped. */
function withUnknownRoles(denial: Denial, { roles }: Principal, known: Pick<Roles, "has">): Decision {
  const named: string[] = [];
  for (const role of roles) {
    if (known.has(role)) continue;
    if (named.length === maxNamed) return becauseOf(denial, `${named.join(", ")} and others`);
    named.push(JSON.stringify(redactSecrets(String(role), maxRoleLength)));
  }
  return named.length === 0 ? denial : becauseOf(denial, named.join(", "));
}

function becauseOf(denial: Denial, roles: string): Decision {
  return { ...denial, reason: `${denial.reason}; unknown roles: ${roles}` };
}

function actorInWords(actor: Requirement["actor"]): string | undefined {
  if (actor === undefined) return undefined;
  if (actor === "any") return "an actor";
  const { roles = [], permissions = [], schemes = [] } = actor;
  const parts = [
    ...(roles.length === 0 ? [] : [oneOf("role", roles)]),
    ...permissions.map((permission) => `permission ${permission}`),
    ...(schemes.length === 0 ? [] : [oneOf("scheme", schemes)]),
  ];
  return `an actor with ${parts.join(" and ")}`;
}

/** A demand that has no column of its own. */
function inWords([name, value]: readonly [string, unknown]): readonly string[] {
  return value === undefined ? [] : [`${name}: ${JSON.stringify(value)}`];
}

function hasPermission(principal: Principal, needed: DemandedPermission): boolean {
  const own = principal.permissions;
  if (own.has(needed.exact) || own.has(needed.wildcard) || own.has(everyPermission)) return true;
  return hasAny(principal.roles, needed.grantedBy);
}

function hasAny(held: ReadonlySet<string>, wanted: readonly string[]): boolean {
  for (const one of wanted) if (held.has(one)) return true;
  return false;
}

function allow(rule: string): Decision {
  return Object.freeze({ effect: "allow", rule });
}

/** A denial with its reason. */
type Denial = Extract<Decision, { readonly rule: string }> & { readonly reason: string };

function deny(rule: string, reason: string): Denial {
  return Object.freeze({ effect: "deny", rule, reason });
}

function oneOf(what: string, names: readonly string[]): string {
  return names.length === 1 ? `${what} ${names[0]}` : `one of the ${what}s ${names.join(", ")}`;
}
