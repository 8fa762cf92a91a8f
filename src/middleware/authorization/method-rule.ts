// One method's rule, worked out at start-up: every answer it can give is made once, so a decision allocates nothing. The
// one exception is a denial that names roles of the caller which the policy does not know.
import type { CallContext } from "../../chain/context.ts";
import { everyPermission, wildcardOf } from "../../chain/permission.ts";
import type { Principal } from "../../chain/principal.ts";
import { redactSecrets } from "../../observability/redaction.ts";
import type { Decision, MethodPolicy, ReadableRule } from "./authorizer.ts";
import type { Roles } from "./roles.ts";

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
}

/** `public`: nobody has to say who they are. `authenticated`: anybody who did. Else what the caller must have. */
export type Rule = "public" | "authenticated" | Requirement;

/** A method's rule, as it can be read: the row of an access matrix. */
export interface MethodRule extends MethodPolicy {
  /** The path under which the rule stands in the policy. */
  readonly rulePath: string;
  readonly rule: Rule;
}

export function methodRule(rulePath: string, rule: Rule, roles: Roles): MethodRule {
  if (rule === "public") return new PublicRule(rulePath);
  return new CheckedRule(rulePath, rule, roles);
}

class PublicRule implements MethodRule {
  readonly access = "public";
  readonly needsMessage = false;
  readonly rule = "public";
  readonly rulePath: string;
  readonly #allow: Decision;

  constructor(rulePath: string) {
    this.rulePath = rulePath;
    this.#allow = allow(rulePath);
  }

  decide(): Decision {
    return this.#allow;
  }

  describe(): ReadableRule {
    return { rule: this.rulePath, roles: [] };
  }
}

/** One required permission: who has it, and what is answered to who does not. */
interface NeededPermission {
  readonly exact: string;
  readonly wildcard: string;
  readonly grantedBy: readonly string[];
  readonly denial: Denial;
}

class CheckedRule implements MethodRule {
  readonly access = "checked";
  readonly needsMessage = false;
  readonly rulePath: string;
  readonly rule: Rule;
  readonly #principal: PartyCheck;
  readonly #actor: PartyCheck | undefined;
  readonly #allow: Decision;

  constructor(rulePath: string, rule: Exclude<Rule, "public">, roles: Roles) {
    const demand: Requirement = rule === "authenticated" ? {} : rule;
    this.rulePath = rulePath;
    this.rule = rule;
    this.#principal = new PartyCheck(rulePath, demand, roles, {
      missing: "needs an identified caller",
      prefix: "needs",
    });
    this.#actor =
      demand.actor === undefined
        ? undefined
        : new PartyCheck(rulePath, demand.actor === "any" ? {} : demand.actor, roles, {
            missing: "needs an actor: an application that speaks for the caller",
            prefix: "needs an actor with",
          });
    this.#allow = allow(rulePath);
  }

  decide(call: CallContext): Decision {
    return this.#principal.denial(call.principal) ?? this.#actor?.denial(call.actor) ?? this.#allow;
  }

  describe(): ReadableRule {
    const { rulePath: rule, rule: demand } = this;
    if (typeof demand === "string") return { rule, roles: "every identified caller" };
    const { roles: _roles, permissions = [], schemes = [], actor, ...rest } = demand;
    const conditions = [...actorInWords(actor), ...Object.entries(rest).flatMap(inWords)];
    return { rule, permissions, schemes, conditions, ...this.#principal.sufficientRoles() };
  }
}

/** What one of the two parties of a call must have, the principal or the actor. */
class PartyCheck {
  readonly #schemes: readonly string[] | undefined;
  readonly #roles: readonly string[] | undefined;
  readonly #everyRole: readonly string[];
  readonly #known: Pick<Roles, "has">;
  readonly #permissions: readonly NeededPermission[];
  readonly #unidentified: Decision;
  readonly #wrongScheme: Decision;
  readonly #wrongRole: Denial;

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
    this.#permissions = permissions.map((exact) => ({
      exact,
      wildcard: wildcardOf(exact),
      grantedBy: roles.granting(exact),
      denial: deny(rulePath, `${words.prefix} permission ${exact}`),
    }));
    this.#unidentified = deny(rulePath, words.missing);
    this.#wrongScheme = deny(rulePath, `${words.prefix} ${oneOf("scheme", schemes ?? [])}`);
    this.#wrongRole = deny(rulePath, `${words.prefix} ${oneOf("role", wanted ?? [])}`);
  }

  /** Why not, or undefined where the party has everything. */
  denial(party: Principal | undefined): Decision | undefined {
    if (party === undefined || party.kind === "anonymous") return this.#unidentified;
    if (this.#schemes !== undefined && !this.#schemes.includes(party.scheme)) return this.#wrongScheme;
    if (this.#roles !== undefined && !hasAny(party.roles, this.#roles))
      return withUnknownRoles(this.#wrongRole, party, this.#known);
    for (const needed of this.#permissions) {
      if (!hasPermission(party, needed)) return withUnknownRoles(needed.denial, party, this.#known);
    }
    return undefined;
  }

  /** The roles with which the party has everything, and those with which it has all but some permissions. */
  sufficientRoles(): Pick<ReadableRule, "roles" | "rolesWithPermissions"> {
    if (this.#roles === undefined && this.#permissions.length === 0)
      return { roles: "every identified caller" };
    const grantsAll = (role: string): boolean =>
      this.#permissions.every(({ grantedBy }) => grantedBy.includes(role));
    const counting = this.#roles ?? this.#everyRole;
    return {
      roles: counting.filter(grantsAll),
      // Where no role is asked for, one that grants nothing of it is of no use.
      rolesWithPermissions: this.#roles === undefined ? [] : counting.filter((role) => !grantsAll(role)),
    };
  }
}

const mostNamed = 3;
const longestRole = 64;

/** For log and audit: a role that the policy does not know grants nothing, and is often one that somebody mistyped. */
function withUnknownRoles(denial: Denial, { roles }: Principal, known: Pick<Roles, "has">): Decision {
  const named: string[] = [];
  for (const role of roles) {
    if (known.has(role)) continue;
    if (named.length === mostNamed) return becauseOf(denial, `${named.join(", ")} and others`);
    named.push(JSON.stringify(redactSecrets(String(role), longestRole)));
  }
  return named.length === 0 ? denial : becauseOf(denial, named.join(", "));
}

function becauseOf(denial: Denial, roles: string): Decision {
  return { ...denial, reason: `${denial.reason}; roles that the policy does not know: ${roles}` };
}

function actorInWords(actor: Requirement["actor"]): readonly string[] {
  if (actor === undefined) return [];
  if (actor === "any") return ["an actor"];
  const { roles = [], permissions = [], schemes = [] } = actor;
  const parts = [
    ...(roles.length === 0 ? [] : [oneOf("role", roles)]),
    ...permissions.map((permission) => `permission ${permission}`),
    ...(schemes.length === 0 ? [] : [oneOf("scheme", schemes)]),
  ];
  return [`an actor with ${parts.join(" and ")}`];
}

/** A demand that has no column of its own. */
function inWords([name, value]: readonly [string, unknown]): readonly string[] {
  return value === undefined ? [] : [`${name}: ${JSON.stringify(value)}`];
}

function hasPermission(principal: Principal, needed: NeededPermission): boolean {
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
