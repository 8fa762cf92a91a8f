// Runs the suite without lists and prints what fails and why: `npx tsx test/clients/conformance-compare.ts <palisade|bare>`.
import { conformanceTool, runConformance } from "./conformance.ts";

const [kind] = process.argv.slice(2);
if (kind !== "palisade" && kind !== "bare") throw new Error("usage: conformance-compare.ts <palisade|bare>");

const { passed, wrong } = await runConformance(await conformanceTool(), kind, { knownFailing: [] });
for (const [name, reasons] of wrong) console.log([name, ...reasons].join("\n  "));
console.log(`${kind}: ${passed} passed, ${wrong.size} failed`);
