// The report for a terminal.
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
    ...remarksOf(report),
    `${held} bars hold, ${failed.length} do not${failed.map((name) => `\n  ${name}`).join("")}`,
  ]
    .filter((part) => part !== "")
    .join("\n\n");
}

function aligned(rows: Rows): string {
  const columns = usedColumns(rows);
  return rows
    .map((row) => `  ${columns.map(({ at, width }) => (row[at] ?? "").padEnd(width)).join("  ")}`.trimEnd())
    .join("\n");
}
