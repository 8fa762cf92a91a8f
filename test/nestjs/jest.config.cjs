// One Jest for all that NestJS has here: the tests of the strategy, and those that the example shows.
module.exports = {
  testEnvironment: "node",
  rootDir: `${__dirname}/../..`,
  roots: ["<rootDir>/test/nestjs", "<rootDir>/examples/nestjs"],
  testRegex: "\\.spec\\.ts$",
  transform: { "\\.ts$": ["ts-jest", { tsconfig: `${__dirname}/tsconfig.json`, transpilation: true }] },
  // As in test/harness/time.ts: a test that hangs ends.
  testTimeout: 180_000,
  maxWorkers: 2,
};
