// The changes between two policies as a text table and as Markdown.
import type { PolicyChange, PolicyComparison } from "./policy-change.ts";
import { markdownLines, type Table, textLines } from "./printable-table.ts";

type Counts = PolicyComparison["counts"];

export function changesAsText(changes: readonly PolicyChange[], counts: Counts): string {
  const lines = changes.length === 0 ? [] : ["", ...textLines(table(changes))];
  return `${[summary(counts), ...lines].join("\n")}\n`;
}

export function changesAsMarkdown(changes: readonly PolicyChange[], counts: Counts): string {
  const lines = changes.length === 0 ? [] : ["", ...markdownLines(table(changes))];
  return `${["# Access changes", "", summary(counts), ...lines].join("\n")}\n`;
}

function summary({ gained, lost, changed }: Counts): string {
  return gained + lost + changed === 0
    ? "Nobody gains or loses access."
    : `${gained} gained, ${lost} lost, ${changed} changed.`;
}

function table(changes: readonly PolicyChange[]): Table {
  return {
    headers: ["direction", "who", "method", "access", "what", "before", "after", "note"],
    rows: groupsOf(changes).map(([first, ...rest]) => [
      first.direction,
      [first, ...rest].map(nameOf).join(", "),
      first.method,
      first.accessBefore === first.accessAfter
        ? first.accessAfter
        : `${first.accessBefore} -> ${first.accessAfter}`,
      first.what,
      first.before,
      first.after,
      first.note ?? "",
    ]),
  };
}

type Group = readonly [PolicyChange, ...PolicyChange[]];

/** Parties with the same change, in the order of their first one; what is gained stands first. */
function groupsOf(changes: readonly PolicyChange[]): readonly Group[] {
  const groups = new Map<string, [PolicyChange, ...PolicyChange[]]>();
  for (const change of changes) {
    const { party: _party, role: _role, ...same } = change;
    const key = JSON.stringify(same);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [change]);
    else group.push(change);
  }
  const all = [...groups.values()];
  return (["gained", "changed", "lost"] as const).flatMap((direction) =>
    all.filter(([first]) => first.direction === direction),
  );
}

function nameOf({ party, role }: PolicyChange): string {
  if (party === "everybody") return "everybody without credentials";
  return party === "verified" ? "every verified caller" : `role ${role}`;
}
