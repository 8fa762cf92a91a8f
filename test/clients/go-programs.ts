// Programs in Go: other people's, pinned by `go/go.mod` and `go/go.sum`, and ours, a folder each under `go/`.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { runWell } from "./run.ts";
import { installed, installTimeoutMs } from "./tools.ts";

const moduleDirectory = fileURLToPath(new URL("./go/", import.meta.url));

/** Paths of other people's programs. */
export interface GoTools {
  /** grpc-go's interop client. */
  readonly interop: string;
  readonly grpcurl: string;
  readonly healthProbe: string;
  readonly ghz: string;
  readonly h2spec: string;
}

/** Every `tool` of the module, built at the first call. */
export async function goTools(): Promise<GoTools> {
  const directory = await installed({
    name: "go-tools",
    pins: text("go.mod") + text("go.sum"),
    make: (output) => build(output, "tool"),
  });
  const path = (name: string): string => join(directory, name);
  return {
    interop: path("client"),
    grpcurl: path("grpcurl"),
    healthProbe: path("grpc-health-probe"),
    ghz: path("ghz"),
    h2spec: path("h2spec"),
  };
}

/** The path of a program of ours: of the package in `go/<name>/`. Built again where its sources differ. */
export async function goProgram(name: string): Promise<string> {
  const sources = readdirSync(join(moduleDirectory, name))
    .filter((file) => file.endsWith(".go"))
    .toSorted();
  const directory = await installed({
    name: `go-${name}`,
    pins: ["go.mod", "go.sum", ...sources.map((file) => join(name, file))].map(text).join(""),
    make: (output) => build(output, `./${name}`),
  });
  return join(directory, name);
}

function text(file: string): string {
  return readFileSync(join(moduleDirectory, file), "utf8");
}

/** `-mod=readonly`: what `go.sum` does not know is not fetched. */
async function build(output: string, target: string): Promise<void> {
  await runWell("go", ["build", "-mod=readonly", "-buildvcs=false", "-o", `${output}/`, target], {
    cwd: moduleDirectory,
    timeoutMs: installTimeoutMs,
  });
}
