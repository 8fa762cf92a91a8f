// The figures of docs/performance.md and its chart: written by a run, never by hand.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { chartOf } from "./chart.ts";
import {
  barsOf,
  comparisonRows,
  factRows,
  machineText,
  noiseText,
  type Report,
  type Rows,
  remarksOf,
  usedColumns,
} from "./report.ts";

const begin = "<!-- figures -->";
const end = "<!-- /figures -->";

/** @throws Error where the folder has no performance.md with a place for figures. */
export function writeDocumentation(folder: string, report: Report): void {
  const page = join(folder, "performance.md");
  const [first] = report.cases;
  if (first === undefined) throw new Error("a report without cases has no chart");
  writeFileSync(page, withFigures(readFileSync(page, "utf8"), figuresOf(report), page));
  writeFileSync(join(folder, "performance.svg"), chartOf(first, machineText(report)));
}

/** The page with other figures between its two marks. */
export function withFigures(page: string, figures: string, name: string): string {
  const from = page.indexOf(begin);
  const to = page.indexOf(end);
  if (from < 0 || to < from)
    throw new Error(`${name}: expected the lines ${begin} and ${end}, in this order`);
  return `${page.slice(0, from + begin.length)}\n\n${figures}\n\n${page.slice(to)}`;
}

export function figuresOf(report: Report): string {
  const { held, failed } = barsOf(report);
  return [
    `${machineText(report)}.`,
    ...remarksOf(report),
    `${held} bars hold, ${failed.length} do not${failed.length === 0 ? "." : ":"}`,
    failed.map((name) => `- ${name}`).join("\n"),
    "![CPU time for each call, against bare grpc-js](performance.svg)",
    ...report.cases.flatMap((result) => [
      `### ${result.title}`,
      result.comparisons.length === 0 ? "" : table(comparisonRows(result)),
      result.facts.length === 0 ? "" : table(factRows(result)),
      sentence(noiseText(result)),
    ]),
  ]
    .filter((part) => part !== "")
    .join("\n\n");
}

function sentence(text: string | undefined): string {
  return text === undefined ? "" : `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

/** As the formatter would have it. */
function table(rows: Rows): string {
  const columns = usedColumns(rows);
  const widths = columns.map(({ width }) => Math.max(3, width));
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  const [heading, ...body] = rows.map((row) =>
    line(columns.map(({ at }, column) => (row[at] ?? "").padEnd(widths[column] ?? 0))),
  );
  return [heading, line(widths.map((width) => "-".repeat(width))), ...body].join("\n");
}
