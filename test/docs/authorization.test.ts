// docs/authorization: one service, secured in each of the ways. Every program runs as it stands, and its callers get what one
// table says.
import { copyFileSync, existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readPolicyFile } from "../../src/opa/policy-file.ts";
import { json, startOpa } from "../opa/fake-opa.ts";
import {
  blocksOfProgram,
  blocksOfService,
  changedLine,
  opaHere,
  opaOnPage,
  programOf,
  programs,
  ReaderFolder,
  replacementIn,
  until,
} from "./authorization-programs.ts";
import { linesBy, tableRows, type Way } from "./authorization-rows.ts";
import { type Block, root } from "./pages.ts";

/** The one that the tests without Go use. */
const bundle = join(root, "test/opa/bundle.tar.gz");

interface LoadedPolicy {
  setData(data: object): void;
  evaluate(input: unknown, entrypoint: string): readonly { readonly result: unknown }[];
}

/** An OPA server that decides by the compiled policy. The real one decides in test/clients/opa-page.test.ts. */
async function opaWithTheCompiledPolicy(data: () => object): ReturnType<typeof startOpa> {
  const { loadPolicySync } = createRequire(import.meta.url)("@open-policy-agent/opa-wasm") as {
    loadPolicySync(wasm: Uint8Array): LoadedPolicy;
  };
  const policy = loadPolicySync(readPolicyFile(bundle).wasm);
  return startOpa((response, query) => {
    policy.setData(data());
    const [answer] = policy.evaluate(query.input, query.path.replace("/v1/data/", ""));
    json(answer ?? {})(response, query);
  });
}

/** The reader's folder, with what is elsewhere here. */
async function folderOf(way: Way): Promise<ReaderFolder> {
  const folder = await ReaderFolder.make(way);
  if (way === "opaWasm") copyFileSync(bundle, folder.file("bundle.tar.gz"));
  await folder.certificates();
  return folder;
}

const doesNotStart = "the server does not start";
const whileRunning = "while the server runs, the call";

describe("the pages about authorization", () => {
  it("show the table that the programs are held against", () => {
    const page = readFileSync(join(root, "docs/authorization/service.md"), "utf8");
    const [, section = ""] = page.split("## What the callers get");
    const shown = [...section.matchAll(/^\| (.+) \|$/gm)].map(([, row = ""]) =>
      row.split("|").map((cell) => cell.trim()),
    );
    expect(shown.filter(([first = ""]) => !/^-+$/.test(first))).toEqual(tableRows());
  });

  it("are each a way of the table, and each shows one whole program", () => {
    for (const program of programs) {
      const files = blocksOfProgram(program).map(({ file }) => file);
      expect(
        files.filter((file) => file === program.server),
        program.page,
      ).toHaveLength(1);
    }
    // What is no file is a command, a log line, or what is printed.
    const others = [...blocksOfService(), ...programs.flatMap(blocksOfProgram)].filter(
      ({ file, language }) => file === undefined && !["sh", "json", "text"].includes(language),
    );
    expect(others).toEqual([]);
    // An error that is shown has its cause beside it.
    const withError = programs.filter((program) => texts(blocksOfProgram(program), "is an error").length > 0);
    expect(withError.length).toBeGreaterThan(5);
    expect(withError).toEqual(
      programs.filter((program) => replacementIn(program, doesNotStart) !== undefined),
    );
  });

  it("say commands that are known here", () => {
    const commands = [...blocksOfService(), ...programs.flatMap(blocksOfProgram)]
      .filter(({ language }) => language === "sh")
      .flatMap(({ code }) => code.trim().split("\n"));
    expect(commands.length).toBeGreaterThan(8);
    expect(commands.filter((command) => !isKnown(command))).toEqual([]);
  });

  it("show the policy that the kept bundle was made of", () => {
    const shown = blocksOfProgram(programOf("opaWasm"));
    const policies = join(root, "test/opa/policies");
    const codeOf = (name: string): string => shown.find(({ file }) => file === name)?.code ?? "";
    expect(codeOf("orders.rego")).toBe(readFileSync(join(policies, "orders.rego"), "utf8"));
    expect(JSON.parse(codeOf("data.json"))).toEqual(
      JSON.parse(readFileSync(join(policies, "data.json"), "utf8")),
    );
    expect(readPolicyFile(bundle).data).toMatchObject(JSON.parse(codeOf("data.json")));
  });

  it.concurrent.each(programs)(
    "$way: callers get what the table says, and log, audit and matrix have what its page shows",
    async (program) => {
      const { way } = program;
      const blocks = blocksOfProgram(program);

      using folder = await folderOf(way);
      const data = (): object => JSON.parse(readFileSync(folder.file("data.json"), "utf8"));
      await using opa = way === "opa" ? await opaWithTheCompiledPolicy(data) : undefined;
      if (opa !== undefined) folder.replace({ file: program.server, from: opaOnPage, to: opaHere(opa.url) });
      await using server = await folder.serve();
      expect(await folder.calls()).toEqual(linesBy(way));
      const change = replacementIn(program, whileRunning);
      if (change !== undefined) {
        folder.replace(change);
        const line = changedLine(program);
        expect(linesBy(way)).not.toContain(line);
        await folder.untilCalled(line);
      }
      const logged = blocks.filter(({ language, file }) => language === "json" && file === undefined);
      for (const { code, page, line } of logged) {
        const shown: unknown = JSON.parse(code);
        await until(
          () => server.lines().some((one) => holds(one, shown)),
          () => `${page}:${line} in ${server.output()}`,
        );
      }
      for (const { code, page, line } of texts(blocks, "is printed"))
        expect(server.output(), `${page}:${line}`).toContain(code.trimEnd());
    },
  );

  it.concurrent.each(programs.filter((program) => replacementIn(program, doesNotStart) !== undefined))(
    "$way: the server does not start with the mistake that its page shows",
    async (program) => {
      using folder = await folderOf(program.way);
      const mistake = replacementIn(program, doesNotStart);
      if (mistake !== undefined) folder.replace(mistake);
      const { code, stderr } = await folder.node([program.server]);
      const [shown] = texts(blocksOfProgram(program), "is an error");
      expect(code).not.toBe(0);
      expect(stderr).toContain(shown?.code.trimEnd());
    },
  );

  it.concurrent("own: its tests pass, as the page shows them", async () => {
    using folder = await folderOf("own");
    const { code, stdout, stderr } = await folder.node(["--test", "relations.test.js"]);
    expect(code, stdout + stderr).toBe(0);
    expect(stdout).toMatch(/pass 6/);
  });
});

/** Texts of a page: what a server prints, and the error with which one does not start. */
function texts(blocks: readonly Block[], which: "is printed" | "is an error"): readonly Block[] {
  return blocks
    .filter(({ language }) => language === "text")
    .filter(({ code }) => code.includes("Error: ") === (which === "is an error"));
}

/** Has it everything that is shown? */
function holds(line: unknown, shown: unknown): boolean {
  return Object.entries(Object(shown)).every(([name, value]) => Reflect.get(Object(line), name) === value);
}

/** Is the command one that runs here, or in test/clients/opa-page.test.ts? */
function isKnown(command: string): boolean {
  const [program = "", verb = "", ...rest] = command.split(" ");
  if (program === "npm" && verb === "install")
    return rest
      .filter((name) => name !== "--save-dev")
      .every(
        (name) => name === "grpc-palisade" || existsSync(join(root, "node_modules", name, "package.json")),
      );
  return [
    "npm init --yes",
    "npm pkg set type=module",
    "node certificates.js",
    "node server.js",
    "node calls.js",
    "npx tsx server.js",
    "npx tsx --test relations.test.js",
    "opa run --server --watch --addr 127.0.0.1:8181 orders.rego data.json",
    "opa build -t wasm -e orders/authz/decision orders.rego data.json",
  ].includes(command);
}
