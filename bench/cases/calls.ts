// The chain's price on unary calls and on streams, beside everybody else's.
import type { Question } from "../comparison.ts";
import type { CallKind, Load } from "../process/protocol.ts";
import type { World } from "../world.ts";
import {
  againstBare,
  answers,
  type Case,
  contestant,
  coreServers,
  handWritten,
  inOtherFigures,
  otherServers,
  palisade,
  palisadeQuiet,
  roundsOf,
  runRace,
  startServers,
  unaryLoad,
} from "./case.ts";

interface CallCase {
  readonly name: string;
  readonly title: string;
  readonly quick: boolean;
  readonly kind: CallKind;
  readonly bytes: number;
  readonly bars: Readonly<Record<string, Question["bar"]>>;
  /** Questions beside those against bare. */
  readonly others: readonly Question[];
}

const handWrittenAgainstOurs: Question = {
  subject: handWritten.name,
  against: palisade.name,
  bar: { atLeast: 2.5 },
};

const streamBars = { [palisade.name]: { atMost: 1.02 }, [palisadeQuiet.name]: { atMost: 1.02 } };

export const callCases: readonly Case[] = [
  {
    name: "unary-64",
    title: "Unary, 64 B",
    quick: true,
    kind: "unary",
    bytes: 64,
    bars: { [palisade.name]: { atMost: 1 }, [palisadeQuiet.name]: { atMost: 0.95 } },
    others: [handWrittenAgainstOurs, { subject: palisade.name, against: "node:http2" }],
  } as const,
  {
    name: "unary-16k",
    title: "Unary, 16 kB",
    quick: false,
    kind: "unary",
    bytes: 16_384,
    bars: {},
    others: [],
  } as const,
  {
    name: "server-stream",
    title: "Server stream, 64 B",
    quick: false,
    kind: "serverStream",
    bytes: 64,
    bars: streamBars,
    others: [],
  } as const,
  {
    name: "bidi-stream",
    title: "Bidirectional stream, 64 B",
    quick: false,
    kind: "bidiStream",
    bytes: 64,
    bars: streamBars,
    others: [],
  } as const,
].map(callCase);

function callCase({ name, title, quick, kind, bytes, bars, others }: CallCase): Case {
  return {
    name,
    title,
    quick,
    async run(world, say) {
      const choices = world.preset.name === "quick" ? coreServers : [...coreServers, ...otherServers];
      const generator = await world.startLoad();
      const servers = await startServers(world, generator, choices);
      const shown = await runRace(
        world,
        servers.map((server) =>
          contestant(world, generator, {
            name: server.name,
            server,
            load: loadOf(world, server.name, kind, bytes),
          }),
        ),
        say,
      );
      await world.stop(generator, ...servers.map(({ child }) => child));
      const asked = [...againstBare(shown, bars), ...others.filter(({ against = "" }) => shown.has(against))];
      return {
        per: kind === "unary" ? "call" : "message",
        comparisons: answers(shown, [...asked, ...inOtherFigures(asked)]),
        facts: [],
        rounds: roundsOf(shown),
      };
    },
  };
}

function loadOf(world: World, target: string, kind: CallKind, bytes: number): Load {
  const load = { ...unaryLoad(world, target), kind, bytes };
  if (kind === "unary") return load;
  const { streams, messages } = world.preset;
  return { ...load, calls: streams, concurrency: streams, messages };
}
