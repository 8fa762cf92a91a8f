// Clients of ours in other languages are told what to call by a plan in a file, and say in a line of JSON for each case how
// it went.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../harness/child-process.ts";
import { protoDirectory } from "./interop-service.ts";
import { told } from "./run.ts";
import type { CertificateFiles, Mode, Servers } from "./servers.ts";

/** What a caller shows: paths of PEM files, and a token. */
export interface Shown {
  readonly ca: string;
  readonly cert?: string;
  readonly key?: string;
  readonly token?: string;
}

/** One server, called as one caller. */
export interface PlannedRun extends Shown {
  readonly name: string;
  readonly port: number;
  /** Which of a library's transports carries the calls. */
  readonly transport: string;
  /** How many calls of one size are made. */
  readonly calls: number;
  readonly cases: readonly string[];
}

/** How a call ended, as the caller saw it. */
export interface SeenStatus {
  readonly code: string;
  readonly details: string;
}

interface Line {
  readonly run: string;
  readonly case: string;
  readonly ok: boolean;
  readonly error?: string;
  readonly answers?: Readonly<Record<string, SeenStatus>>;
}

export interface Results {
  /** `ok`, or why it is not. A case about which the program said nothing was not made. */
  outcome(run: string, ofCase: string): string;
  /** The statuses that a case reports for the test to judge. */
  answers(run: string, ofCase: string): Readonly<Record<string, SeenStatus>>;
}

export interface Program {
  readonly command: string;
  /** In front of the plan's path. */
  readonly args: readonly string[];
  /** In addition to the environment of this process. */
  readonly env: NodeJS.ProcessEnv;
}

/** Longer than any plan takes on a busy machine. */
const timeoutMs = 400_000;

export async function carryOut(
  { command, args, env }: Program,
  files: CertificateFiles,
  runs: readonly PlannedRun[],
): Promise<Results> {
  const plan = join(files.directory, "plan.json");
  await writeFile(plan, JSON.stringify({ protos: protoDirectory, runs }), { mode: 0o600 });
  const ended = await run(command, [...args, plan], { timeoutMs, env: { ...process.env, ...env } });
  const key = (name: string, ofCase: string): string => `${name}: ${ofCase}`;
  const lines = new Map<string, Line>();
  for (const text of ended.stdout.split("\n")) {
    if (!text.startsWith("{")) continue;
    const line = JSON.parse(text) as Line;
    lines.set(key(line.run, line.case), line);
  }
  return {
    outcome(name, ofCase) {
      const line = lines.get(key(name, ofCase));
      if (line === undefined) return `not made: ${told(ended)}`;
      return line.ok ? "ok" : (line.error ?? "failed");
    },
    answers(name, ofCase) {
      const answers = lines.get(key(name, ofCase))?.answers;
      if (answers === undefined) throw new Error(`${name}: ${ofCase} has no answers: ${told(ended)}`);
      return answers;
    },
  };
}

/** What a well-behaved caller of this mode shows. */
export async function credentialsOf(servers: Servers, mode: Mode): Promise<Shown> {
  const { ca, clientCert, clientKey } = servers.files;
  switch (mode) {
    case "none":
      return { ca };
    case "jwt":
      return { ca, token: await servers.token() };
    case "mtls":
      return { ca, cert: clientCert, key: clientKey };
  }
}
