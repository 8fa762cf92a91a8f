// What a rule lets one party do, and how what two rules let it do differs.
import type { ReadableDemand, ReadableRule } from "./authorizer.ts";
import type { ChangeDirection, PolicyChange } from "./policy-change.ts";

/** What a demand says of a party with one role, or with none. */
interface Part {
  /** Does the role count, or is none needed? */
  readonly counts: boolean;
  /** Permissions that the demand needs, and those of them that the role grants. */
  readonly needed: readonly string[];
  readonly grants: readonly string[];
  /** Any one of these; empty: any scheme. */
  readonly schemes: readonly string[];
}

const nothing: Part = { counts: false, needed: [], grants: [], schemes: [] };

function partOf(demand: ReadableDemand, role: string | undefined): Part {
  const { roles, rolesWithPermissions = [], permissions: needed = [], schemes = [], granted } = demand;
  if (roles === "every verified caller" || role === undefined) {
    const counts = roles === "every verified caller" || demand.permissionsSuffice === true;
    return { counts, needed, grants: (role === undefined ? undefined : granted?.get(role)) ?? [], schemes };
  }
  if (roles.includes(role)) return { counts: true, needed, grants: needed, schemes };
  const counts = demand.permissionsSuffice === true || rolesWithPermissions.includes(role);
  return { counts, needed, grants: granted?.get(role) ?? [], schemes };
}

/** What the credential must carry. */
function missingOf({ needed, grants }: Part): readonly string[] {
  return needed.filter((permission) => !grants.includes(permission));
}

/**
 * What the role adds for callers who have another role besides, which counts: how that differs, among the permissions that
 * both demands need.
 */
function addedBy(before: Part, after: Part): ChangeDirection | undefined {
  const inBoth = (one: string): boolean => before.needed.includes(one) && after.needed.includes(one);
  return allOf(after.grants.filter(inBoth), before.grants.filter(inBoth));
}

/** One party's way to one method. */
export type Standing =
  | { readonly may: "no"; readonly part: Part }
  | { readonly may: "run-time"; readonly part: Part; readonly decide: object }
  | Allowed;

export interface Allowed {
  readonly may: "yes";
  readonly part: Part;
  readonly actor: ReadableDemand | undefined;
  /** The other conditions, and the functions behind them. */
  readonly words: readonly string[];
  readonly functions: readonly object[];
}

export const mayNot: Standing = { may: "no", part: nothing };
/** Nothing is demanded. */
export const mayFreely: Allowed = { may: "yes", part: nothing, words: [], functions: [], actor: undefined };

export function atRunTime(decide: object): Standing {
  return { may: "run-time", part: nothing, decide };
}

/** A question about messages for which the policy has no words. */
export const messageCheck = "a check of each message";

/** The standing of a verified caller with this role, or with none. `message`: the policy's question about messages. */
export function standingUnder(
  rule: ReadableRule,
  role: string | undefined,
  message: object | undefined,
): Standing {
  const part = partOf(rule, role);
  if (!part.counts) return { may: "no", part };
  const { actor, conditions = [], functions } = rule;
  const unread = functions === undefined && message !== undefined;
  return {
    may: "yes",
    part,
    actor,
    words: [
      ...conditions.filter((condition) => condition !== actor?.words),
      ...(unread ? [messageCheck] : []),
    ],
    functions: unread ? [message] : (functions ?? []),
  };
}

/** One thing in which two standings differ. */
export type Difference = Pick<PolicyChange, "what" | "direction" | "before" | "after" | "note">;

const some = "some callers may more, others less";
const runTime = "decided at run time: whether it allows more or less cannot be told";
const besides = "for callers who have another role besides, which the rule names";
const byFunction = "a condition is a function: whether it allows more or less cannot be told";

export function differencesOf(before: Standing, after: Standing): readonly Difference[] {
  if (before.may === "yes" && after.may === "yes") return differencesOfDemands(before, after);
  return [...differenceOfCall(before, after), ...differenceOfGrants(before.part, after.part)];
}

function differenceOfCall(before: Standing, after: Standing): readonly Difference[] {
  if (before.may === "run-time" && after.may === "run-time" && before.decide === after.decide) return [];
  if (before.may === "no" && after.may === "no") return [];
  const words = { what: "call", before: inWords(before), after: inWords(after) } as const;
  if (before.may === "run-time" || after.may === "run-time")
    return [{ ...words, direction: "changed", note: runTime }];
  return [{ ...words, direction: before.may === "no" ? "gained" : "lost" }];
}

function differenceOfGrants(before: Part, after: Part): readonly Difference[] {
  const direction = addedBy(before, after);
  if (direction === undefined) return [];
  const granted = ({ grants }: Part): string => `grants ${listed(grants)}`;
  return [{ what: "permissions", direction, before: granted(before), after: granted(after), note: besides }];
}

function differencesOfDemands(before: Allowed, after: Allowed): readonly Difference[] {
  const named = (
    what: Difference["what"],
    direction: ChangeDirection | undefined,
    words: (standing: Allowed) => string,
    note: string = some,
  ): readonly Difference[] =>
    direction === undefined
      ? []
      : [
          {
            what,
            direction,
            before: words(before),
            after: words(after),
            ...(direction === "changed" ? { note } : {}),
          },
        ];
  const conditions = allOf(before.words, after.words);
  const functions = functionsOf(before.functions, after.functions);
  const note = conditions !== "changed" && functions === "changed" ? byFunction : some;
  return [
    ...named("permissions", allOf(missingOf(before.part), missingOf(after.part)), ({ part }) =>
      listed(missingOf(part)),
    ),
    ...named("schemes", anyOf(before.part.schemes, after.part.schemes), ({ part }) =>
      listed(part.schemes, "any"),
    ),
    ...named("actor", actorsOf(before.actor, after.actor), ({ actor }) => actorInWords(actor)),
    ...named("conditions", together([conditions, functions]), ({ words }) => listed(words), note),
  ];
}

/** All of them must hold: one more allows less. */
function allOf(before: readonly string[], after: readonly string[]): ChangeDirection | undefined {
  const more = after.some((one) => !before.includes(one));
  const fewer = before.some((one) => !after.includes(one));
  if (more && fewer) return "changed";
  if (more) return "lost";
  return fewer ? "gained" : undefined;
}

/** Any one of them will do: one more allows more. None named: any. */
function anyOf(before: readonly string[], after: readonly string[]): ChangeDirection | undefined {
  if (before.length === 0 || after.length === 0) {
    if (before.length === after.length) return undefined;
    return after.length === 0 ? "gained" : "lost";
  }
  return allOf(after, before);
}

/** Two functions cannot be compared: only the same one is known to decide the same. */
function functionsOf(before: readonly object[], after: readonly object[]): ChangeDirection | undefined {
  if (before.length === 0 || after.length === 0) {
    if (before.length === after.length) return undefined;
    return after.length === 0 ? "gained" : "lost";
  }
  const isSame = before.length === after.length && before.every((one) => after.includes(one));
  return isSame ? undefined : "changed";
}

/** Over every actor that there can be: with each role that either demand speaks of, and with none. */
function actorsOf(
  before: ReadableDemand | undefined,
  after: ReadableDemand | undefined,
): ChangeDirection | undefined {
  if (before === undefined || after === undefined) {
    if (before === after) return undefined;
    return after === undefined ? "gained" : "lost";
  }
  const roles = new Set([...(before.granted?.keys() ?? []), ...(after.granted?.keys() ?? [])]);
  return together(
    [undefined, ...roles].flatMap((role) => {
      const [was, is] = [partOf(before, role), partOf(after, role)];
      if (was.counts && is.counts)
        return [allOf(missingOf(was), missingOf(is)), anyOf(was.schemes, is.schemes)];
      const ofCall = was.counts === is.counts ? undefined : was.counts ? "lost" : "gained";
      return [ofCall, addedBy(was, is)];
    }),
  );
}

function together(directions: readonly (ChangeDirection | undefined)[]): ChangeDirection | undefined {
  const told = new Set(directions.filter((direction) => direction !== undefined));
  return told.size > 1 ? "changed" : [...told][0];
}

function listed(texts: readonly string[], ofNone = "none"): string {
  return texts.length === 0 ? ofNone : texts.join(", ");
}

function inWords(standing: Standing): string {
  if (standing.may === "no") return "no";
  if (standing.may === "run-time") return "decided at run time";
  const { actor, words } = standing;
  const { schemes } = standing.part;
  const permissions = missingOf(standing.part);
  return [
    "yes",
    ...(permissions.length === 0 ? [] : [`with permissions ${listed(permissions)}`]),
    ...(schemes.length === 0 ? [] : [`by ${schemes.join(" or ")}`]),
    ...(actor === undefined ? [] : [`through ${actorInWords(actor)}`]),
    ...words.map((condition) => `on ${condition}`),
  ].join(", ");
}

function actorInWords(actor: ReadableDemand | undefined): string {
  if (actor === undefined) return "none needed";
  const { roles, rolesWithPermissions = [], permissions = [], schemes = [] } = actor;
  const byRole =
    roles === "every verified caller" || actor.permissionsSuffice === true
      ? []
      : [...roles, ...rolesWithPermissions];
  const parts = [
    ...(byRole.length === 0 ? [] : [`role ${byRole.join(" or ")}`]),
    ...permissions.map((permission) => `permission ${permission}`),
    ...(schemes.length === 0 ? [] : [`scheme ${schemes.join(" or ")}`]),
  ];
  return parts.length === 0 ? "any actor" : `an actor with ${parts.join(" and ")}`;
}
