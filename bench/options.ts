// What the command line says.
import { parseArgs } from "node:util";
import { type Preset, presets } from "./presets.ts";

export interface Options {
  readonly preset: Preset;
  /** Names of cases; empty: all that the preset has. */
  readonly cases: readonly string[];
  readonly json: string | undefined;
  /** Where `performance.md` and `performance.svg` are. */
  readonly docs: string;
  readonly seed: number;
  /** A day, for the report. */
  readonly date: string;
}

export const usage = `npm run bench [-- options]

  --quick          the core ratios, in under a minute (npm run bench:quick)
  --tiny           a few calls of everything: shows that it works, and nothing else
  --case NAME      this case alone; may be given several times
  --rounds N       turns of each contestant
  --json FILE      everything, round by round
  --docs FOLDER    where performance.md and performance.svg are written (docs); only a whole run writes them
  --seed N         of the order of turns (1)
  --date DAY       for the report (today)
`;

/** @throws Error where an option is unknown, or its value makes no sense. */
export function readOptions(args: readonly string[], today: string): Options | "help" {
  const { values } = parseArgs({
    args: [...args],
    options: {
      help: { type: "boolean", default: false },
      quick: { type: "boolean", default: false },
      tiny: { type: "boolean", default: false },
      case: { type: "string", multiple: true, default: [] },
      rounds: { type: "string" },
      json: { type: "string" },
      docs: { type: "string", default: "docs" },
      seed: { type: "string", default: "1" },
      date: { type: "string", default: today },
    },
  });
  if (values.help) return "help";
  if (values.quick && values.tiny) throw new Error("--quick and --tiny: one of them");
  const preset = presets[values.quick ? "quick" : values.tiny ? "tiny" : "full"];
  return {
    preset: values.rounds === undefined ? preset : { ...preset, rounds: positive("--rounds", values.rounds) },
    cases: values.case,
    json: values.json,
    docs: values.docs,
    seed: positive("--seed", values.seed),
    date: values.date,
  };
}

function positive(option: string, text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new Error(`${option}: expected a whole number from 1, got "${text}"`);
}
