// Latency at a fixed load: half of what the bare server takes at most, the same for everybody.
import { reference } from "../comparison.ts";
import type { Contestant } from "../race.ts";
import { median } from "../statistics.ts";
import type { World } from "../world.ts";
import {
  againstBare,
  answers,
  bare,
  bareAgain,
  type Case,
  handWritten,
  otherServers,
  palisade,
  palisadeQuiet,
  roundsOf,
  runRace,
  startServers,
  unaryLoad,
} from "./case.ts";

/** What of a turn is not timed: the server was left alone while the others had theirs. */
const untimedShare = 0.25;

/** Enough to know the bare server's top load within what the noise allows. */
const calibrations = 5;

export const latencyCase: Case = {
  name: "latency",
  title: "Latency at half of bare's top load, unary, 64 B",
  quick: false,
  async run(world, say) {
    const generator = await world.startLoad();
    const choices = [bare, bareAgain, palisade, palisadeQuiet, handWritten, ...otherServers];
    const servers = await startServers(world, generator, choices);
    const topLoad = await topLoadOfBare(world, (load) => generator.ask("run", load));
    const callsPerSec = topLoad / 2;
    const calls = Math.max(1, Math.round((callsPerSec * world.preset.pacedMs) / 1_000));
    const contestants = servers.map(
      ({ name, child }): Contestant => ({
        name,
        async warmUp() {
          await generator.ask("run", { ...unaryLoad(world, name), calls: world.preset.warmUpCalls });
          await child.ask("collect", undefined);
        },
        async turn() {
          await child.ask("settledCpu", undefined);
          const { p50Ms, p99Ms } = await generator.ask("paced", {
            ...unaryLoad(world, name),
            calls,
            callsPerSec,
            untimedCalls: Math.round(calls * untimedShare),
          });
          return { p50Ms, p99Ms };
        },
      }),
    );
    const shown = await runRace(world, contestants, say);
    await world.stop(generator, ...servers.map(({ child }) => child));
    return {
      per: "call",
      comparisons: answers(shown, [
        ...againstBare(shown, { [palisade.name]: { atMost: 1.05 } }, "p99Ms"),
        ...againstBare(shown, {}, "p50Ms"),
      ]),
      facts: [
        { name: "bare's top load", value: topLoad, unit: "calls per second" },
        { name: "the load of each", value: callsPerSec, unit: "calls per second" },
      ],
      rounds: roundsOf(shown),
    };
  },
};

async function topLoadOfBare(
  world: World,
  run: (load: ReturnType<typeof unaryLoad>) => Promise<{ readonly elapsedMs: number }>,
): Promise<number> {
  const load = unaryLoad(world, reference);
  await run({ ...load, calls: world.preset.warmUpCalls });
  const rates: number[] = [];
  for (let time = 0; time < calibrations; time += 1) {
    rates.push((load.calls * 1_000) / (await run(load)).elapsedMs);
  }
  return median(rates);
}
