import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: "test/harness/build.ts",
    testTimeout: 20_000,
    hookTimeout: 20_000,
    // More than cores: many tests wait for a deadline, a retry or a file's change.
    maxWorkers: 4,
  },
});
