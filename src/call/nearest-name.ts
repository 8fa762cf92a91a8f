// "Did you mean …?": the known name that is nearest to a mistyped one, by edit distance.

/**
 * The name in `known` that differs least from `name`, ignoring case; undefined where none is near (at most a quarter
 * of its letters, or two, differ, and always fewer than half). Of two equally near names the first wins.
 */
export function nearestName(name: string, known: Iterable<string>): string | undefined {
  const sought = name.toLowerCase();
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(sought.length / 4)) + 1;
  for (const candidate of known) {
    const distance = editDistance(sought, candidate.toLowerCase());
    if (distance < bestDistance && 2 * distance < Math.max(sought.length, candidate.length))
      [best, bestDistance] = [candidate, distance];
  }
  return best;
}

/** `; did you mean "…"?`, or nothing where no name is near. */
export function didYouMean(name: string, known: Iterable<string>): string {
  const nearest = nearestName(name, known);
  return nearest === undefined ? "" : `; did you mean "${nearest}"?`;
}

/** Levenshtein: how many letters to insert, delete or replace. Two rows of the table are enough. */
function editDistance(a: string, b: string): number {
  let above = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row += 1) {
    const current = [row];
    let left = row;
    for (let column = 1; column <= b.length; column += 1) {
      const replaced = (above[column - 1] ?? 0) + (a[row - 1] === b[column - 1] ? 0 : 1);
      left = Math.min(replaced, left + 1, (above[column] ?? 0) + 1);
      current.push(left);
    }
    above = current;
  }
  return above[b.length] ?? 0;
}
