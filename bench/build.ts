// Makes JavaScript of the programs that are measured: they run on Node alone, with no loader in their process.
import { copyFileSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { runWell } from "../test/clients/run.ts";
import { installed, installTimeoutMs } from "../test/clients/tools.ts";

const sources = fileURLToPath(new URL(".", import.meta.url));
const root = join(sources, "..");

export interface Programs {
  /** The program made of `bench/<name>.ts`. */
  path(name: string): string;
  remove(): void;
}

/**
 * `home`: the package that they run on, as built. Default: this one. They are put inside it, so that `grpc-palisade` means it.
 * @throws Error where it is not built.
 */
export async function buildPrograms(home = root): Promise<Programs> {
  if (!existsSync(join(home, "dist/index.js"))) throw new Error("the package is not built: npm run build");
  // One folder for each run: several may run at once.
  const outdir = join(home, ".bench", String(process.pid));
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

/**
 * The programs of today on an older build of the package. It stands in a folder below `node_modules`, and so uses the same
 * dependencies.
 * @throws Error where there is no such revision, or it cannot be built.
 */
export async function buildProgramsBefore(
  revision: string,
): Promise<{ readonly commit: string; readonly programs: Programs }> {
  const run = (command: string, args: readonly string[], cwd = root): Promise<string> =>
    runWell(command, args, { timeoutMs: installTimeoutMs, cwd });
  const named = run("git", ["rev-parse", "--verify", "--quiet", `${revision}^{commit}`]);
  const commit = (
    await named.catch((cause) => {
      throw new Error(`--before ${revision}: this repository has no such revision`, { cause });
    })
  ).trim();
  const home = await installed({
    name: "before",
    pins: commit,
    async make(folder) {
      const archive = join(folder, "archive.tar");
      await run("git", ["archive", "--output", archive, commit]);
      await run("tar", ["-xf", archive, "-C", folder]);
      rmSync(archive);
      await run("npm", ["run", "--silent", "build"], folder);
    },
  });
  return { commit, programs: await buildPrograms(home) };
}
