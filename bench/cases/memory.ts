// Memory: what a call in flight holds, and whether a server that has served a million calls, or seen a
// million cancelled, is any larger for it.
import { setImmediate as turn } from "node:timers/promises";
import { reference } from "../comparison.ts";
import type { LimiterAsks, Memory } from "../process/protocol.ts";
import { number } from "../report/numbers.ts";
import type { ServerChoice, World } from "../world.ts";
import { bare, type Case, type Fact, palisade, unaryLoad } from "./case.ts";

/** The million comes in so many steps; from the third on, every table is full and every path compiled. */
const steps = 10;
const fullAfter = 3;

/** Flat: the end is no more than this times what it was when every table was full. */
const flatHeap = 1.05;
/** The allocator's fragmentation comes on top. */
const flatResident = 1.1;

export const memoryCase: Case = {
  name: "memory",
  title: "Memory",
  quick: false,
  async run(world, say) {
    const { millions } = world.preset;
    say("calls in flight");
    const perBare = await bytesPerHeldCall(world, bare);
    const perOurs = await bytesPerHeldCall(world, palisade);
    const calls = await afterManyCalls(world, say, "run");
    const cancelled = await afterManyCalls(world, say, "cancelled");
    const peers = await afterManyPeers(world, say);
    return {
      per: "call",
      comparisons: [],
      facts: [
        { name: `a call in flight, ${reference}`, value: perBare, unit: "bytes" },
        { name: `a call in flight, ${palisade.name}`, value: perOurs, unit: "bytes" },
        { name: `a call in flight, above ${reference}`, value: perOurs - perBare, unit: "bytes" },
        ...flatness(`${number(millions)} calls of ${number(world.preset.principals[2])} principals`, calls),
        ...flatness(`${number(millions)} cancelled calls`, cancelled),
        ...flatness(`${number(millions)} peers in the limiter's table`, peers),
        {
          name: "peers that the table holds",
          value: peers.at(-1)?.keys ?? Number.NaN,
          unit: "",
          atMost: 100_000,
        },
      ],
      rounds: {},
    };
  },
};

async function bytesPerHeldCall(world: World, choice: ServerChoice): Promise<number> {
  const { heldCalls } = world.preset;
  const generator = await world.startLoad();
  const { child, ...server } = await world.startServer(choice);
  await world.connect(generator, { child, ...server });
  const hold = async (): Promise<Memory> => {
    await generator.ask("hold", { target: choice.name, calls: heldCalls });
    while ((await child.ask("held", undefined)) < heldCalls) await turn();
    return child.ask("memory", undefined);
  };
  const release = async (): Promise<Memory> => {
    await child.ask("release", undefined);
    await generator.ask("released", undefined);
    await child.ask("settledCpu", undefined);
    return child.ask("memory", undefined);
  };
  // Once before, so that code and buffers which stay are not taken for the calls'.
  await hold();
  const empty = await release();
  const full = await hold();
  await release();
  await world.stop(generator, child);
  return (full.heapBytes - empty.heapBytes) / heldCalls;
}

async function afterManyCalls(
  world: World,
  say: (progress: string) => void,
  kind: "run" | "cancelled",
): Promise<readonly Memory[]> {
  const { millions, principals } = world.preset;
  const [, , many] = principals;
  const generator = await world.startLoad(many);
  const server = await world.startServer({ ...palisade, settings: { principals: many } });
  await world.connect(generator, server);
  const load = { ...unaryLoad(world, server.name), calls: millions / steps, tokens: many };
  const after: Memory[] = [];
  for (let step = 1; step <= steps; step += 1) {
    say(`${number((millions / steps) * step)} calls${kind === "run" ? "" : ", cancelled"}`);
    await generator.ask(kind, load);
    await server.child.ask("settledCpu", undefined);
    await server.child.ask("collect", undefined);
    after.push(await server.child.ask("memory", undefined));
  }
  await world.stop(generator, server.child);
  return after;
}

async function afterManyPeers(
  world: World,
  say: (progress: string) => void,
): Promise<readonly LimiterAsks["feed"][1][]> {
  const limiter = world.start<LimiterAsks>("limiter", "load/limiter");
  const after: LimiterAsks["feed"][1][] = [];
  for (let step = 1; step <= steps; step += 1) {
    say(`${number((world.preset.millions / steps) * step)} peers`);
    after.push(await limiter.ask("feed", { peers: world.preset.millions / steps }));
  }
  await world.stop(limiter);
  return after;
}

function flatness(what: string, after: readonly Memory[]): readonly Fact[] {
  const full = after[fullAfter - 1];
  const end = after.at(-1);
  if (full === undefined || end === undefined) throw new Error(`${what}: too few steps`);
  const mebibytes = (bytes: number): number => bytes / 1024 ** 2;
  return [
    { name: `resident size after ${what}`, value: mebibytes(end.residentBytes), unit: "MiB" },
    {
      name: "the same, against three tenths of it",
      value: end.residentBytes / full.residentBytes,
      unit: "times",
      atMost: flatResident,
    },
    { name: `heap after ${what}`, value: mebibytes(end.heapBytes), unit: "MiB" },
    {
      name: "the same, against three tenths of it",
      value: end.heapBytes / full.heapBytes,
      unit: "times",
      atMost: flatHeap,
    },
  ];
}
