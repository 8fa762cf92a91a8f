// Before any test: the package as built, which the examples, the benchmark and the tests of the package use. Built once,
// and by no test, because another may be loading it.
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { run } from "./child-process.ts";

export default async function build(): Promise<void> {
  // For a copy of the sources that none of these tests is run in.
  if (process.env["TESTS_WITHOUT_BUILD"] === "1") return;
  if (isBuilt()) return;
  const { code, stdout, stderr } = await run("npm", ["run", "--silent", "build"]);
  if (code !== 0) throw new Error(`the build failed:\n${stdout}${stderr}`);
}

/** The build writes this file last. */
const stamp = "dist/package.json";

function isBuilt(): boolean {
  if (!existsSync(stamp)) return false;
  const builtAt = statSync(stamp).mtimeMs;
  const made = [
    "src",
    "scripts/commonjs.ts",
    "scripts/policy-schema.ts",
    "tsconfig.json",
    "tsconfig.build.json",
    "package.json",
  ];
  return made.flatMap(filesIn).every((file) => statSync(file).mtimeMs <= builtAt);
}

function filesIn(path: string): readonly string[] {
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path, { recursive: true, encoding: "utf8" }).map((name) => join(path, name));
}
