// Finds the first of a list of rules that matches a call, without asking them all: each rule is filed under one of its conditions,
// and only the rules of which that one is met are asked for the others.
import type { CallHeaders } from "./call-headers.ts";
import type { CallerNames } from "./caller-names.ts";
import { AnyOf, MatchIndex } from "./match-index.ts";
import type { PolicyRule } from "./policy-text.ts";
import type { TextMatch } from "./text-match.ts";

/** A rule, made ready once and shared by every index that it is in. */
export class CompiledRule {
  readonly rule: PolicyRule;
  /** Undefined: anybody. */
  readonly #principals: AnyOf | undefined;
  readonly #headers: readonly { readonly key: string; readonly values: AnyOf }[];
  /** Undefined: every method. */
  readonly #paths: AnyOf | undefined;

  constructor(rule: PolicyRule) {
    this.rule = rule;
    this.#principals = anyOf(rule.principals);
    this.#paths = anyOf(rule.paths);
    this.#headers = rule.headers.map(({ key, matches }) => ({ key, values: new AnyOf(matches) }));
  }

  isAbout(path: string): boolean {
    return this.#paths === undefined || this.#paths.meets(path);
  }

  /** Is all met that the rule asks beside the path? */
  holds(names: NonNullable<CallerNames>, headers: CallHeaders): boolean {
    const principals = this.#principals;
    if (principals !== undefined && !names.some((name) => principals.meets(name))) return false;
    return this.#headers.every(({ key, values }) => {
      const value = headers.get(key);
      return value !== undefined && values.meets(value);
    });
  }
}

function anyOf(matches: readonly TextMatch[]): AnyOf | undefined {
  return matches.length === 0 ? undefined : new AnyOf(matches);
}

/** One condition of a rule. `key`: of the header it is about; undefined where it is about the caller. */
interface Condition {
  readonly key: string | undefined;
  readonly matches: readonly TextMatch[];
}

export class RuleIndex {
  readonly #rules: readonly CompiledRule[];
  readonly #byPrincipal: MatchIndex | undefined;
  readonly #byHeader: readonly (readonly [key: string, index: MatchIndex])[];
  /** The first rule that asks nothing; `Infinity` where there is none. */
  readonly #unconditional: number;

  /** `rules`: of which the path matches already. */
  constructor(rules: readonly CompiledRule[]) {
    this.#rules = rules;
    const filed = new Map<string | undefined, [TextMatch, number][]>();
    const weigh = weightsOf(rules);
    let unconditional = Number.POSITIVE_INFINITY;
    for (const [place, { rule }] of rules.entries()) {
      const [first, ...others] = conditionsOf(rule);
      if (first === undefined) {
        unconditional = Math.min(unconditional, place);
        continue;
      }
      const { key, matches } = others.reduce(
        (best, each) => (weigh(each) < weigh(best) ? each : best),
        first,
      );
      const entries = filed.get(key) ?? [];
      for (const match of matches) entries.push([match, place]);
      filed.set(key, entries);
    }
    this.#unconditional = unconditional;
    const byPrincipal = filed.get(undefined);
    this.#byPrincipal = byPrincipal && new MatchIndex(byPrincipal);
    this.#byHeader = [...filed].flatMap(([key, entries]) =>
      key === undefined ? [] : [[key, new MatchIndex(entries)] as const],
    );
  }

  /** Does any rule ask who calls? */
  get asksForNames(): boolean {
    return this.#rules.some(({ rule }) => rule.principals.length > 0);
  }

  /** The place of the first rule that matches; `Infinity` where none does. */
  first(names: NonNullable<CallerNames>, headers: CallHeaders): number {
    let best = this.#unconditional;
    // Several names may bring up one rule, and whether it holds does not depend on which of them did.
    const asked = new Set<number>();
    const found = (place: number): boolean => {
      if (place >= best || asked.has(place)) return false;
      asked.add(place);
      if (this.#rules[place]?.holds(names, headers) === true) best = place;
      return false;
    };
    if (this.#byPrincipal !== undefined) for (const name of names) this.#byPrincipal.search(name, found);
    for (const [key, index] of this.#byHeader) {
      const value = headers.get(key);
      if (value !== undefined) index.search(value, found);
    }
    return best;
  }
}

function conditionsOf({ principals, headers }: PolicyRule): readonly Condition[] {
  const ofCaller = principals.length === 0 ? [] : [{ key: undefined, matches: principals }];
  return [...ofCaller, ...headers];
}

/** How much less a start, an end or mere presence tells than a whole text. */
const vaguer = 8;

/** How many rules a condition is likely to bring up: what many rules ask for tells little. */
function weightsOf(rules: readonly CompiledRule[]): (condition: Condition) => number {
  const nameOf = (key: string | undefined, match: TextMatch): string =>
    JSON.stringify([key ?? null, match.kind, match.kind === "presence" ? "" : match.text]);
  const counts = new Map<string, number>();
  for (const { rule } of rules)
    for (const { key, matches } of conditionsOf(rule))
      for (const match of matches) {
        const name = nameOf(key, match);
        counts.set(name, (counts.get(name) ?? 0) + 1);
      }
  return ({ key, matches }) =>
    matches.reduce((weight, match) => {
      const count = counts.get(nameOf(key, match)) ?? 0;
      return weight + (match.kind === "exact" ? count : vaguer * count);
    }, 0);
}
