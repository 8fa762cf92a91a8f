// The chart: one bar for each server, its CPU time as a ratio to bare grpc-js, and the interval as a line across its end.
// Readable on light and on dark pages, which the picture learns from the reader's system.
import type { CaseResult } from "../cases/case.ts";
import { type Comparison, reference } from "../comparison.ts";

interface Row {
  readonly label: string;
  readonly ratio: Comparison["ratio"];
}

const width = 760;
const left = 190;
const right = 60;
const top = 64;
const rowHeight = 30;
const barHeight = 18;
const bottom = 46;

/** `caption` says where and when. */
export function chartOf({ title, comparisons, per }: CaseResult, caption: string): string {
  const rows: readonly Row[] = [
    { label: reference, ratio: { median: 1, lower: 1, upper: 1 } },
    ...comparisons
      .filter(
        ({ against, figure, without }) =>
          against === reference && figure === "cpuUs" && without === undefined,
      )
      .map(({ subject, ratio }) => ({ label: subject, ratio })),
  ].sort((a, b) => a.ratio.median - b.ratio.median);
  const furthest = Math.ceil(2 * Math.max(...rows.map(({ ratio }) => ratio.upper))) / 2;
  const height = top + rows.length * rowHeight + bottom;
  const x = (ratio: number): string => (left + (ratio / furthest) * (width - left - right)).toFixed(1);
  const floor = top + rows.length * rowHeight;
  const ticks = Array.from({ length: Math.floor(furthest) + 1 }, (_, at) => at);
  const heading = `${title}: the server's CPU time for each ${per}, against bare grpc-js`;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escaped(heading)}">
<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.heading { font-weight: 600; font-size: 15px }
.quiet { fill: #59636e; font-size: 11px }
.bar { fill: #afb8c1 }
.ours { fill: #1a7f37 }
.grid { stroke: #d1d9e0 }
.one, .interval { stroke: #1f2328 }
.one { stroke-dasharray: 4 3 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc }
.quiet { fill: #9198a1 }
.bar { fill: #59636e }
.ours { fill: #3fb950 }
.grid { stroke: #3d444d }
.one, .interval { stroke: #f0f6fc }
}
</style>
<text class="heading" x="12" y="24">${escaped(heading)}</text>
<text class="quiet" x="12" y="44">less is better; lines across the ends: 95 % intervals of the median</text>
${ticks.map((tick) => `<line class="${tick === 1 ? "one" : "grid"}" x1="${x(tick)}" x2="${x(tick)}" y1="${top - 6}" y2="${floor}"/><text class="quiet" x="${x(tick)}" y="${floor + 16}" text-anchor="middle">${tick}</text>`).join("\n")}
${rows.map((row, at) => barOf(row, top + at * rowHeight, x)).join("\n")}
<text class="quiet" x="12" y="${height - 8}">${escaped(caption)}</text>
</svg>
`;
}

function barOf({ label, ratio }: Row, y: number, x: (ratio: number) => string): string {
  const middle = y + barHeight / 2;
  const kind = label.startsWith("palisade") ? "bar ours" : "bar";
  const length = Number(x(ratio.median)) - left;
  return [
    `<text x="${left - 10}" y="${middle + 4}" text-anchor="end">${escaped(label)}</text>`,
    `<rect class="${kind}" x="${left}" y="${y}" width="${length.toFixed(1)}" height="${barHeight}" rx="2"/>`,
    `<line class="interval" x1="${x(ratio.lower)}" x2="${x(ratio.upper)}" y1="${middle}" y2="${middle}"/>`,
    `<text x="${Number(x(ratio.upper)) + 8}" y="${middle + 4}">${ratio.median.toFixed(2)}</text>`,
  ].join("");
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}
