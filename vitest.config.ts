import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: "test/harness/build.ts",
    testTimeout: 20_000,
    hookTimeout: 20_000,
    // What a file leaves behind in its process, the next one meets, as in a service. It also saves a third of the time.
    isolate: false,
    // More than cores: many tests wait for a deadline, a retry or a file's change.
    maxWorkers: 4,
  },
});
