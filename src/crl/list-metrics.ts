// What is measured of revocation lists: how old they are, when the next ones are due, and what became of changed files. Read where a
// server measures.
import { LazyInstruments, type ObservedSeries, observed } from "../observability/instruments.ts";
import type { ListInFile } from "./revocation-lists.ts";

/** Tells which lists are in use now. */
export type ListsInUse = () => readonly ListInFile[];

const dayMs = 24 * 60 * 60 * 1_000;

/** Of each `crlFiles` that a server uses. */
const measured: Set<ListsInUse> = new Set();

/** From now on these lists are measured. Returns what ends that. */
export function measureLists(inUse: ListsInUse): () => void {
  measured.add(inUse);
  return () => measured.delete(inUse);
}

new LazyInstruments((meter) => {
  const age = meter.createObservableGauge("palisade.crl.age", {
    unit: "d",
    description: "Days since the oldest revocation list in use was made (thisUpdate)",
  });
  const left = meter.createObservableGauge("palisade.crl.days_left", {
    unit: "d",
    description:
      "Days until the first revocation list in use should have a successor (nextUpdate); negative after that",
  });
  age.addCallback((result) => {
    const oldest = first(({ list }) => list.thisUpdate);
    if (oldest !== undefined) result.observe((Date.now() - oldest) / dayMs);
  });
  left.addCallback((result) => {
    const due = first(({ list }) => list.nextUpdate);
    if (due !== undefined) result.observe((due - Date.now()) / dayMs);
  });
});

function first(timeOf: (each: ListInFile) => number | undefined): number | undefined {
  let earliest: number | undefined;
  for (const inUse of measured) {
    for (const each of inUse()) {
      const time = timeOf(each);
      if (time !== undefined && time < (earliest ?? Number.POSITIVE_INFINITY)) earliest = time;
    }
  }
  return earliest;
}

const reloads = observed("counter", "palisade.crl.reloads", {
  unit: "{reload}",
  description: "Changes of revocation lists, by what became of them",
});

/** How often changed lists were taken over, and how often some could not be used. Both may come of one change. */
export const listReloads: Readonly<Record<"taken" | "refused", ObservedSeries>> = {
  taken: reloads({ result: "taken" }),
  refused: reloads({ result: "refused" }),
};
