// Does the price of a call grow with what the server knows? Registered methods with their rules, and distinct principals.
import type { Question } from "../comparison.ts";
import { reference, twin } from "../comparison.ts";
import type { Tokens } from "../process/protocol.ts";
import { number } from "../report/numbers.ts";
import type { ServerChoice, World } from "../world.ts";
import {
  answers,
  bare,
  bareAgain,
  type Case,
  contestant,
  type Findings,
  inOtherFigures,
  palisade,
  roundsOf,
  runRace,
  startServers,
  unaryLoad,
} from "./case.ts";

interface Scaled {
  readonly choice: ServerChoice;
  readonly methods: number;
  readonly tokens: Tokens;
  readonly warmUpCalls?: number;
}

export const scaleCases: readonly Case[] = [
  {
    name: "methods",
    title: "Registered methods and rules",
    quick: false,
    run(world, say) {
      const [few, some, many] = world.preset.methods;
      const at = (choice: ServerChoice, methods: number, name = choice.name): Scaled => ({
        choice: { ...choice, name, settings: { methods } },
        methods,
        tokens: "one",
      });
      const label = (name: string, methods: number): string => `${name}, ${number(methods)} methods`;
      return scaleCase(world, say, {
        scaled: [
          at(bare, few),
          at(bareAgain, few),
          at(bare, many, label("bare", many)),
          ...[few, some, many].map((methods) => at(palisade, methods, label("palisade", methods))),
        ],
        questions: [
          { subject: label("bare", many) },
          { subject: label("palisade", few) },
          { subject: label("palisade", some), against: label("palisade", few) },
          { subject: label("palisade", many), against: label("palisade", few) },
        ],
      });
    },
  },
  {
    name: "principals",
    title: "Distinct principals",
    quick: false,
    run(world, say) {
      const [one, some, many] = world.preset.principals;
      const at = (choice: ServerChoice, principals: number, name = choice.name): Scaled => ({
        choice: { ...choice, name, settings: { principals } },
        methods: 0,
        tokens: principals === 1 ? "one" : principals,
        // Every one of them has been here once: what is measured is many callers, not their first calls.
        warmUpCalls: Math.max(world.preset.warmUpCalls, choice === palisade ? principals : 0),
      });
      const label = (name: string, principals: number): string =>
        `${name}, ${number(principals)} principal${principals === 1 ? "" : "s"}`;
      return scaleCase(world, say, {
        scaled: [
          at(bare, one),
          at(bareAgain, one),
          at(bare, many, label("bare", many)),
          ...[one, some, many].map((principals) => at(palisade, principals, label("palisade", principals))),
        ],
        questions: [
          { subject: label("bare", many) },
          { subject: label("palisade", one) },
          { subject: label("palisade", some), against: label("palisade", one) },
          { subject: label("palisade", many), against: label("palisade", one) },
          { subject: label("palisade", many), against: label("bare", many) },
        ],
      });
    },
  },
];

interface ScaleCase {
  readonly scaled: readonly Scaled[];
  readonly questions: readonly Question[];
}

async function scaleCase(
  world: World,
  say: (progress: string) => void,
  { scaled, questions }: ScaleCase,
): Promise<Findings> {
  const tokens = Math.max(...scaled.map((entry) => (typeof entry.tokens === "number" ? entry.tokens : 1)));
  if (tokens > 1) say(`${number(tokens)} tokens are signed`);
  const generator = await world.startLoad(tokens);
  const servers = await startServers(
    world,
    generator,
    scaled.map(({ choice }) => choice),
  );
  const shown = await runRace(
    world,
    servers.map((server, at) => {
      const {
        methods = 0,
        tokens: brought = "one",
        warmUpCalls = world.preset.warmUpCalls,
      } = scaled[at] ?? {};
      const load = { ...unaryLoad(world, server.name), methods, tokens: brought };
      return contestant(world, generator, { name: server.name, server, load, warmUpCalls });
    }),
    say,
  );
  await world.stop(generator, ...servers.map(({ child }) => child));
  const asked: readonly Question[] = [{ subject: twin, against: reference }, ...questions];
  return {
    per: "call",
    comparisons: answers(shown, [...asked, ...inOtherFigures(asked)]),
    facts: [],
    rounds: roundsOf(shown),
  };
}
