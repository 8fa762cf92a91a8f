// What the command line says.
import { parseArgs } from "node:util";
import { type Preset, presets } from "./presets.ts";

export interface Options {
  readonly preset: Preset;
  /** Names of cases; empty: all that the preset has. */
  readonly cases: readonly string[];
  readonly json: string | undefined;
  /** Where `performance.md` and `performance.svg` are written, if at all. */
  readonly docs: string | undefined;
  readonly seed: number;
  /** A git revision, whose build takes part too. */
  readonly before: string | undefined;
  /** Envoy's program. Undefined: the one from its package. */
  readonly envoy: string | undefined;
  /** A day, for the report. */
  readonly date: string;
}

export const usage = `npm run bench [-- options]

  --quick          the core ratios, in under a minute (npm run bench:quick)
  --tiny           a few calls of everything: shows that it works, and nothing else
  --case NAME      this case alone; may be given several times
  --rounds N       turns of each contestant
  --before REV     the build of this git revision takes turns with the new one
  --envoy FILE     this Envoy as the sidecar, instead of the one that is fetched once
  --json FILE      everything, round by round
  --docs FOLDER    where the figures go: performance.md and performance.svg (docs, after a whole run)
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
      before: { type: "string" },
      envoy: { type: "string" },
      json: { type: "string" },
      docs: { type: "string" },
      seed: { type: "string", default: "1" },
      date: { type: "string", default: today },
    },
  });
  if (values.help) return "help";
  if (values.quick && values.tiny) throw new Error("--quick and --tiny: one of them");
  const isWhole = !values.quick && values.case.length === 0;
  if (values.docs !== undefined && !isWhole)
    throw new Error("--docs: takes the figures of a whole run alone");
  const preset = presets[values.quick ? "quick" : values.tiny ? "tiny" : "full"];
  return {
    preset: values.rounds === undefined ? preset : { ...preset, rounds: positive("--rounds", values.rounds) },
    cases: values.case,
    json: values.json,
    docs: values.docs ?? (isWhole && !values.tiny ? "docs" : undefined),
    seed: positive("--seed", values.seed),
    before: values.before,
    envoy: values.envoy,
    date: values.date,
  };
}

function positive(option: string, text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new Error(`${option}: expected a whole number from 1, got "${text}"`);
}
