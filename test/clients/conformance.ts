// Connect's conformance suite: the program, pinned by `conformance/go.mod` and `conformance/go.sum`, and its runs.
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { copyFile, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { forkProgram, run } from "../harness/child-process.ts";
import { waitMs } from "../harness/time.ts";
import { runWell, told } from "./run.ts";
import type { Kind } from "./server-process.ts";
import { installed, installTimeoutMs } from "./tools.ts";

const directory = fileURLToPath(new URL("./conformance/", import.meta.url));
const server = fileURLToPath(new URL("./conformance-server.ts", import.meta.url));

export interface ConformanceTool {
  readonly program: string;
  /** The suite's own protos, which come with its sources. */
  readonly protos: string;
}

const modulePath = "connectrpc.com/conformance";
const protoFolder = "connectrpc/conformance/v1";

/** Built at the first call. `-mod=readonly`: what `go.sum` does not know is not fetched. */
export async function conformanceTool(): Promise<ConformanceTool> {
  const tool = await installed({
    name: "connectconformance",
    pins: ["go.mod", "go.sum"].map(text).join(""),
    async make(output) {
      const options = { cwd: directory, timeoutMs: installTimeoutMs };
      const build = ["build", "-mod=readonly", "-buildvcs=false"];
      await runWell("go", [...build, "-o", `${output}/`, `${modulePath}/cmd/connectconformance`], options);
      const sources = await runWell("go", ["list", "-m", "-f", "{{.Dir}}", modulePath], options);
      const to = join(output, "proto", protoFolder);
      await mkdir(to, { recursive: true });
      // One by one: Go's folders may not be written to, and copies of them could not be removed.
      for (const file of ["service.proto", "server_compat.proto", "config.proto"])
        await copyFile(join(sources.trim(), "proto", protoFolder, file), join(to, file));
    },
  });
  return { program: join(tool, "connectconformance"), protos: join(tool, "proto") };
}

/** The patterns of a list under `conformance/`: one a line, without comments. */
export function patterns(file: string): readonly string[] {
  return text(file)
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
}

export interface ConformanceOptions {
  /** Patterns of cases that have to fail. */
  readonly knownFailing: readonly string[];
  /** Patterns of cases. Default: all of them. */
  readonly only?: readonly string[];
  /** How many calls are made at once. Default: the suite's own, 8. */
  readonly parallel?: number;
}

/** What the suite says of a case: a line for each reason. */
export type Reasons = readonly string[];

export interface ConformanceResult {
  readonly passed: number;
  /** Cases that failed as they have to, by their names. */
  readonly knownFailing: ReadonlyMap<string, Reasons>;
  /** Cases that failed, or had to and did not. */
  readonly wrong: ReadonlyMap<string, Reasons>;
}

export async function runConformance(
  { program, protos }: ConformanceTool,
  kind: Kind,
  { knownFailing, only = [], parallel }: ConformanceOptions,
): Promise<ConformanceResult> {
  await using servers = await startServers(kind, protos);
  const result = await run(
    program,
    [
      ...["--mode", "server", "--conf", join(directory, "config.yaml")],
      // As arguments: of several files it reads the first.
      ...knownFailing.flatMap((pattern) => ["--known-failing", pattern]),
      ...only.flatMap((pattern) => ["--run", pattern]),
      ...(parallel === undefined ? [] : ["--parallel", String(parallel)]),
      ...["--", process.execPath, "--eval", handOn, servers.socket],
    ],
    { timeoutMs: 5 * waitMs },
  );
  const counts = /^Total cases: \d+\n(\d+) passed, \d+ failed$/m.exec(result.stdout);
  if (counts === null || result.stdout.includes(" could not be run "))
    throw new Error(`${told(result)}\n${servers.said()}`);
  return {
    passed: Number(counts[1]),
    knownFailing: casesIn(result.stdout, /^INFO: (.*) failed \(as expected\):\n((?:\t.*\n)*)/gm),
    wrong: casesIn(result.stdout, /^FAILED: (.*?)(?::\n| (?=was expected))(was expected.*|(?:\t.*\n)*)/gm),
  };
}

/** What the suite starts. It waits ten seconds for an answer: a busy machine needs longer to load all that a server needs. */
const handOn = `
const socket = require("node:net").connect(process.argv[1]);
process.stdin.pipe(socket, { end: false });
socket.pipe(process.stdout);
`;

interface ConformanceServers extends AsyncDisposable {
  readonly socket: string;
  /** The end of their standard error. */
  said(): string;
}

async function startServers(kind: Kind, protos: string): Promise<ConformanceServers> {
  const folder = await mkdtemp(join(tmpdir(), "palisade-conformance-"));
  const socket = join(folder, "socket");
  const execArgv = ["--import", import.meta.resolve("tsx")];
  const { process: child, said } = await forkProgram(server, [kind, protos, socket], execArgv);
  return {
    socket,
    said,
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null && child.signalCode === null) {
        const ended = once(child, "exit");
        child.kill("SIGKILL");
        await ended;
      }
      await rm(folder, { recursive: true });
    },
  };
}

function casesIn(output: string, pattern: RegExp): ReadonlyMap<string, Reasons> {
  const cases = [...output.matchAll(pattern)];
  return new Map(cases.map(([, name = "", reasons = ""]) => [name, reasonsIn(reasons)]));
}

/** It puts `; ` between what its client and what itself found. */
function reasonsIn(text: string): Reasons {
  return text
    .split("\n")
    .map((line) => line.trim().replace(/^; /, ""))
    .filter((line) => line !== "");
}

function text(file: string): string {
  return readFileSync(join(directory, file), "utf8");
}
