// JSON in which no name stands twice in one object. `JSON.parse` takes the last of two, and nobody sees the first.

/** What stands twice, as the way there: `rules./orders.v1.Orders/GetOrder`. `text` must be JSON. */
export function repeatedNames(text: string): readonly string[] {
  const repeated: string[] = [];
  /** For each object or list that is open: the names in it, and the one whose value is being read. */
  const open: { readonly names: Set<string>; readonly isObject: boolean; name: string; isName: boolean }[] =
    [];
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[[\]{},]/gs)) {
    const inside = open.at(-1);
    switch (token) {
      case "{":
      case "[":
        open.push({ names: new Set(), isObject: token === "{", name: "", isName: true });
        break;
      case "}":
      case "]":
        open.pop();
        break;
      case ",":
        if (inside !== undefined) inside.isName = true;
        break;
      default: {
        if (inside === undefined || !inside.isObject || !inside.isName) break;
        inside.isName = false;
        inside.name = String(JSON.parse(token));
        if (inside.names.has(inside.name))
          repeated.push(
            open
              .map(({ name }) => name)
              .filter(isGiven)
              .join("."),
          );
        inside.names.add(inside.name);
      }
    }
  }
  return repeated;
}

function isGiven(name: string): boolean {
  return name !== "";
}
