// Writes the sources into dist as CommonJS, file by file. One form for everybody: `import` and `require()` get the same
// module, so a process never holds two copies of the class that errors are compared with, or of the call in progress.
//
// TypeScript's own form, in which an export is a property with a value: bundlers make each a getter behind a getter, and a
// call goes through hundreds of them.
import { readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const sources = fileURLToPath(new URL("../src", import.meta.url));
const dist = fileURLToPath(new URL("../dist", import.meta.url));

for (const file of ts.sys.readDirectory(sources, [".ts"], [], ["**/*"])) {
  const output = join(dist, relative(sources, file)).replace(/\.ts$/, ".js");
  const { outputText, sourceMapText } = ts.transpileModule(readFileSync(file, "utf8"), {
    fileName: file,
    compilerOptions: {
      target: ts.ScriptTarget.ES2023,
      module: ts.ModuleKind.CommonJS,
      esModuleInterop: true,
      isolatedModules: true,
      rewriteRelativeImportExtensions: true,
      sourceMap: true,
      inlineSources: true,
    },
  });
  const map = JSON.parse(sourceMapText ?? "{}") as { sources: string[] };
  map.sources = [relative(dirname(output), file)];
  // What a module of this form calls the place that it was loaded from.
  writeFileSync(output, outputText.replaceAll("import.meta.url", "__filename"));
  writeFileSync(`${output}.map`, JSON.stringify({ ...map, file: basename(output) }));
}
// The package's own sources are ECMAScript modules; what it ships is not.
writeFileSync(join(dist, "package.json"), `${JSON.stringify({ type: "commonjs" })}\n`);
