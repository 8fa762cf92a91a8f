// h2spec's cases of HTTP/2, against our server and against bare grpc-js with the same certificate: what passes there passes
// here. What both fail is Node's and nghttp2's.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { run } from "../harness/child-process.ts";
import { goTools } from "./go-programs.ts";
import { told } from "./run.ts";
import { type Kind, type Servers, startServers } from "./servers.ts";
import { installTimeoutMs, lacks } from "./tools.ts";

/** Each case by the section that it is of and what it sends, and whether it passed. */
type Cases = ReadonlyMap<string, boolean>;

interface Options {
  /** How long h2spec waits for each answer. */
  readonly answerTimeoutSec: number;
  /** Default: all of them. */
  readonly sections?: readonly string[];
}

async function h2spec(
  program: string,
  servers: Servers,
  kind: Kind,
  { answerTimeoutSec, sections = [] }: Options,
): Promise<Cases> {
  const { port } = servers.server(kind, "none");
  const report = join(servers.files.directory, `h2spec-${kind}.xml`);
  const args = ["--tls", "--insecure", "--host", "127.0.0.1", "--port", String(port)];
  const result = await run(
    program,
    [...args, "--timeout", String(answerTimeoutSec), "--junit-report", report, ...sections],
    { timeoutMs: 120_000 },
  );
  // It ends with 1 where a case failed.
  if (result.code !== 0 && result.code !== 1) throw new Error(told(result));
  return casesOf(await readFile(report, "utf8"));
}

/** `<testcase package="http2/3.5" classname="Sends client connection preface"><failure>…</failure></testcase>` */
function casesOf(junit: string): Cases {
  const cases = new Map<string, boolean>();
  for (const [, attributes = "", inside = ""] of junit.matchAll(
    /<testcase\s([^>]*?)(?:\/>|>(.*?)<\/testcase>)/gs,
  )) {
    const [section, title] = ["package", "classname"].map(
      (name) => new RegExp(`\\b${name}="([^"]*)"`).exec(attributes)?.[1] ?? "",
    );
    if (!inside.includes("<skipped")) cases.set(`${section}: ${title}`, !/<(failure|error)\b/.test(inside));
  }
  return cases;
}

/** What passes with bare grpc-js and not here. */
function worse(ours: Cases, bare: Cases): readonly string[] {
  return [...bare].flatMap(([name, passed]) => (passed && ours.get(name) !== true ? [name] : []));
}

describe.skipIf(lacks("go"))("h2spec", () => {
  let program: string;
  let servers: Servers;
  let ours: Cases;
  let bare: Cases;

  beforeAll(async () => {
    ({ h2spec: program } = await goTools());
    servers = await startServers({ modes: ["none"] });
    const options = { answerTimeoutSec: 2 };
    [ours, bare] = await Promise.all([
      h2spec(program, servers, "palisade", options),
      h2spec(program, servers, "bare", options),
    ]);
  }, installTimeoutMs);
  afterAll(() => servers?.[Symbol.asyncDispose]());

  it("N2 is run whole against both", () => {
    expect(ours.size).toBeGreaterThan(140);
    expect(bare.size).toBeGreaterThan(140);
  });

  it("N2 passes each case here that it passes with bare grpc-js", async () => {
    const suspects = worse(ours, bare);
    if (suspects.length === 0) return;
    // A busy machine may have been too late: they are asked again, with more time.
    const sections = [...new Set(suspects.map((name) => name.slice(0, name.indexOf(":"))))];
    const again = await h2spec(program, servers, "palisade", { answerTimeoutSec: 15, sections });
    expect(suspects.filter((name) => again.get(name) !== true)).toEqual([]);
  });
});
