// A token that the server has never seen on each call: no cache helps, and a signature must be verified. What that costs
// by itself is measured in the same rounds, beside what a token costs that is known.
import type { Question } from "../comparison.ts";
import { reference, twin } from "../comparison.ts";
import type { VerifierAsks } from "../process/protocol.ts";
import type { Contestant } from "../race.ts";
import type { ServerChoice, World } from "../world.ts";
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

const bareNew: ServerChoice = { ...bare, name: "bare, new tokens" };
const palisadeNew: ServerChoice = { ...palisade, name: "palisade, new tokens" };
const verification = "jose.jwtVerify";

export const newTokensCase: Case = {
  name: "new-tokens",
  title: "A new token on each call",
  quick: false,
  async run(world, say) {
    const { newTokens } = world.preset;
    say(`${newTokens} tokens are signed`);
    const generator = await world.startLoad(newTokens);
    const servers = await startServers(world, generator, [bare, bareAgain, bareNew, palisade, palisadeNew]);
    const verifier = await startVerifier(world);
    const shown = await runRace(
      world,
      [
        ...servers.map((server) => {
          const isNew = server.name === bareNew.name || server.name === palisadeNew.name;
          const load = { ...unaryLoad(world, server.name), tokens: isNew ? newTokens : ("one" as const) };
          return contestant(world, generator, { name: server.name, server, load });
        }),
        verifier,
      ],
      say,
    );
    await world.stop(generator, verifier, ...servers.map(({ child }) => child));
    const asked: readonly Question[] = [
      { subject: twin, against: reference },
      { subject: bareNew.name },
      { subject: verification },
      { subject: palisadeNew.name },
      { subject: palisade.name },
      { subject: palisadeNew.name, without: palisade.name, against: verification, bar: { atMost: 1.3 } },
    ];
    return {
      per: "call",
      comparisons: answers(shown, [
        ...asked,
        ...inOtherFigures(
          asked.filter(({ subject, without }) => subject !== verification && without === undefined),
        ),
      ]),
      facts: [],
      rounds: roundsOf(shown),
    };
  },
};

async function startVerifier(world: World): Promise<Contestant & { stop(): Promise<void> }> {
  const { calls: count, concurrency, newTokens, warmUpCalls } = world.preset;
  const verifier = world.start<VerifierAsks>(verification, "load/verifier");
  await verifier.ask("start", { trust: world.trust, file: await world.tokenFile(newTokens) });
  return {
    name: verification,
    async warmUp() {
      await verifier.ask("verify", { count: warmUpCalls, concurrency });
    },
    turn: async () => ({ cpuUs: (await verifier.ask("verify", { count, concurrency })) / count }),
    stop: () => world.stop(verifier),
  };
}
