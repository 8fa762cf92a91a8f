// Programs in Go: other people's, pinned by `go/go.mod` and `go/go.sum`, and ours, a folder each under `go/`.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { runWell } from "./run.ts";
import type { Servers, TestServer } from "./servers.ts";
import { installed, installTimeoutMs } from "./tools.ts";

/** Where `go.mod` is. */
export const moduleDirectory: string = fileURLToPath(new URL("./go/", import.meta.url));

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

/** The path of a program of ours: of the package in `go/<name>/`. Built again where sources under `go/` differ. */
export async function goProgram(name: string): Promise<string> {
  const sources = readdirSync(moduleDirectory, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".go"))
    .toSorted();
  const directory = await installed({
    name: `go-${name}`,
    pins: ["go.mod", "go.sum", ...sources].map(text).join(""),
    make: (output) => build(output, `./${name}`),
  });
  return join(directory, name);
}

/** By number: for a name Go's client asks a name server too, whose silence costs it five seconds. */
export function addressOf(port: number): string {
  return `127.0.0.1:${port}`;
}

/** Which server, and as whom: what our programs take as flags. */
export async function connectionFlags(
  servers: Servers,
  { mode, port }: Pick<TestServer, "mode" | "port">,
): Promise<readonly string[]> {
  const { ca, clientCert, clientKey } = servers.files;
  const server = ["-address", addressOf(port), "-ca", ca];
  if (mode === "jwt") return [...server, "-token", await servers.token()];
  return mode === "mtls" ? [...server, "-cert", clientCert, "-key", clientKey] : server;
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
