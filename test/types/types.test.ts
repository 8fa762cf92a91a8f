// The type tests: files named *.types.ts beside this one, which the compiler must accept in the strictest settings, with
// every mistake in them marked by @ts-expect-error.
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { describe, expect, it } from "vitest";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "../..");

function problemsIn(file: string): readonly string[] {
  const { config } = ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile);
  const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root);
  const program = ts.createProgram([file], { ...options, types: ["node"] });
  return ts
    .getPreEmitDiagnostics(program)
    .map(
      ({ file: at, start, messageText }) =>
        `${at?.fileName ?? ""}:${at?.getLineAndCharacterOfPosition(start ?? 0).line ?? 0} ${ts.flattenDiagnosticMessageText(messageText, " ")}`,
    );
}

describe("the types that users see", () => {
  it.each(readdirSync(here).filter((name) => name.endsWith(".types.ts")))(
    "C4 %s compiles, and its mistakes do not",
    (name) => {
      expect(problemsIn(join(here, name))).toEqual([]);
    },
    60_000,
  );
});
