// The configurations of the documentation against a real Keycloak: `npm run test:keycloak`. Needs Java 17 and Maven.
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    name: "Keycloak",
    include: ["test/keycloak/*.test.ts"],
    // It is fetched once (177 MB), and starts in minutes.
    hookTimeout: 1_200_000,
    testTimeout: 120_000,
  },
});
