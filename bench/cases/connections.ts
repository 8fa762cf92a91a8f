// Connection set-up: whole mutual TLS handshakes, nothing resumed, until the server's HTTP/2 settings have come.
import {
  againstBare,
  answers,
  bare,
  bareAgain,
  type Case,
  inOtherFigures,
  measured,
  otherServers,
  palisade,
  roundsOf,
  runRace,
  startServers,
} from "./case.ts";

/** As many at a time as a load generator with one thread keeps busy. */
const concurrency = 8;

export const connectionsCase: Case = {
  name: "connections",
  title: "Connection set-up under mutual TLS",
  quick: false,
  async run(world, say) {
    const { handshakes: count } = world.preset;
    const generator = await world.startLoad();
    const floor = otherServers.filter(({ name }) => name === "node:http2");
    const servers = await startServers(world, generator, [bare, bareAgain, palisade, ...floor]);
    const shown = await runRace(
      world,
      servers.map((server) => {
        const connect = () => generator.ask("handshakes", { target: server.name, count, concurrency });
        return {
          name: server.name,
          async warmUp() {
            await connect();
          },
          turn: () => measured(world, server, count, connect),
        };
      }),
      say,
    );
    await world.stop(generator, ...servers.map(({ child }) => child));
    const asked = againstBare(shown);
    return {
      per: "handshake",
      comparisons: answers(shown, [...asked, ...inOtherFigures(asked)]),
      facts: [],
      rounds: roundsOf(shown),
    };
  },
};
