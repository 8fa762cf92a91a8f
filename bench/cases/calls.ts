// The chain's price on unary calls and on streams, beside everybody else's.
import { type Question, reference } from "../comparison.ts";
import type { CallKind, Load } from "../process/protocol.ts";
import type { ServerChoice, World } from "../world.ts";
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
  palisadeBefore,
  palisadeQuiet,
  palisadeWithoutSdk,
  roundsOf,
  runRace,
  sidecar,
  sidecars,
  startServers,
  unaryLoad,
} from "./case.ts";

interface CallCase {
  readonly name: string;
  readonly title: string;
  readonly quick: boolean;
  readonly kind: CallKind;
  readonly bytes: number;
  /** Servers beside those of every case. */
  servers?(world: World): Promise<readonly ServerChoice[]>;
  readonly bars: Readonly<Record<string, Question["bar"]>>;
  /** Questions beside those against bare. */
  readonly others: readonly Question[];
}

const handWrittenAgainstOurs: Question = {
  subject: handWritten.name,
  against: palisade.name,
  bar: { atLeast: 2.2 },
};

const oursAgainstBefore: Question = {
  subject: palisade.name,
  against: palisadeBefore.name,
  bar: { atMost: 1.05 },
};

export const callCases: readonly Case[] = [
  {
    name: "unary-64",
    title: "Unary, 64 B",
    quick: true,
    kind: "unary",
    bytes: 64,
    servers: async (world: World) => [palisadeWithoutSdk, ...(await sidecars(world))],
    bars: {
      [palisade.name]: { atMost: 1.4 },
      [palisadeWithoutSdk.name]: { atMost: 1.25 },
      [palisadeQuiet.name]: { atMost: 1 },
    },
    others: [
      handWrittenAgainstOurs,
      { subject: sidecar, against: palisade.name, bar: { atLeast: 1.8 } },
      { subject: palisade.name, against: "node:http2" },
    ],
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
    bars: { [palisade.name]: { atMost: 0.22 } },
    others: [],
  } as const,
  {
    name: "bidi-stream",
    title: "Bidirectional stream, 64 B",
    quick: false,
    kind: "bidiStream",
    bytes: 64,
    bars: { [palisade.name]: { atMost: 0.95 } },
    others: [],
  } as const,
].map(callCase);

function callCase({ name, title, quick, kind, bytes, servers: more, bars, others }: CallCase): Case {
  return {
    name,
    title,
    quick,
    async run(world, say) {
      const choices = [
        ...coreServers,
        ...((await more?.(world)) ?? []),
        ...(world.before === undefined ? [] : [palisadeBefore]),
        ...(world.preset.name === "quick" ? [] : otherServers),
      ];
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
      const asked = [
        ...againstBare(shown, bars),
        ...[...others, oursAgainstBefore].filter(
          ({ subject, against = reference }) => shown.has(subject) && shown.has(against),
        ),
      ];
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
