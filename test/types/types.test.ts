// The type tests: files named *.types.ts beside this one, which the compiler must accept in the strictest settings, with
// every mistake in them marked by @ts-expect-error.
import { readdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { beforeAll, describe, expect, it } from "vitest";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "../..");

function settings(): ts.CompilerOptions {
  const { config } = ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile);
  const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root);
  return { ...options, types: ["node"] };
}

const files = readdirSync(here)
  .filter((name) => name.endsWith(".types.ts"))
  .map((name) => join(here, name));

let program: ts.Program;
beforeAll(() => {
  program = ts.createProgram(files, settings());
});

/** What it makes use of is compiled by `npm run types`. */
function problemsIn(file: string): readonly string[] {
  return ts
    .getPreEmitDiagnostics(program, program.getSourceFile(file))
    .map(
      ({ file: at, start, messageText }) =>
        `${at?.fileName ?? ""}:${at?.getLineAndCharacterOfPosition(start ?? 0).line ?? 0} ${ts.flattenDiagnosticMessageText(messageText, " ")}`,
    );
}

describe("the types that users see", () => {
  it.each(files.map((file) => basename(file)))("C4 %s compiles, and its mistakes do not", (name) => {
    expect(problemsIn(join(here, name))).toEqual([]);
  });
});

/** What the compiler says of mistakes, each as "where: what", `where` being the text that is underlined. */
function saidOf(mistakes: readonly string[]): readonly (readonly string[])[] {
  const sources = new Map(
    mistakes.map((mistake, index) => [
      join(here, `mistake-${index}.ts`),
      `import { defineHandlers } from "../../src/index.ts";
       import { type ShopHandlers, ShopService as protoLoader } from "../generated/proto-loader.ts";
       import { shopDefinition as protobufTs } from "../generated/protobuf-ts.ts";
       import { ShopService as tsProto } from "../generated/ts-proto.ts";
       const order = { id: "", owner: "" };
       const three = { getOrder: async () => order, async *listOrders() {}, async *trackOrders() {} };
       ${mistake};`,
    ]),
  );
  const options = { ...settings(), noUnusedLocals: false };
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile } = host;
  host.fileExists = (name) => sources.has(name) || fileExists(name);
  host.readFile = (name) => sources.get(name) ?? readFile(name);
  const program = ts.createProgram([...sources.keys()], options, host);
  return [...sources.keys()].map((name) =>
    ts
      .getPreEmitDiagnostics(program, program.getSourceFile(name))
      .map(
        ({ file, start = 0, length = 0, messageText }) =>
          `${file?.text.slice(start, start + length)}: ${ts.flattenDiagnosticMessageText(messageText, " ")}`,
      ),
  );
}

describe("C4 what the compiler says of a mistake in handlers", () => {
  const without = "{ ...three }";
  const wrong = "{ ...three, async uploadOrders() { return { id: 7, owner: '' }; } }";
  const stray = "{ ...three, uploadOrders: async () => order, async deleteOrder() {} }";
  const missing = /Property 'uploadOrders' is missing in type/;
  const mistyped = /^uploadOrders: .* 'number' is not assignable to type 'string'/;
  const cases = [
    [`defineHandlers(tsProto, ${without})`, missing],
    [`defineHandlers(protobufTs, ${without})`, missing],
    [`defineHandlers(protoLoader, ${without})`, missing],
    [`defineHandlers<ShopHandlers>(protoLoader, ${without})`, missing],
    [`defineHandlers(tsProto, ${wrong})`, mistyped],
    [`defineHandlers(protobufTs, ${wrong})`, mistyped],
    [
      `defineHandlers<ShopHandlers>(protoLoader, ${wrong})`,
      /'uploadOrders\(\.\.\.\)' are incompatible .* 'number' is not assignable to type 'string'/,
    ],
    [`defineHandlers(tsProto, ${stray})`, /^deleteOrder: .*'deleteOrder' does not exist in type/],
  ] as const;

  it("names the handler that is missing or wrong, and no other", () => {
    const said = saidOf(cases.map(([mistake]) => mistake));
    expect(said.map((problems) => problems.length)).toEqual(cases.map(() => 1));
    for (const [index, [, expected]] of cases.entries()) {
      expect(said[index]?.[0]).toMatch(expected);
      expect(said[index]?.[0]).not.toMatch(/overload|never'/i);
    }
  });
});
