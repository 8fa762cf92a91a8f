// "Did you mean …?": the known name that is nearest to a mistyped one, by edit distance.

/**
 * The name in `known` that differs least from `name`, ignoring case; undefined where none is near (at most a quarter
 * of its letters, or two, differ, and always fewer than half). Of two equally near names the first wins. A name that
 * differs in its unit alone is the nearest: `durationMs` means `durationSec`.
 */
export function nearestName(name: string, known: Iterable<string>): string | undefined {
  const names = [...known];
  return withAnotherUnit(name, names) ?? nearestByLetters(name, names);
}

const units = /(?:Ms|Millis|Milliseconds|Sec|Secs|Seconds|Min|Minutes|Bytes|Kb|Mb|KB|MB|KiB|MiB)$/;

function withAnotherUnit(name: string, known: readonly string[]): string | undefined {
  const stem = name.replace(units, "");
  return known.find((other) => other !== name && units.test(other) && other.replace(units, "") === stem);
}

function nearestByLetters(name: string, known: readonly string[]): string | undefined {
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

/** How many letters to insert, delete or replace, or neighbours to swap. Three rows of the table are enough. */
function editDistance(a: string, b: string): number {
  let twoAbove: readonly number[] = [];
  let above = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row += 1) {
    const current = [row];
    let left = row;
    for (let column = 1; column <= b.length; column += 1) {
      const replaced = (above[column - 1] ?? 0) + (a[row - 1] === b[column - 1] ? 0 : 1);
      const swapped =
        row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]
          ? (twoAbove[column - 2] ?? 0) + 1
          : Number.POSITIVE_INFINITY;
      left = Math.min(replaced, swapped, left + 1, (above[column] ?? 0) + 1);
      current.push(left);
    }
    [twoAbove, above] = [above, current];
  }
  return above[b.length] ?? 0;
}
