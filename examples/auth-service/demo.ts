// The table of the demo: each row is made, one after the other, against the three services in this process.
import { setTimeout as sleep } from "node:timers/promises";
import type { Row as PrintedRow } from "../orders/demo.ts";
import { printTable } from "../orders/table.ts";
import { rows } from "./rows.ts";
import { startWorld } from "./world.ts";

const longestRowMs = 20_000;

const world = await startWorld();
try {
  const made: PrintedRow[] = [];
  for (const { call, expected, make } of rows) {
    const seen = await Promise.race([
      make(world),
      sleep(longestRowMs, `no end within ${longestRowMs} ms`, { ref: false }),
    ]).then(
      (answer) => (typeof answer === "string" ? { result: answer } : answer),
      (error: unknown) => ({ result: `failed: ${error instanceof Error ? error.message : String(error)}` }),
    );
    made.push({ call, expected, seen, ok: seen.result === expected });
  }
  printTable(made, process.stdout);
  const good = made.filter(({ ok }) => ok).length;
  console.log(`\n${good} of ${made.length} as expected; users, sessions and keys are ${world.where}`);
  process.exitCode = good === made.length ? 0 : 1;
} finally {
  await world.stop();
}
