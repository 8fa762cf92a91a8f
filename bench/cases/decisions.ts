// One decision by each way to authorize, in a loop over `decide` and nothing else: what the policy adds to a call.
import { fileURLToPath } from "node:url";
import type { DecisionAsks } from "../process/protocol.ts";
import { median, shuffled } from "../statistics.ts";
import type { Case, Fact } from "./case.ts";

/** What `npm run test:clients` compiles anew and compares. */
const bundle = fileURLToPath(new URL("../../test/opa/bundle.tar.gz", import.meta.url));

const fewRules = "rbac, ten rules";
const manyRules = "rbac, 10,000 rules";

/** In microseconds. */
const bars: Readonly<Record<string, number>> = {
  "rbac with `when`, a function": 1,
  "gRPC policy, 1,000 rules": 5,
};
const barAboveFewRules = 1;

export const decisionsCase: Case = {
  name: "decisions",
  title: "One decision of a policy",
  quick: false,
  async run(world, say) {
    const { rounds, decisions } = world.preset;
    const child = world.start<DecisionAsks>("decisions", "load/decisions");
    const ways = await child.ask("start", { identities: world.identities, bundle });
    const shown = new Map<string, number[]>(ways.map((way) => [way, []]));
    for (const way of ways) await child.ask("decide", { way, count: decisions });
    for (let round = 1; round <= rounds; round += 1) {
      say(`round ${round} of ${rounds}`);
      for (const way of shuffled(ways, world.random))
        shown.get(way)?.push(await child.ask("decide", { way, count: decisions }));
    }
    await world.stop(child);
    const microseconds = (way: string): readonly number[] => shown.get(way) ?? [];
    const facts: Fact[] = ways.map((way) => {
      const atMost = bars[way];
      return {
        name: way,
        value: median(microseconds(way)),
        unit: "µs",
        ...(atMost === undefined ? {} : { atMost }),
      };
    });
    const above = microseconds(manyRules).map((value, round) => value - (microseconds(fewRules)[round] ?? 0));
    const aboveFew: Fact = {
      name: `${manyRules}, above ten`,
      value: median(above),
      unit: "µs",
      atMost: barAboveFewRules,
    };
    return { per: "decision", comparisons: [], facts: [...facts, aboveFew], rounds: {} };
  },
};
