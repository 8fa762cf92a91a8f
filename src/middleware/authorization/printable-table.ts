// A table whose cells hold names from a policy: for a terminal, and for Markdown. What stands in a cell stays text.

export interface Table {
  readonly headers: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** Control and formatting characters (line ends, right-to-left overrides) would make a table say what it does not. */
export function printable(text: string): string {
  return text.replaceAll(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`,
  );
}

/** The lines of a table for a terminal. An empty cell is `-`. */
export function textLines({ headers, rows }: Table): readonly string[] {
  const all = [headers, ...rows].map((row) => row.map(printable));
  const widths = headers.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  return all.map((row) =>
    row
      .map((text, column) => (text === "" ? "-" : text).padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}

/** The lines of a GitHub-flavoured Markdown table. */
export function markdownLines({ headers, rows }: Table): readonly string[] {
  const line = (cells: readonly string[]): string => `| ${cells.map(markdownText).join(" | ")} |`;
  return [line(headers), `|${headers.map(() => "---|").join("")}`, ...rows.map(line)];
}

/** Everything that Markdown or HTML in it would read as more than text. */
function markdownText(text: string): string {
  return printable(text).replaceAll(/[\\`*_[\]<>|&~#!]/g, "\\$&");
}
