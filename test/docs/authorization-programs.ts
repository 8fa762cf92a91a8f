// The programs of docs/authorization, as a reader copies them: the files of the shared page and of one other page in a
// folder, a server, and the calls.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type Ended, run } from "../harness/child-process.ts";
import { freePort } from "../harness/free-port.ts";
import { fromSource } from "../harness/from-source.ts";
import { waitMs } from "../harness/time.ts";
import type { Way } from "./authorization-rows.ts";
import { type Block, blocksOf, pages, root } from "./pages.ts";

export interface Program {
  readonly way: Way;
  readonly page: string;
  /** The headings under which its blocks stand; the first is the program's. */
  readonly headings: readonly string[];
  readonly server: string;
  /** Does it read TypeScript? */
  readonly tsx?: boolean;
}

const folder = "docs/authorization";
const shared = `${folder}/service.md`;

export const programs: readonly Program[] = [
  { way: "rbac", page: "rbac.md", headings: ["The program"], server: "server.js" },
  { way: "rbacFile", page: "rbac-file.md", headings: ["The program"], server: "server.js" },
  { way: "rulesFromProto", page: "rules-from-proto.md", headings: ["The program"], server: "server.js" },
  { way: "when", page: "conditions.md", headings: ["The program"], server: "server.js" },
  { way: "cel", page: "conditions.md", headings: ["The same in CEL"], server: "server-cel.js" },
  { way: "grpcPolicy", page: "grpc-policy.md", headings: ["The program"], server: "server.js" },
  { way: "opa", page: "opa.md", headings: ["An OPA server", "The policy"], server: "server.js" },
  { way: "opaWasm", page: "opa.md", headings: ["A compiled policy", "The policy"], server: "server-wasm.js" },
  {
    way: "own",
    page: "own-authorizer.md",
    headings: ["Together with roles", "An example: relations", "Its tests"],
    server: "server.js",
    tsx: true,
  },
];

/** Is the block a part of one of these programs, and so run with it? */
export function isOfProgram({ page, heading }: Block): boolean {
  return (
    page === shared ||
    programs.some((program) => page === `${folder}/${program.page}` && program.headings.includes(heading))
  );
}

const blocks = pages.flatMap(blocksOf).filter(isOfProgram);

export function programOf(way: Way): Program {
  const program = programs.find((one) => one.way === way);
  if (program === undefined) throw new Error(`no page shows ${way}`);
  return program;
}

/** Of one program, in the page's order. */
export function blocksOfProgram({ page, headings }: Program): readonly Block[] {
  return blocks.filter((block) => block.page === `${folder}/${page}` && headings.includes(block.heading));
}

export function blocksOfService(): readonly Block[] {
  return blocks.filter(({ page }) => page === shared);
}

/** What stands on the page under the program's first heading. */
export function textOf({ page, headings }: Program): string {
  const { text = "" } = pages.find(({ path }) => path === `${folder}/${page}`) ?? {};
  return text.split(/^## /m).find((section) => section.startsWith(`${headings[0]}\n`)) ?? "";
}

/** `With A in place of B in FILE`, as a page says it. */
export interface Replacement {
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

/** What a page says to replace, before these words. */
export function replacementIn(program: Program, words: string): Replacement | undefined {
  const text = textOf(program).replace(/\s+/g, " ");
  const end = text.indexOf(words);
  if (end < 0) return undefined;
  const [, to = "", from = "", file = ""] =
    /.*With `([^`]+)` in place of `([^`]+)` in `([^`]+)` $/.exec(text.slice(0, end)) ?? [];
  if (file === "") throw new Error(`${program.page} does not say what is replaced "${words}"`);
  return { file, from, to };
}

/** Where OPA is, in the program that asks it. */
export const opaOnPage = 'url: "http://127.0.0.1:8181"';

/** The same for an OPA of a test, which may take longer on a busy machine. */
export const opaHere = (url: string): string => `timeoutMs: 5_000, url: "${url}"`;

/** What `calls.js` prints of a call after the change that the page tells. */
export function changedLine(program: Program): string {
  const [, call = "", status = ""] =
    /the call `([^`]+)` gets `([^`]+)`/.exec(textOf(program).replace(/\s+/g, " ")) ?? [];
  return `${call} ${status}`;
}

/** What stands on the pages, in a folder inside of the checkout, so that packages resolve as for a reader who installed them. */
export class ReaderFolder implements Disposable {
  readonly path: string;
  readonly program: Program;
  readonly port: number;

  private constructor(program: Program, port: number) {
    this.path = mkdtempSync(join(root, ".doc-blocks-"));
    this.program = program;
    this.port = port;
  }

  /** `places` are those of the pages that are elsewhere here. */
  static async make(way: Way, places: Readonly<Record<string, string>> = {}): Promise<ReaderFolder> {
    const program = programOf(way);
    const made = new ReaderFolder(program, await freePort());
    const here = { "127.0.0.1:50051": `127.0.0.1:${made.port}`, "localhost:50051": `localhost:${made.port}` };
    for (const { file, code } of [...blocksOfService(), ...blocksOfProgram(program)]) {
      if (file === undefined) continue;
      const text = Object.entries({ ...here, ...places }).reduce(
        (all, [from, to]) => all.replaceAll(from, to),
        code,
      );
      writeFileSync(made.file(file), text);
    }
    // As `npm install` leaves it.
    mkdirSync(made.file("node_modules"));
    symlinkSync(root, made.file("node_modules/grpc-palisade"));
    writeFileSync(made.file("package.json"), JSON.stringify({ type: "module" }));
    return made;
  }

  file(name: string): string {
    return join(this.path, name);
  }

  replace({ file, from, to }: Replacement): void {
    const before = readFileSync(this.file(file), "utf8");
    if (!before.includes(from)) throw new Error(`${file} has no ${from}`);
    writeFileSync(
      this.file(file),
      before.replace(from, () => to),
    );
  }

  /** `node FILE`, or `npx tsx FILE`: with the sources in place of the package both run by tsx. */
  node(
    args: readonly string[],
    options: { readonly onOutput?: (stdout: string, pid: number) => void } = {},
  ): Promise<Ended> {
    return run(process.execPath, args, { cwd: this.path, env: fromSource, ...options });
  }

  async certificates(): Promise<void> {
    await this.#runWell(["certificates.js"]);
  }

  /** What `calls.js` prints, a line a call. */
  async calls(): Promise<readonly string[]> {
    return (await this.#runWell(["calls.js"])).trim().split("\n");
  }

  /** Makes the calls again and again, until this line is among what they print. */
  async untilCalled(line: string): Promise<void> {
    let calls: readonly string[] = [];
    await until(
      async () => {
        calls = await this.calls();
        return calls.includes(line);
      },
      () => `${line}, but ${calls.join(", ")}`,
    );
  }

  async #runWell(args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.node(args);
    if (code !== 0) throw new Error(`node ${args.join(" ")} ended with ${code}:\n${stdout}${stderr}`);
    return stdout;
  }

  /** Runs its server until it is disposed of. */
  async serve(): Promise<RunningServer> {
    let output = "";
    let pid: number | undefined;
    const isUp = (): boolean => output.includes('"msg":"listening"');
    let tellUp = (): void => {};
    const up = new Promise<void>((settle) => {
      tellUp = settle;
    });
    const ended = this.node([this.program.server], {
      onOutput: (stdout, of) => {
        output = stdout;
        pid = of;
        if (isUp()) tellUp();
      },
    });
    const first = await Promise.race([up, ended]);
    if (first !== undefined)
      throw new Error(`${this.program.server} ended with ${first.code}:\n${first.stdout}${first.stderr}`);
    return {
      output: () => output,
      lines: () => [...linesIn(output), ...linesIn(this.#audit())],
      async [Symbol.asyncDispose]() {
        if (pid !== undefined) process.kill(pid);
        await ended;
      },
    };
  }

  #audit(): string {
    const path = this.file("audit.jsonl");
    return existsSync(path) ? readFileSync(path, "utf8") : "";
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

export interface RunningServer extends AsyncDisposable {
  /** Its standard output so far. */
  output(): string;
  /** The log lines and audit records so far. */
  lines(): readonly unknown[];
}

function linesIn(text: string): readonly unknown[] {
  return text
    .split("\n")
    .filter((line) => line.startsWith("{") && line.endsWith("}"))
    .map((line) => JSON.parse(line) as unknown);
}

/** Asks until the answer is yes. */
export async function until(isSo: () => boolean | Promise<boolean>, what: () => string): Promise<void> {
  for (const end = performance.now() + waitMs; !(await isSo()); ) {
    if (performance.now() > end) throw new Error(`not in time: ${what()}`);
    await new Promise((settle) => setTimeout(settle, 50));
  }
}
