// NestJS's users test with Jest, whose `require` is its own: the strategy's tests run there, from the built package.
import { join } from "node:path";
import { expect, it } from "vitest";
import { runNode } from "../harness/child-process.ts";

const root = join(import.meta.dirname, "../..");

interface JestReport {
  readonly numPassedTests: number;
  readonly testResults: readonly {
    readonly message: string;
    readonly assertionResults: readonly { readonly fullName: string; readonly status: string }[];
  }[];
}

async function jest(): Promise<JestReport> {
  const program = join(root, "node_modules/jest/bin/jest.js");
  const config = join(import.meta.dirname, "jest.config.cjs");
  const { stdout, stderr } = await runNode([program, "--config", config, "--json"], { cwd: root });
  // A failed test is an exit code too; the report says more.
  if (stdout === "") throw new Error(`Jest made no report: ${stderr}`);
  return JSON.parse(stdout) as JestReport;
}

it("C6 the strategy's tests and the example's pass under Jest", async () => {
  const { numPassedTests, testResults } = await jest();
  expect(testResults.flatMap(({ message }) => (message === "" ? [] : [message]))).toEqual([]);
  const others = testResults.flatMap(({ assertionResults }) =>
    assertionResults.filter(({ status }) => status !== "passed").map(({ fullName }) => fullName),
  );
  expect(others).toEqual([]);
  expect(numPassedTests).toBeGreaterThan(60);
});
