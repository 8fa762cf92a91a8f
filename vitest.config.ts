import { defineConfig } from "vitest/config";

/** They look at what is a whole process's: its metrics and tracing SDK, its guard. */
const own = [
  "test/call/{instruments,metric-producer}.test.ts",
  "test/chain/process-guard.test.ts",
  "test/client/trace-propagation.test.ts",
  "test/middleware/metrics.test.ts",
  "test/server/{certificate-reload,metric-producer,metrics,tracing}.test.ts",
];

/** What these say does not depend on the Node that runs them. */
const oneNode = ["test/{bench,docs,scripts,types}/**/*.test.ts"];

/** They have a run of their own, `npm run test:clients`. */
const foreignClients = "test/clients/**";

export default defineConfig({
  test: {
    globalSetup: "test/harness/build.ts",
    testTimeout: 20_000,
    hookTimeout: 20_000,
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
          exclude: [...own, ...oneNode, foreignClients],
          isolate: false,
        },
      },
    ],
  },
});
