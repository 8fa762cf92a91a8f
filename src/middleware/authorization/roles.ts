// Roles: what each grants, and which others it counts as because it inherits them.

import { covers, grantForms, isGrantablePermission, wildcardOf } from "../../chain/permission.ts";
import { didYouMean } from "../../config/nearest-name.ts";

export interface RoleDefinition {
  /** What the role grants: `resource:action`, `resource:*` (every action on it) or `*` (everything). Default: nothing. */
  readonly permissions?: readonly string[] | undefined;
  /** Roles whose permissions it has too, and as which it counts wherever a rule names one of them. Default: none. */
  readonly inherits?: readonly string[] | undefined;
}

/** A permission that rules demand, and who has it. */
export interface DemandedPermission {
  /** `resource:action` */
  readonly exact: string;
  /** `resource:*`, which grants it too. */
  readonly wildcard: string;
  /** The roles that grant it, by themselves or by inheritance. */
  readonly grantedBy: readonly string[];
}

/** The roles of one policy. Made from a `Map`, so that `constructor` or `toString` are names like any other. */
export class Roles {
  readonly #definitions: ReadonlyMap<string, RoleDefinition>;
  /** For each role: itself and everything it inherits, directly or not. */
  readonly #counted: ReadonlyMap<string, ReadonlySet<string>>;
  readonly #demanded = new Map<string, DemandedPermission>();

  constructor(definitions: ReadonlyMap<string, RoleDefinition>) {
    this.#definitions = definitions;
    this.#counted = new Map([...definitions.keys()].map((role) => [role, this.#reach([role])]));
  }

  get names(): readonly string[] {
    return [...this.#definitions.keys()];
  }

  has(role: string): boolean {
    return this.#definitions.has(role);
  }

  /** Every permission that some role grants, as it is written there. */
  grants(): readonly string[] {
    return this.grantsByRole().flatMap(([, permissions]) => permissions);
  }

  /** The same, with the role that grants it by itself. */
  grantsByRole(): readonly (readonly [role: string, permissions: readonly string[]])[] {
    return [...this.#definitions].map(([role, { permissions = [] }]) => [role, permissions]);
  }

  /** The roles that count as one of `wanted`: these, and all that inherit one of them. */
  countingAsAnyOf(wanted: readonly string[]): readonly string[] {
    return this.names.filter((role) => wanted.some((one) => this.#counted.get(role)?.has(one)));
  }

  /** The same object for every rule: what thousands of rules demand stays in the processor's cache. */
  demanded(exact: string): DemandedPermission {
    const known = this.#demanded.get(exact);
    if (known !== undefined) return known;
    const demanded = { exact, wildcard: wildcardOf(exact), grantedBy: this.#granting(exact) };
    this.#demanded.set(exact, demanded);
    return demanded;
  }

  #granting(required: string): readonly string[] {
    const direct = this.names.filter((role) =>
      this.#definitions.get(role)?.permissions?.some((granted) => covers(granted, required)),
    );
    return this.countingAsAnyOf(direct);
  }

  /** For a role that is not here: the one that is near, or what to do. */
  explainUnknown(role: string): string {
    return `no such role ${role}${didYouMean(role, this.names) || "; define it in roles, or remove it"}`;
  }

  /** What is wrong with the definitions, one line each. */
  problems(): readonly string[] {
    return [...this.names.flatMap((role) => this.#problemsOf(role)), ...this.#circles()];
  }

  #problemsOf(role: string): string[] {
    const { permissions = [], inherits = [] } = this.#definitions.get(role) ?? {};
    const malformed = permissions
      .filter((permission) => !isGrantablePermission(permission))
      .map(
        (permission) =>
          `roles.${role}.permissions: malformed permission ${JSON.stringify(permission)}; write ${grantForms}`,
      );
    const unknown = inherits
      .filter((other) => !this.has(other))
      .map((other) => `roles.${role}.inherits: ${this.explainUnknown(other)}`);
    return [...malformed, ...unknown];
  }

  /** Each circle once, told as the way around it. */
  #circles(): string[] {
    const told = new Set<string>();
    const circles: string[] = [];
    for (const role of this.names) {
      if (told.has(role)) continue;
      const way = this.#wayBack(role);
      if (way === undefined) continue;
      for (const step of way) told.add(step);
      circles.push(
        `roles.${role}.inherits: roles inherit from each other in a circle: ${way.join(" -> ")}; remove one of them from inherits`,
      );
    }
    return circles;
  }

  #wayBack(role: string): readonly string[] | undefined {
    const seen = new Set<string>();
    const ways: (readonly string[])[] = [[role]];
    for (let way = ways.shift(); way !== undefined; way = ways.shift()) {
      for (const next of this.#inheritedBy(way.at(-1) ?? role)) {
        if (next === role) return [...way, role];
        if (seen.has(next)) continue;
        seen.add(next);
        ways.push([...way, next]);
      }
    }
    return undefined;
  }

  #reach(from: readonly string[]): ReadonlySet<string> {
    const reached = new Set(from);
    // A Set visits what is added while it is walked, so this follows every way to its end, circles included.
    for (const role of reached) for (const next of this.#inheritedBy(role)) reached.add(next);
    return reached;
  }

  #inheritedBy(role: string): readonly string[] {
    return this.#definitions.get(role)?.inherits ?? [];
  }
}
