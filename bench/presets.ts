// How much is measured: the numbers of a full run, of a quick one, and of the one that only shows that all of it works.

export interface Preset {
  readonly name: "full" | "quick" | "tiny";
  /** Turns of each contestant. */
  readonly rounds: number;
  /** Of the load generator, to each server. */
  readonly connections: number;
  /** Calls in flight, over all connections. */
  readonly concurrency: number;
  readonly warmUpCalls: number;
  /**
   * How long a server is left alone after each turn, in milliseconds: longer than any here waits before it writes its log
   * lines and audit records, which count too.
   */
  readonly settleMs: number;
  /** In one turn. */
  readonly calls: number;
  /** In one turn, of streams with `messages` messages. */
  readonly streams: number;
  readonly messages: number;
  readonly handshakes: number;
  /** How long a turn at a fixed load lasts, in milliseconds. */
  readonly pacedMs: number;
  /** Registered methods and rules. */
  readonly methods: readonly [number, number, number];
  readonly principals: readonly [number, number, number];
  /** Distinct tokens that are new on each call: more than a cache of 10,000 remembers. */
  readonly newTokens: number;
  readonly heldCalls: number;
  /** In one turn of a loop over a policy. */
  readonly decisions: number;
  /** Calls, and distinct peers in the limiter's table. */
  readonly millions: number;
}

export const presets: Readonly<Record<Preset["name"], Preset>> = {
  full: {
    name: "full",
    rounds: 20,
    connections: 4,
    concurrency: 32,
    warmUpCalls: 10_000,
    settleMs: 125,
    calls: 2_000,
    streams: 2,
    messages: 10_000,
    handshakes: 100,
    pacedMs: 1_500,
    methods: [10, 1_000, 10_000],
    principals: [1, 1_000, 100_000],
    newTokens: 30_000,
    heldCalls: 2_000,
    decisions: 20_000,
    millions: 1_000_000,
  },
  quick: {
    name: "quick",
    rounds: 14,
    connections: 4,
    concurrency: 32,
    warmUpCalls: 3_000,
    settleMs: 125,
    calls: 1_000,
    streams: 1,
    messages: 10_000,
    handshakes: 20,
    pacedMs: 500,
    methods: [10, 1_000, 10_000],
    principals: [1, 100, 1_000],
    newTokens: 12_000,
    heldCalls: 500,
    decisions: 20_000,
    millions: 20_000,
  },
  tiny: {
    name: "tiny",
    rounds: 2,
    connections: 2,
    concurrency: 4,
    warmUpCalls: 10,
    settleMs: 1,
    calls: 10,
    streams: 1,
    messages: 10,
    handshakes: 4,
    pacedMs: 20,
    methods: [2, 4, 8],
    principals: [1, 2, 8],
    newTokens: 12,
    heldCalls: 4,
    decisions: 20,
    millions: 40,
  },
};
