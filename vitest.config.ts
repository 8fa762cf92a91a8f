import { existsSync } from "node:fs";
import { defineConfig } from "vitest/config";
import { hangMs, waitMs } from "./test/harness/time.ts";
import { workerArguments } from "./test/harness/worker.ts";

/** They look at what is a whole process's: its metrics and tracing SDK, its guard. */
const own = [
  "test/chain/process-guard.test.ts",
  "test/client/client-metrics.test.ts",
  "test/client/client-tracing.test.ts",
  "test/crl/list-metrics.test.ts",
  "test/middleware/authentication/api-key-uses.test.ts",
  "test/middleware/metrics.test.ts",
  "test/middleware/rate-limit/shared-store-metrics.test.ts",
  "test/observability/instruments.test.ts",
  "test/server/certificate-reload.test.ts",
  "test/server/metrics.test.ts",
  "test/server/tracing.test.ts",
];

// One that was moved would quietly share its process with others.
for (const path of own)
  if (!existsSync(path)) throw new Error(`vitest.config.ts names ${path}, which does not exist`);

/** What these say does not depend on the Node that runs them. */
const oneNode = ["test/{bench,docs,scripts,types}/**/*.test.ts"];

/** They have runs of their own, `npm run test:clients` and `npm run test:keycloak`. */
const ownRuns = ["test/clients/**", "test/keycloak/**"];

export default defineConfig({
  test: {
    globalSetup: "test/harness/build.ts",
    testTimeout: hangMs,
    hookTimeout: hangMs,
    expect: { poll: { timeout: waitMs } },
    execArgv: workerArguments,
    // More than cores: many tests wait for a deadline, a retry or a file's change.
    maxWorkers: 4,
    projects: [
      {
        extends: true,
        test: { name: "own process", include: own, isolate: true },
      },
      {
        extends: true,
        test: { name: "one Node", include: oneNode },
      },
      {
        extends: true,
        // A third of the time would go into loading the same modules for each file.
        test: {
          name: "shared process",
          include: ["test/**/*.test.ts"],
          exclude: [...own, ...oneNode, ...ownRuns],
          isolate: false,
        },
      },
    ],
  },
});
