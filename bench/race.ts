// Contestants take turns in short rounds, in random order, so that whatever else the machine does meets all of them alike.
import { type Random, shuffled } from "./statistics.ts";

/** What one turn showed, by the figure's name. */
export type Figures = { readonly [Name in Figure]?: number };

export type Figure = keyof typeof figures;

/** Every figure, with what it is counted in. */
export const figures = {
  cpuUs: "µs of CPU",
  instructions: "instructions",
  perSec: "per second",
  p50Ms: "p50 in ms",
  p99Ms: "p99 in ms",
} as const;

export interface Contestant {
  readonly name: string;
  /** Not counted. */
  warmUp(): Promise<void>;
  turn(): Promise<Figures>;
}

/** By contestant: its figures, round by round. */
export type Race = ReadonlyMap<string, readonly Figures[]>;

export interface RaceOptions {
  readonly rounds: number;
  readonly random: Random;
  readonly onRound: (round: number) => void;
}

export async function race(
  contestants: readonly Contestant[],
  { rounds, random, onRound }: RaceOptions,
): Promise<Race> {
  for (const contestant of contestants) await contestant.warmUp();
  const shown = new Map<string, Figures[]>(contestants.map(({ name }) => [name, []]));
  for (let round = 1; round <= rounds; round += 1) {
    onRound(round);
    for (const contestant of shuffled(contestants, random)) {
      shown.get(contestant.name)?.push(await contestant.turn());
    }
  }
  return shown;
}

/** One figure of one contestant, round by round. Empty where it was not measured. */
export function column(shown: Race, contestant: string, figure: Figure): readonly number[] {
  const rounds = shown.get(contestant);
  if (rounds === undefined) throw new Error(`${contestant} took no part in this race`);
  return rounds.map((round) => round[figure]).filter((value) => value !== undefined);
}
