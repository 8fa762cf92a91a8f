// NestJS's users test with Jest, whose `require` is its own: the strategy's tests run there, from the built package.
import { execFile } from "node:child_process";
import { join } from "node:path";
import { expect, it } from "vitest";

const root = join(import.meta.dirname, "../..");

interface JestReport {
  readonly numPassedTests: number;
  readonly testResults: readonly {
    readonly message: string;
    readonly assertionResults: readonly { readonly fullName: string; readonly status: string }[];
  }[];
}

function jest(): Promise<JestReport> {
  const program = join(root, "node_modules/jest/bin/jest.js");
  const config = join(import.meta.dirname, "jest.config.cjs");
  return new Promise((resolve, reject) => {
    execFile(
      process.execPath,
      [program, "--config", config, "--json"],
      { cwd: root, maxBuffer: 64 * 1024 * 1024 },
      (error, stdout, stderr) => {
        // A failed test is an exit code too; the report says more.
        if (stdout === "") reject(new Error(`Jest made no report: ${stderr}`, { cause: error }));
        else resolve(JSON.parse(stdout) as JestReport);
      },
    );
  });
}

it("C6 the strategy's tests and the example's pass under Jest", { timeout: 120_000 }, async () => {
  const { numPassedTests, testResults } = await jest();
  expect(testResults.flatMap(({ message }) => (message === "" ? [] : [message]))).toEqual([]);
  const others = testResults.flatMap(({ assertionResults }) =>
    assertionResults.filter(({ status }) => status !== "passed").map(({ fullName }) => fullName),
  );
  expect(others).toEqual([]);
  expect(numPassedTests).toBeGreaterThan(60);
});
