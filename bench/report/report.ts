// What a run has found, and the same as rows of text for whoever prints it.
import type { CaseResult, Fact } from "../cases/case.ts";
import { type Comparison, reference, twin } from "../comparison.ts";
import { type Figure, figures } from "../race.ts";
import { type Bar, type Interval, median } from "../statistics.ts";
import { number } from "./numbers.ts";

export interface Report {
  readonly date: string;
  readonly node: string;
  readonly cpu: string;
  readonly cores: number;
  readonly system: string;
  readonly preset: string;
  readonly rounds: number;
  readonly seed: number;
  /** Why instructions were not counted, where they were not. */
  readonly instructionsMissing?: string;
  /** Why the Envoy sidecar took no part, where it took none. */
  readonly envoyMissing?: string;
  /** The git revision whose build took part. */
  readonly before?: string;
  readonly cases: readonly CaseResult[];
}

/** The first row is the heading. */
export type Rows = readonly (readonly string[])[];

const headings: Readonly<Record<Figure, string>> = {
  cpuUs: "CPU",
  instructions: "instructions",
  perSec: "throughput",
  p50Ms: "p50",
  p99Ms: "p99",
};

/** The columns in which any row but the heading says something, and how wide each is. */
export function usedColumns(rows: Rows): readonly { readonly at: number; readonly width: number }[] {
  const [heading = []] = rows;
  return heading
    .map((_, at) => ({ at, width: Math.max(...rows.map((row) => (row[at] ?? "").length)) }))
    .filter(({ at }) => rows.slice(1).some((row) => (row[at] ?? "") !== ""));
}

/** One row for each pair that was compared, one column for each figure. */
export function comparisonRows({ comparisons, rounds, per }: CaseResult): Rows {
  const shown = Object.keys(headings).filter((figure): figure is Figure =>
    comparisons.some((comparison) => comparison.figure === figure),
  );
  const [first = "cpuUs"] = shown;
  const pairs = new Set(comparisons.map(pairOf));
  return [
    [
      "compared",
      first === "cpuUs" ? `${figures[first]} for each ${per}` : figures[first],
      ...shown.map((figure) => `${headings[figure]} ratio`),
      "bar",
      "holds",
    ],
    ...[...pairs].map((pair) => {
      const answers = comparisons.filter((comparison) => pairOf(comparison) === pair);
      const barred = answers.find(({ bar }) => bar !== undefined);
      return [
        pair,
        medianOf(rounds, answers[0]?.subject ?? "", first),
        ...shown.map((figure) => ratioText(answers.find((answer) => answer.figure === figure)?.ratio)),
        barred?.bar === undefined ? "" : barText(barred.bar, headings[barred.figure]),
        holdsText(barred),
      ];
    }),
  ];
}

function pairOf({ subject, against, without }: Comparison): string {
  const own = without === undefined ? subject : `${subject}, less ${without}`;
  return against === reference ? own : `${own} / ${against}`;
}

function medianOf(rounds: CaseResult["rounds"], subject: string, figure: Figure): string {
  const values = (rounds[subject] ?? []).map((round) => round[figure]).filter((value) => value !== undefined);
  return values.length === 0 ? "" : number(median(values));
}

function ratioText(interval: Interval | undefined): string {
  if (interval === undefined) return "";
  const { median: middle, lower, upper } = interval;
  return `${middle.toFixed(2)} (${lower.toFixed(2)} to ${upper.toFixed(2)})`;
}

function barText(bar: Bar, figure: string): string {
  return "atMost" in bar ? `${figure} ≤ ${bar.atMost.toFixed(2)}` : `${figure} ≥ ${bar.atLeast.toFixed(2)}`;
}

function holdsText(comparison: Comparison | undefined): string {
  if (comparison?.holds === undefined) return "";
  return comparison.holds ? "yes" : "no";
}

export function factRows({ facts }: CaseResult): Rows {
  return [
    ["what", "value", "bar", "holds"],
    ...facts.map((fact) => [
      fact.name,
      `${number(fact.value)} ${fact.unit}`.trim(),
      fact.atMost === undefined ? "" : `≤ ${number(fact.atMost)}`,
      fact.atMost === undefined ? "" : factHolds(fact) ? "yes" : "no",
    ]),
  ];
}

export function factHolds({ value, atMost = Number.POSITIVE_INFINITY }: Fact): boolean {
  return value <= atMost;
}

/** How far bare against bare lay apart: what the machine's noise does to a bar. */
export function noiseText({ comparisons }: CaseResult): string | undefined {
  const bareTwice = comparisons.find(({ subject, against }) => subject === twin && against === reference);
  if (bareTwice === undefined) return undefined;
  const half = (bareTwice.ratio.upper - bareTwice.ratio.lower) / 2;
  return `bare against bare: ${ratioText(bareTwice.ratio)}; bars are widened by ${half.toFixed(3)}`;
}

/** The bars of a run: how many hold, and which do not. */
export function barsOf(report: Report): { readonly held: number; readonly failed: readonly string[] } {
  const verdicts = report.cases.flatMap(({ title, comparisons, facts }) => [
    ...comparisons
      .filter(({ holds }) => holds !== undefined)
      .map((comparison) => ({ name: `${title}: ${pairOf(comparison)}`, holds: comparison.holds === true })),
    ...facts
      .filter(({ atMost }) => atMost !== undefined)
      .map((fact) => ({ name: `${title}: ${fact.name}`, holds: factHolds(fact) })),
  ]);
  return {
    held: verdicts.filter(({ holds }) => holds).length,
    failed: verdicts.filter(({ holds }) => !holds).map(({ name }) => name),
  };
}

export function machineText(report: Report): string {
  const { date, node, cpu, cores, system, rounds } = report;
  return `${date}, Node.js ${node}, ${cores} × ${cpu}, ${system}, ${rounds} rounds`;
}

/** What a reader must know about this run beside its figures: a sentence for each. */
export function remarksOf({ instructionsMissing, envoyMissing, before }: Report): readonly string[] {
  return [
    instructionsMissing === undefined ? "" : `Instructions retired were not counted: ${instructionsMissing}.`,
    envoyMissing === undefined ? "" : `The Envoy sidecar is left out: ${envoyMissing}.`,
    before === undefined ? "" : `"palisade, before" is the build of ${before}.`,
  ].filter((remark) => remark !== "");
}
