// The report for a terminal.
import {
  barsOf,
  comparisonRows,
  factRows,
  instructionsText,
  machineText,
  noiseText,
  type Report,
  type Rows,
} from "./report.ts";

export function textOf(report: Report): string {
  const { held, failed } = barsOf(report);
  const parts = report.cases.map((result) =>
    [
      result.title,
      result.comparisons.length === 0 ? "" : aligned(comparisonRows(result)),
      result.facts.length === 0 ? "" : aligned(factRows(result)),
      noiseText(result) ?? "",
    ]
      .filter((part) => part !== "")
      .join("\n"),
  );
  return [
    machineText(report),
    ...parts,
    instructionsText(report) ?? "",
    `${held} bars hold, ${failed.length} do not${failed.map((name) => `\n  ${name}`).join("")}`,
  ]
    .filter((part) => part !== "")
    .join("\n\n");
}

/** Columns that hold nothing are left out. */
function aligned(rows: Rows): string {
  const [heading = []] = rows;
  const columns = heading
    .map((_, at) => at)
    .filter((at) => rows.slice(1).some((row) => (row[at] ?? "") !== ""));
  const widths = columns.map((at) => Math.max(...rows.map((row) => (row[at] ?? "").length)));
  return rows
    .map((row) =>
      `  ${columns.map((at, column) => (row[at] ?? "").padEnd(widths[column] ?? 0)).join("  ")}`.trimEnd(),
    )
    .join("\n");
}
