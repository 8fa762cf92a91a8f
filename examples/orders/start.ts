// `npm start` makes every call of the demo and prints what came of it; `npm start -- --serve` keeps serving.
import { parseArgs } from "node:util";
import { allCalls } from "./calls/all.ts";
import { report } from "./report.ts";
import { serve } from "./serve.ts";

try {
  const { values } = parseArgs({
    options: { serve: { type: "boolean", default: false }, port: { type: "string", default: "50051" } },
  });
  if (values.serve) await serve(Number(values.port));
  else process.exitCode = await report(allCalls);
} catch (error) {
  // What was wrong, and what to do about it; a stack would only hide it.
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
