// Makes JavaScript of the programs that are measured: they run on Node alone, with no loader in their process.
import { copyFileSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const sources = fileURLToPath(new URL(".", import.meta.url));
const root = join(sources, "..");

/** Inside the repository, so that `grpc-palisade` means this one, as built. */
const built = join(root, ".bench");

export interface Programs {
  /** The program made of `bench/<name>.ts`. */
  path(name: string): string;
  remove(): void;
}

/** @throws Error where the package is not built. */
export async function buildPrograms(): Promise<Programs> {
  if (!existsSync(join(root, "dist/index.js"))) throw new Error("the package is not built: npm run build");
  // One folder for each run: several may run at once.
  const outdir = join(built, String(process.pid));
  await build({
    entryPoints: [join(sources, "servers/*.ts"), join(sources, "load/*.ts")],
    outdir,
    outbase: sources,
    bundle: true,
    packages: "external",
    format: "esm",
    platform: "node",
    target: "node20.19",
    outExtension: { ".js": ".mjs" },
    logLevel: "warning",
  });
  mkdirSync(join(outdir, "proto"), { recursive: true });
  copyFileSync(join(sources, "proto/bench.proto"), join(outdir, "proto/bench.proto"));
  return {
    path: (name) => join(outdir, `${name}.mjs`),
    remove: () => rmSync(outdir, { recursive: true, force: true }),
  };
}
