// The rows as a table that a person can read: aligned, with colours where somebody watches.
import type { WriteStream } from "node:tty";
import type { Row } from "./demo.ts";

type Output = Pick<WriteStream, "write"> & Partial<Pick<WriteStream, "isTTY" | "hasColors">>;

const headings = ["#", "call", "expected", "seen", "verdict", "remark"] as const;

export function printTable(rows: readonly Row[], output: Output): void {
  const paint = painter(output);
  const cells = rows.map((row, index) => cellsOf(row, index));
  const widths = headings.map((heading, column) =>
    Math.max(heading.length, ...cells.map((line) => line[column]?.length ?? 0)),
  );
  const aligned = (line: readonly string[]): string =>
    line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ");
  output.write(`${paint("bold", aligned(headings).trimEnd())}\n`);
  for (const [index, line] of cells.entries()) {
    output.write(`${paint(rows[index]?.ok ? "green" : "red", aligned(line).trimEnd())}\n`);
  }
}

function cellsOf({ call, expected, seen, ok }: Row, index: number): readonly string[] {
  return [String(index + 1).padStart(2), call, expected, seen.result, ok ? "ok" : "WRONG", seen.remark ?? ""];
}

const codes = { bold: "1", green: "32", red: "31" } as const;

function painter(output: Output): (style: keyof typeof codes, text: string) => string {
  const colours = output.isTTY === true && output.hasColors?.() === true;
  return (style, text) => (colours ? `\u001b[${codes[style]}m${text}\u001b[0m` : text);
}
