// JSON that says one thing to everybody: no name stands twice in an object, and nothing is nested deeply. `JSON.parse` takes
// the last of several members with one name; another reader of the same text takes the first (RFC 8259 section 4).

export class NotStrictJson extends Error {}

const maxDepth = 32;

/** Throws `NotStrictJson`. */
export function parseStrictJson(text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new NotStrictJson("it is not JSON");
  }
  checkMembers(text);
  return value;
}

/** Strings as they are written, and what opens, closes and parts. Numbers and literals are passed over. */
const tokens = /"(?:[^"\\]|\\.)*"|[{}[\]:]/g;

/** `text` is JSON. */
function checkMembers(text: string): void {
  /** The names of each object around this place; undefined for an array. */
  const around: (Set<string> | undefined)[] = [];
  let last = "";
  for (const [token] of text.matchAll(tokens)) {
    if (token === "{" || token === "[") {
      if (around.length === maxDepth) throw new NotStrictJson("it is nested too deeply");
      around.push(token === "{" ? new Set() : undefined);
    } else if (token === "}" || token === "]") {
      around.pop();
    } else if (token === ":") {
      // An escape spells the same name differently.
      const name: unknown = JSON.parse(last);
      const names = around.at(-1);
      if (typeof name !== "string" || names === undefined) continue;
      if (names.has(name)) throw new NotStrictJson("a name stands twice in an object");
      names.add(name);
    }
    last = token;
  }
}
