// `npm run bench`: what the chain costs, beside bare grpc-js and others. docs/performance.md says how it is measured.
import { writeFileSync } from "node:fs";
import { arch, availableParallelism, cpus, platform, release } from "node:os";
import { chosenCases } from "./cases/all.ts";
import type { CaseResult } from "./cases/case.ts";
import { type Options, readOptions, usage } from "./options.ts";
import { writeDocumentation } from "./report/documentation.ts";
import type { Report } from "./report/report.ts";
import { textOf } from "./report/text.ts";
import { World } from "./world.ts";

async function measure(options: Options): Promise<Report> {
  const { preset, cases: names, seed, date } = options;
  const chosen = chosenCases(names, preset.name === "quick");
  const world = await World.make(options);
  try {
    const results: CaseResult[] = [];
    for (const { name, title, run } of chosen) {
      if (!process.stderr.isTTY) console.error(name);
      results.push({ name, title, ...(await run(world, (progress) => say(`${name}: ${progress}`))) });
    }
    return {
      date,
      node: process.version,
      cpu: cpus()[0]?.model ?? "unknown",
      cores: availableParallelism(),
      system: `${platform()} ${release()} ${arch()}`,
      preset: preset.name,
      rounds: preset.rounds,
      seed,
      ...(world.counterMissing === undefined ? {} : { instructionsMissing: world.counterMissing }),
      ...(world.envoyMissing === undefined ? {} : { envoyMissing: world.envoyMissing }),
      ...(world.before === undefined ? {} : { before: world.before.slice(0, 12) }),
      cases: results,
    };
  } finally {
    await world.close();
  }
}

/** Progress: one line that is written over, and none where nobody watches. */
function say(progress: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${progress}`);
}

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2), new Date().toISOString().slice(0, 10));
  if (options === "help") return console.log(usage);
  const report = await measure(options);
  say("");
  console.log(textOf(report));
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(report, undefined, 2)}\n`);
  if (options.docs !== undefined) writeDocumentation(options.docs, report);
}

await main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
