// What a case is, and how most of them come about: servers side by side, one load.
import type { Comparison, Question } from "../comparison.ts";
import { compare, reference, twin } from "../comparison.ts";
import type { Child } from "../process/ask.ts";
import type { Load, LoadAsks } from "../process/protocol.ts";
import { type Contestant, type Figure, type Figures, figures, type Race, race } from "../race.ts";
import type { RunningServer, ServerChoice, World } from "../world.ts";

/** A number that is no ratio, with the bound that it must keep where there is one. */
export interface Fact {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  readonly atMost?: number;
}

export interface Findings {
  /** What the figures are counted for: `call`, `message`, `handshake`. */
  readonly per: string;
  readonly comparisons: readonly Comparison[];
  readonly facts: readonly Fact[];
  readonly rounds: Readonly<Record<string, readonly Figures[]>>;
}

export interface CaseResult extends Findings {
  readonly name: string;
  readonly title: string;
}

export interface Case {
  readonly name: string;
  readonly title: string;
  /** In `bench:quick` too. */
  readonly quick: boolean;
  run(world: World, say: (progress: string) => void): Promise<Findings>;
}

export const bare: ServerChoice = { name: reference, program: "bare" };
export const bareAgain: ServerChoice = { name: twin, program: "bare" };
export const palisade: ServerChoice = { name: "palisade", program: "palisade" };
export const palisadeQuiet: ServerChoice = {
  name: "palisade, no records",
  program: "palisade",
  settings: { records: false },
};
export const palisadeWithoutSdk: ServerChoice = {
  name: "palisade, no metrics SDK",
  program: "palisade",
  settings: { metricsSdk: false },
};
export const palisadeBefore: ServerChoice = { ...palisade, name: "palisade, before", before: true };
export const sidecar = "envoy sidecar";
export const handWritten: ServerChoice = { name: "hand-written", program: "hand-written" };

export const coreServers: readonly ServerChoice[] = [
  bare,
  bareAgain,
  { name: "bare, channelz off", program: "bare", settings: { channelz: false } },
  palisade,
  palisadeQuiet,
  handWritten,
];

export const otherServers: readonly ServerChoice[] = [
  { name: "node:http2", program: "http2" },
  { name: "nice-grpc", program: "nice-grpc" },
  { name: "connect-node", program: "connect" },
];

/** Envoy in front of bare grpc-js; none where this machine has no Envoy. */
export async function sidecars(world: World): Promise<readonly ServerChoice[]> {
  const envoy = await world.envoy();
  return envoy === undefined ? [] : [{ name: sidecar, program: "envoy", settings: { envoy } }];
}

/** A server with the load that it is given on each turn. */
export interface Entry {
  readonly name: string;
  readonly server: RunningServer;
  readonly load: Load;
  /** Default: what the preset says. */
  readonly warmUpCalls?: number;
}

/** What a unary load says where nothing else is asked for. */
export function unaryLoad(world: World, target: string): Load {
  const { calls, concurrency } = world.preset;
  return { target, kind: "unary", calls, concurrency, bytes: 64, messages: 0, tokens: "one", methods: 0 };
}

export async function startServers(
  world: World,
  load: Child<LoadAsks>,
  choices: readonly ServerChoice[],
): Promise<readonly RunningServer[]> {
  const servers: RunningServer[] = [];
  for (const choice of choices) {
    const server = await world.startServer(choice);
    await world.connect(load, server);
    servers.push(server);
  }
  return servers;
}

/** The server's own CPU time for each call, or for each message of a stream. */
export function contestant(world: World, generator: Child<LoadAsks>, entry: Entry): Contestant {
  const { name, server, load, warmUpCalls = world.preset.warmUpCalls } = entry;
  const units = load.kind === "unary" ? load.calls : load.calls * load.messages;
  return {
    name,
    async warmUp() {
      const calls = load.kind === "unary" ? warmUpCalls : 2 * load.calls;
      await generator.ask("run", { ...load, calls });
      await server.child.ask("settledCpu", undefined);
      await server.child.ask("collect", undefined);
    },
    turn: () => measured(world, server, units, () => generator.ask("run", load)),
  };
}

/**
 * Metrics are collected from time to time, however many calls there were. Prometheus and OpenTelemetry's own reader do so
 * once a minute by default; this is four times as often.
 */
const collectedEveryMs = 15_000;

/** What the server spends while `work` runs, on what that leaves behind, and for that time's share of a collection. */
export async function measured(
  world: World,
  { child, pids }: RunningServer,
  units: number,
  work: () => Promise<{ readonly elapsedMs: number }>,
): Promise<Figures> {
  const counting = await world.counter?.count(pids);
  const before = await child.ask("cpu", undefined);
  const { elapsedMs } = await work();
  const after = await child.ask("settledCpu", undefined);
  const instructions = await counting?.stop();
  const collected = await child.ask("collect", undefined);
  const share = Math.min(elapsedMs / collectedEveryMs, 1);
  return {
    cpuUs: (after - before + collected * share) / units,
    perSec: (units * 1_000) / elapsedMs,
    ...(instructions === undefined ? {} : { instructions: instructions / units }),
  };
}

export async function runRace(
  world: World,
  contestants: readonly Contestant[],
  say: (progress: string) => void,
): Promise<Race> {
  const { rounds } = world.preset;
  say(`${contestants.length} contestants warm up`);
  return race(contestants, {
    rounds,
    random: world.random,
    onRound: (round) => say(`round ${round} of ${rounds}`),
  });
}

/** The questions answered: of each, those figures that were measured. */
export function answers(shown: Race, questions: readonly Question[]): readonly Comparison[] {
  return questions.map((question) => compare(shown, question)).filter((answer) => answer !== undefined);
}

/** Every contestant against bare, in one figure, with the bars by contestant. */
export function againstBare(
  shown: Race,
  bars: Readonly<Record<string, Question["bar"]>> = {},
  figure: Figure = "cpuUs",
): readonly Question[] {
  return [...shown.keys()]
    .filter((name) => name !== reference)
    .map((subject) => {
      const bar = bars[subject];
      return { subject, figure, ...(bar === undefined ? {} : { bar }) };
    });
}

/** The same questions in every figure but CPU time, without bars. */
export function inOtherFigures(questions: readonly Question[]): readonly Question[] {
  return Object.keys(figures)
    .filter((figure): figure is Figure => figure !== "cpuUs")
    .flatMap((figure) =>
      questions.map(({ subject, against }) => ({
        subject,
        figure,
        ...(against === undefined ? {} : { against }),
      })),
    );
}

export function roundsOf(shown: Race): CaseResult["rounds"] {
  return Object.fromEntries(shown);
}
