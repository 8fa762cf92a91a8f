// Clients that nobody here wrote, against servers behind default options: `npm run test:clients`.
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    name: "foreign clients",
    include: ["test/clients/*.test.ts"],
    // The first run fetches and builds what the later ones reuse.
    hookTimeout: 600_000,
    testTimeout: 120_000,
    // More than cores: some files mostly wait, for pings and for answers from afar.
    maxWorkers: 3,
  },
});
