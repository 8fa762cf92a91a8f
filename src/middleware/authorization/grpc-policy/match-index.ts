// Finds which of many matches meet a text, in a time that hardly grows with their number.
import { isPresent, matchesText, type TextMatch } from "./text-match.ts";

/** Told each item whose match meets the text; `true` ends the search. */
export type Found = (item: number) => boolean;

export class MatchIndex {
  readonly #exact = new Map<string, number[]>();
  readonly #prefixes: PrefixIndex;
  readonly #suffixes: PrefixIndex;
  readonly #presence: readonly number[];

  constructor(entries: Iterable<readonly [match: TextMatch, item: number]>) {
    const prefixes: [string, number][] = [];
    const suffixes: [string, number][] = [];
    const presence: number[] = [];
    for (const [match, item] of entries) {
      if (match.kind === "presence") presence.push(item);
      else if (match.kind === "exact") addTo(this.#exact, match.text, item);
      else if (match.kind === "prefix") prefixes.push([match.text, item]);
      else suffixes.push([reversed(match.text), item]);
    }
    this.#presence = presence;
    this.#prefixes = new PrefixIndex(prefixes);
    this.#suffixes = new PrefixIndex(suffixes);
  }

  /** Was the search ended? */
  search(value: string, found: Found): boolean {
    if (this.#exact.get(value)?.some(found)) return true;
    if (this.#presence.length > 0 && isPresent(value) && this.#presence.some(found)) return true;
    return (
      this.#prefixes.search(value, found) ||
      (!this.#suffixes.isEmpty && this.#suffixes.search(reversed(value), found))
    );
  }
}

const always = (): boolean => true;

/** Up to here asking one after the other is quicker than an index. */
const fewMatches = 8;

/** Does one of several matches meet a text? */
export class AnyOf {
  readonly #exact: ReadonlySet<string>;
  readonly #others: readonly TextMatch[];
  /** Of the others, where they are many. */
  readonly #index: MatchIndex | undefined;

  constructor(matches: readonly TextMatch[]) {
    this.#exact = new Set(matches.flatMap((match) => (match.kind === "exact" ? [match.text] : [])));
    this.#others = matches.filter(({ kind }) => kind !== "exact");
    const areMany = this.#others.length > fewMatches;
    this.#index = areMany ? new MatchIndex(this.#others.map((match) => [match, 0])) : undefined;
  }

  meets(value: string): boolean {
    if (this.#exact.has(value)) return true;
    if (this.#index !== undefined) return this.#index.search(value, always);
    return this.#others.some((match) => matchesText(match, value));
  }
}

/**
 * Prefixes in order, each with the longest other one that it starts with. All prefixes of a text are on one such chain: that of
 * the last one which is not greater than the text, because what lies between a prefix of a text and the text starts with it too.
 */
class PrefixIndex {
  readonly #prefixes: readonly string[];
  readonly #items: readonly (readonly number[])[];
  /** The place of the longest other prefix; -1 where there is none. */
  readonly #parents: readonly number[];

  constructor(entries: readonly (readonly [prefix: string, item: number])[]) {
    const items = new Map<string, number[]>();
    for (const [prefix, item] of entries) addTo(items, prefix, item);
    const prefixes = [...items.keys()].sort();
    const parents: number[] = [];
    const open: number[] = [];
    for (const [place, prefix] of prefixes.entries()) {
      let last = open.at(-1);
      while (last !== undefined && !prefix.startsWith(prefixes[last] ?? "")) {
        open.pop();
        last = open.at(-1);
      }
      parents.push(last ?? -1);
      open.push(place);
    }
    this.#prefixes = prefixes;
    this.#items = prefixes.map((prefix) => items.get(prefix) ?? []);
    this.#parents = parents;
  }

  get isEmpty(): boolean {
    return this.#prefixes.length === 0;
  }

  search(value: string, found: Found): boolean {
    for (let place = this.#lastUpTo(value); place >= 0; place = this.#parents[place] ?? -1)
      if (value.startsWith(this.#prefixes[place] ?? "") && this.#items[place]?.some(found)) return true;
    return false;
  }

  #lastUpTo(value: string): number {
    let low = 0;
    let high = this.#prefixes.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#prefixes[middle] ?? "") <= value) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
}

function addTo(table: Map<string, number[]>, key: string, item: number): void {
  const items = table.get(key);
  if (items === undefined) table.set(key, [item]);
  else items.push(item);
}

/** By UTF-16 units: both sides are turned in the same way. */
function reversed(text: string): string {
  let turned = "";
  for (let i = text.length - 1; i >= 0; i--) turned += text.charAt(i);
  return turned;
}
