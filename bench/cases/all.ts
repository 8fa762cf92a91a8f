// Every case, in the order in which they are run and reported.
import { callCases } from "./calls.ts";
import type { Case } from "./case.ts";
import { clientCase } from "./client.ts";
import { connectionsCase } from "./connections.ts";
import { decisionsCase } from "./decisions.ts";
import { identityCase } from "./identity.ts";
import { latencyCase, oneAtATimeCase } from "./latency.ts";
import { memoryCase } from "./memory.ts";
import { newTokensCase } from "./new-tokens.ts";
import { scaleCases } from "./scale.ts";

export const cases: readonly Case[] = [
  ...callCases,
  newTokensCase,
  identityCase,
  decisionsCase,
  ...scaleCases,
  latencyCase,
  oneAtATimeCase,
  connectionsCase,
  clientCase,
  memoryCase,
];

/** @throws Error where a name is not that of a case. */
export function chosenCases(names: readonly string[], quick: boolean): readonly Case[] {
  const unknown = names.filter((name) => !cases.some((known) => known.name === name));
  if (unknown.length > 0) {
    throw new Error(
      `--case ${unknown.join(", ")}: no such case; there are ${cases.map(({ name }) => name).join(", ")}`,
    );
  }
  if (names.length > 0) return cases.filter(({ name }) => names.includes(name));
  return quick ? cases.filter((known) => known.quick) : cases;
}
