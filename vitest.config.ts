import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 20_000,
    hookTimeout: 20_000,
    // Two workers: servers, clients and TLS handshakes of one file already keep a core busy.
    maxWorkers: 2,
  },
});
