// What it costs beside a known token that something is asked on each call: a list of revoked tokens with entries in it, or the
// answer of the issuer's introspection, which is remembered.
import { type Question, reference, twin } from "../comparison.ts";
import type { ServerChoice } from "../world.ts";
import {
  answers,
  bare,
  bareAgain,
  type Case,
  contestant,
  inOtherFigures,
  palisade,
  roundsOf,
  runRace,
  startServers,
  unaryLoad,
} from "./case.ts";

const withRevocations: ServerChoice = {
  ...palisade,
  name: "palisade, revocation list",
  settings: { identity: "revocations" },
};

const withIntrospection: ServerChoice = {
  ...palisade,
  name: "palisade, introspection",
  settings: { identity: "introspection" },
};

const added = { against: reference, without: palisade.name, bar: { atMost: 0.1 } };

export const identityCase: Case = {
  name: "identity",
  title: "A known token, and what is asked about it",
  quick: false,
  async run(world, say) {
    const generator = await world.startLoad();
    const servers = await startServers(world, generator, [
      bare,
      bareAgain,
      palisade,
      withRevocations,
      withIntrospection,
    ]);
    const shown = await runRace(
      world,
      servers.map((server) =>
        contestant(world, generator, { name: server.name, server, load: unaryLoad(world, server.name) }),
      ),
      say,
    );
    await world.stop(generator, ...servers.map(({ child }) => child));
    const asked: readonly Question[] = [
      { subject: twin },
      { subject: palisade.name },
      { subject: withRevocations.name },
      { subject: withIntrospection.name },
      { subject: withRevocations.name, ...added },
      { subject: withIntrospection.name, ...added },
    ];
    return {
      per: "call",
      comparisons: answers(shown, [
        ...asked,
        ...inOtherFigures(asked.filter(({ without }) => without === undefined)),
      ]),
      facts: [],
      rounds: roundsOf(shown),
    };
  },
};
