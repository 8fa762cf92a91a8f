// The client's side: what it costs to attach credentials to a call, against none. Here each contestant is a load
// generator, a process of its own, and what counts is its CPU time.
import type { Question } from "../comparison.ts";
import { reference, twin } from "../comparison.ts";
import type { Child } from "../process/ask.ts";
import type { ClientKind, Load, LoadAsks } from "../process/protocol.ts";
import type { Contestant } from "../race.ts";
import type { World } from "../world.ts";
import { answers, bare, type Case, inOtherFigures, roundsOf, runRace, unaryLoad } from "./case.ts";

const clients: Readonly<Record<string, ClientKind>> = {
  [reference]: "grpc-js",
  [twin]: "grpc-js",
  "grpc-js, call credentials": "grpc-js-call-credentials",
  createSecureClient: "palisade",
  "createSecureClient, bearerToken": "palisade-credentials",
};

export const clientCase: Case = {
  name: "client",
  title: "The client's CPU time, unary, 64 B",
  quick: false,
  async run(world, say) {
    const server = await world.startServer({ ...bare, name: "server" });
    const generators: { readonly name: string; readonly child: Child<LoadAsks> }[] = [];
    for (const [name, kind] of Object.entries(clients)) {
      const child = await world.startLoad();
      await world.connect(child, server, kind);
      generators.push({ name, child });
    }
    const load: Load = { ...unaryLoad(world, server.name), tokens: "none" };
    const shown = await runRace(
      world,
      generators.map(({ name, child }) => clientContestant(world, name, child, load)),
      say,
    );
    await world.stop(server.child, ...generators.map(({ child }) => child));
    const asked: readonly Question[] = [
      { subject: twin },
      { subject: "grpc-js, call credentials" },
      { subject: "createSecureClient" },
      { subject: "createSecureClient, bearerToken" },
      { subject: "createSecureClient, bearerToken", against: "createSecureClient" },
      { subject: "createSecureClient, bearerToken", against: "grpc-js, call credentials" },
    ];
    return {
      per: "call",
      comparisons: answers(shown, [...asked, ...inOtherFigures(asked)]),
      facts: [],
      rounds: roundsOf(shown),
    };
  },
};

function clientContestant(world: World, name: string, child: Child<LoadAsks>, load: Load): Contestant {
  return {
    name,
    async warmUp() {
      await child.ask("run", { ...load, calls: world.preset.warmUpCalls });
    },
    async turn() {
      const counting = await world.counter?.count([child.pid]);
      const before = await child.ask("cpu", undefined);
      const { elapsedMs } = await child.ask("run", load);
      const cpu = (await child.ask("cpu", undefined)) - before;
      const instructions = await counting?.stop();
      return {
        cpuUs: cpu / load.calls,
        perSec: (load.calls * 1_000) / elapsedMs,
        ...(instructions === undefined ? {} : { instructions: instructions / load.calls }),
      };
    },
  };
}
