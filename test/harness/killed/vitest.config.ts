import { defineConfig } from "vitest/config";
import { workerArguments } from "../worker.ts";

export default defineConfig({
  test: { include: ["test/harness/killed/hanging.ts"], execArgv: workerArguments },
});
