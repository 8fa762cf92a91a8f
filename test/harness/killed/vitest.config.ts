import { defineConfig } from "vitest/config";
import { hangMs } from "../time.ts";
import { workerArguments } from "../worker.ts";

export default defineConfig({
  test: { testTimeout: 2 * hangMs, include: ["test/harness/killed/hanging.ts"], execArgv: workerArguments },
});
