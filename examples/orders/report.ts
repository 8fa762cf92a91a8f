// Runs the demo and prints what came of it.
import type { AuditEntry } from "grpc-palisade";
import { runDemo } from "./demo.ts";
import type { DemoCall } from "./demo-call.ts";
import { printTable } from "./table.ts";

/** Prints the table and the audit lines of three calls. Returns the exit code: 0 only if every row is as expected. */
export async function report(calls: readonly DemoCall[]): Promise<0 | 1> {
  const start = performance.now();
  const { rows, auditLines, uncaught } = await runDemo(calls);
  printTable(rows, process.stdout);

  console.log("\nThe audit file, three of its lines:");
  for (const line of threeOf(auditLines)) console.log(line);

  const good = rows.filter(({ ok }) => ok).length;
  const seconds = ((performance.now() - start) / 1_000).toFixed(1);
  console.log(`\n${good} of ${rows.length} as expected, in ${seconds} s`);
  for (const error of uncaught) console.error(`uncaught: ${error}`);
  return good === rows.length && uncaught.length === 0 ? 0 : 1;
}

/** One that was let through, one that was refused for who it was, one for what it wanted. */
function threeOf(auditLines: readonly string[]): readonly string[] {
  const entries = auditLines.map((line) => ({ line, entry: JSON.parse(line) as AuditEntry }));
  return ["OK", "UNAUTHENTICATED", "PERMISSION_DENIED"].flatMap(
    (status) => entries.find(({ entry }) => entry.status === status)?.line ?? [],
  );
}
