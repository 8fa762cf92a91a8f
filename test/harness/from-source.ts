// The environment of a program that uses the package by its name, and gets it from the sources: another test file may
// be building `dist` at the same time.
import { join } from "node:path";

export const fromSource: NodeJS.ProcessEnv = {
  ...process.env,
  NODE_OPTIONS: `--import ${import.meta.resolve("tsx")}`,
  TSX_TSCONFIG_PATH: join(import.meta.dirname, "tsconfig.source.json"),
};
