// The Open Policy Agent, pinned by `opa/go.mod` and `opa/go.sum`: its server, and its compiler.
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { connect, type NetConnectOpts } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startProgram } from "../harness/child-process.ts";
import { freePort } from "../harness/free-port.ts";
import { waitMs } from "../harness/time.ts";
import { runWell } from "./run.ts";
import { installed, installTimeoutMs } from "./tools.ts";

const directory = fileURLToPath(new URL("./opa/", import.meta.url));
const policies = fileURLToPath(new URL("../opa/policies/", import.meta.url));

/** Its path; built at the first call. `-mod=readonly`: what `go.sum` does not know is not fetched. */
export async function opaProgram(): Promise<string> {
  const tool = await installed({
    name: "opa",
    pins: ["go.mod", "go.sum"].map((file) => readFileSync(join(directory, file), "utf8")).join(""),
    async make(output) {
      const target = "github.com/open-policy-agent/opa";
      await runWell("go", ["build", "-mod=readonly", "-buildvcs=false", "-o", `${output}/`, target], {
        cwd: directory,
        timeoutMs: installTimeoutMs,
      });
    },
  });
  return join(tool, "opa");
}

/** Rules of `test/opa/policies`, each of which may be asked for. */
export const entrypoints: readonly string[] = [
  "orders/authz/decision",
  ...[
    "allow",
    "decision",
    "messages",
    "from_data",
    "whole",
    "text",
    "number",
    "allowed",
    "conflict",
    "hungry",
  ].map((name) => `test/authz/${name}`),
];

/** Compiles `test/opa/policies` to the bundle `output`. */
export async function buildBundle(
  program: string,
  output: string,
  asked: readonly string[] = entrypoints,
): Promise<void> {
  const named = asked.flatMap((name) => ["-e", name]);
  await runWell(program, ["build", "-t", "wasm", ...named, "-o", output, "."], {
    // Paths of this machine would be in the bundle otherwise.
    cwd: policies,
    timeoutMs: waitMs,
  });
}

export interface RunningOpa extends Disposable {
  readonly url: string;
}

export interface OpaServerOptions {
  /** The path of a Unix socket. Default: a port of 127.0.0.1. */
  readonly socket?: string;
  /** Whoever shows no such token is refused. Default: nobody is. */
  readonly token?: string;
}

/** A server with `test/opa/policies`. It is ready when it takes connections. */
export async function startOpaServer(
  program: string,
  { socket, token }: OpaServerOptions = {},
): Promise<RunningOpa> {
  const port = await freePort();
  const files = readdirSync(policies).map((file) => join(policies, file));
  const address = socket === undefined ? `127.0.0.1:${port}` : `unix://${socket}`;
  const restrictions: string[] = [];
  if (token !== undefined && socket !== undefined) {
    const policy = `${socket}.rego`;
    await writeFile(policy, `package system.authz\n\nallow if input.identity == "${token}"\n`);
    restrictions.push("--authentication=token", "--authorization=basic", policy);
  }
  const stop = startProgram("sh", [
    // The decision log is written there, whatever the level.
    ...["-c", 'exec "$0" "$@" 2>/dev/null', program],
    ...["run", "--server", "--addr", address],
    ...["--log-level", "error", "--skip-version-check"],
    // Without a decision log its decisions have no id.
    ...["--set", "decision_logs.console=true"],
    ...restrictions,
    ...files,
  ]);
  const until = performance.now() + waitMs;
  while (!(await accepts(socket === undefined ? { port, host: "127.0.0.1" } : { path: socket }))) {
    if (performance.now() > until) {
      stop();
      throw new Error("OPA did not listen in time");
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return { url: socket === undefined ? `http://${address}` : address, [Symbol.dispose]: stop };
}

/** Does anybody listen there? */
export async function accepts(place: NetConnectOpts): Promise<boolean> {
  const socket = connect(place);
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
