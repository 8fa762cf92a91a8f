// Turns what tsc wrote into dist into CommonJS, file by file. One form for everybody: `import` and `require()` get the same
// module, so a process never holds two copies of the class that errors are compared with, or of the call in progress.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const dist = fileURLToPath(new URL("../dist", import.meta.url));

await build({
  entryPoints: [join(dist, "**/*.js")],
  outdir: dist,
  outbase: dist,
  allowOverwrite: true,
  format: "cjs",
  platform: "node",
  target: "node20.19",
  sourcemap: true,
  define: { "import.meta.url": "__filename" },
  logLevel: "warning",
});
// The package's own sources are ECMAScript modules; what it ships is not.
writeFileSync(join(dist, "package.json"), `${JSON.stringify({ type: "commonjs" })}\n`);
