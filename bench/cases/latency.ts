// Latency at a fixed load, half of what the bare server takes at most, the same for everybody; and of one call at a time.
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
  sidecar,
  sidecars,
  startServers,
  unaryLoad,
} from "./case.ts";

/** What of a turn is not timed: the server was left alone while the others had theirs. */
const untimedShare = 0.25;

/** Enough to know the bare server's top load within what the noise allows. */
const calibrations = 5;

/** Of a turn's calls, which take longer one after the other. */
const oneAtATimeShare = 4;

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
      comparisons: answers(shown, [...againstBare(shown, {}, "p99Ms"), ...againstBare(shown, {}, "p50Ms")]),
      facts: [
        { name: "bare's top load", value: topLoad, unit: "calls per second" },
        { name: "the load of each", value: callsPerSec, unit: "calls per second" },
      ],
      rounds: roundsOf(shown),
    };
  },
};

export const oneAtATimeCase: Case = {
  name: "one-at-a-time",
  title: "Latency of one call at a time, unary, 64 B",
  quick: false,
  async run(world, say) {
    const generator = await world.startLoad();
    const choices = [bare, bareAgain, palisade, palisadeQuiet, handWritten, ...(await sidecars(world))];
    const servers = await startServers(world, generator, choices);
    const contestants = servers.map(({ name, child }): Contestant => {
      const load = { ...unaryLoad(world, name), concurrency: 1 };
      return {
        name,
        async warmUp() {
          await generator.ask("run", { ...load, calls: world.preset.warmUpCalls });
          await child.ask("collect", undefined);
        },
        async turn() {
          await child.ask("settledCpu", undefined);
          const { p50Ms, p99Ms } = await generator.ask("run", {
            ...load,
            calls: Math.ceil(load.calls / oneAtATimeShare),
          });
          return { p50Ms, p99Ms };
        },
      };
    });
    const shown = await runRace(world, contestants, say);
    await world.stop(generator, ...servers.map(({ child }) => child));
    const asked = [
      ...againstBare(shown, {}, "p50Ms"),
      ...(shown.has(sidecar)
        ? [{ subject: sidecar, against: palisade.name, figure: "p50Ms", bar: { atLeast: 1.8 } } as const]
        : []),
    ];
    return {
      per: "call",
      comparisons: answers(shown, [
        ...asked,
        ...asked.map(({ bar: _, ...question }) => ({ ...question, figure: "p99Ms" as const })),
      ]),
      facts: [],
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
