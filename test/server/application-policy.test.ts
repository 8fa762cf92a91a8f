import { pino } from "pino";
import { describe, expect, it } from "vitest";
import { anonymous } from "../../src/middleware/authentication/anonymous.ts";
import type { Authorizer } from "../../src/middleware/authorization/authorizer.ts";
import { compilePolicy } from "../../src/server/application-policy.ts";

describe("the application's policy", () => {
  it("Z10 comes into force though the logger throws that is told of its warnings", () => {
    const policy = { warnings: ["a rule is misspelt"], forMethod: () => undefined };
    const authorizer: Authorizer = { name: "own", compile: () => policy };
    const told: string[] = [];
    const logger = pino(
      { level: "warn" },
      {
        write(line: string) {
          told.push(line);
          throw new Error("no space left");
        },
      },
    );
    const surroundings = { methods: [], authentication: anonymous(), trustedActors: [], logger };
    expect(compilePolicy(authorizer, surroundings)).toBe(policy);
    expect(told).toHaveLength(1);
  });
});
