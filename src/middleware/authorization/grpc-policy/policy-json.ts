// The JSON text of a policy, read strictly: `JSON.parse` takes the last of several members with one name in silence, and what a
// policy says must not depend on who reads it.

/** Deeper than any policy; only the configuration of an audit logger may nest at all. */
const maxDepth = 64;

export type PolicyJson = { readonly value: unknown } | { readonly problems: readonly string[] };

export function parsePolicyJson(text: string): PolicyJson {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const hint = text.startsWith("\uFEFF") ? "; it starts with a byte order mark: save it without one" : "";
    return { problems: [`not JSON (${error instanceof Error ? error.message : "unreadable"})${hint}`] };
  }
  const problems = repeatedMembers(text);
  return problems.length > 0 ? { problems } : { value };
}

/** Strings as they are written, and what opens, closes and parts. Numbers and literals are passed over. */
const tokens = /"(?:[^"\\]|\\.)*"|[{}[\]:,]/g;

interface Place {
  /** Undefined in a list. */
  readonly names: Set<string> | undefined;
  at: string | number;
}

/** `text` is JSON. */
function repeatedMembers(text: string): readonly string[] {
  const problems: string[] = [];
  const places: Place[] = [];
  let last = "";
  for (const [token] of text.matchAll(tokens)) {
    const place = places.at(-1);
    if (token === "{" || token === "[") {
      if (places.length === maxDepth)
        return [`${pathOf(places)}: nested too deeply; take out the inner part`];
      places.push(token === "{" ? { names: new Set(), at: "" } : { names: undefined, at: 0 });
    } else if (token === "}" || token === "]") {
      places.pop();
    } else if (token === "," && place !== undefined && typeof place.at === "number") {
      place.at += 1;
    } else if (token === ":" && place?.names !== undefined) {
      // An escape spells the same name differently.
      const name = String(JSON.parse(last));
      place.at = name;
      if (place.names.has(name))
        problems.push(`${pathOf(places)}: stands twice in one object; keep one of them`);
      place.names.add(name);
    }
    last = token;
  }
  return problems;
}

function pathOf(places: readonly Place[]): string {
  return places
    .map(({ at }) => (typeof at === "number" ? `[${at}]` : `.${at}`))
    .join("")
    .replace(/^\./, "");
}

/**
 * The text of a policy that is given as an object: what JSON cannot say is refused, where `JSON.stringify` would leave it out or
 * turn it into null.
 *
 * @throws {TypeError} with the reason.
 */
export function policyObjectText(policy: object): string {
  return JSON.stringify(policy, function (this: unknown, key: string, value: unknown) {
    const isInList = Array.isArray(this);
    const isNumber = typeof value === "number";
    if (
      typeof value === "function" ||
      typeof value === "symbol" ||
      typeof value === "bigint" ||
      (isNumber && !Number.isFinite(value)) ||
      (value === undefined && isInList) ||
      isOfAClass(value)
    )
      throw new TypeError(`${key}: ${isNumber ? String(value) : typeof value} is nothing that JSON can say`);
    return value;
  });
}

/** A `Map` would become an empty object, and an empty rule matches everything. */
function isOfAClass(value: unknown): boolean {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype !== null && prototype !== Object.prototype;
}
