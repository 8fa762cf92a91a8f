// docs/authorization/opa.md with the real OPA: its commands as they stand, both of its programs, and the table that they are
// held against. Without Go, test/docs/authorization.test.ts does the same with the bundle that is kept.
import { beforeAll, describe, expect, it } from "vitest";
import {
  blocksOfProgram,
  changedLine,
  opaHere,
  opaOnPage,
  programOf,
  ReaderFolder,
  replacementIn,
  until,
} from "../docs/authorization-programs.ts";
import { linesBy } from "../docs/authorization-rows.ts";
import { run, startProgram } from "../harness/child-process.ts";
import { freePort } from "../harness/free-port.ts";
import { accepts, opaProgram } from "./opa.ts";
import { told } from "./run.ts";
import { installTimeoutMs, lacks } from "./tools.ts";

describe.skipIf(lacks("go"))("docs/authorization/opa.md", () => {
  let opa: string;

  beforeAll(async () => {
    opa = await opaProgram();
  }, installTimeoutMs);

  it("shows a policy that an OPA server decides by as the table says", async () => {
    const port = await freePort();
    using folder = await ReaderFolder.make("opa", { [opaOnPage]: opaHere(`http://127.0.0.1:${port}`) });
    await folder.certificates();
    const command = commandOn("opa", "opa run").replace("127.0.0.1:8181", `127.0.0.1:${port}`);
    // Its log is of no interest here.
    const line = `cd '${folder.path}' && exec '${opa}' ${command.slice("opa ".length)} --skip-version-check 2>/dev/null`;
    const stop = startProgram("sh", ["-c", line]);
    try {
      await until(
        () => accepts({ port, host: "127.0.0.1" }),
        () => command,
      );
      await using _ = await folder.serve();
      expect(await folder.calls()).toEqual(linesBy("opa"));
      await changed(folder, "while the server runs");
    } finally {
      stop();
    }
  });

  it("shows how the policy is compiled, and the compiled one decides as the table says", async () => {
    using folder = await ReaderFolder.make("opaWasm");
    await folder.certificates();
    const [, ...args] = commandOn("opaWasm", "opa build").split(" ");
    const build = async (): Promise<void> => {
      const built = await run(opa, args, { cwd: folder.path });
      expect(built.code, told(built)).toBe(0);
    };
    await build();
    await using _ = await folder.serve();
    expect(await folder.calls()).toEqual(linesBy("opaWasm"));
    await changed(folder, "and after another `opa build`", build);
  });
});

/** Changes what the page says, and waits for the call that gets another status then. */
async function changed(
  folder: ReaderFolder,
  words: string,
  apply = async (): Promise<void> => {},
): Promise<void> {
  const change = replacementIn(folder.program, words);
  if (change === undefined) throw new Error(`the page tells no change ${words}`);
  const line = changedLine(folder.program);
  expect(linesBy(folder.program.way)).not.toContain(line);
  folder.replace(change);
  await apply();
  await folder.untilCalled(line);
}

/** The command of the page that begins like this. */
function commandOn(way: "opa" | "opaWasm", start: string): string {
  const commands = blocksOfProgram(programOf(way))
    .filter(({ language }) => language === "sh")
    .flatMap(({ code }) => code.split("\n"));
  const command = commands.find((line) => line.startsWith(start));
  if (command === undefined) throw new Error(`the page has no command ${start} …`);
  return command;
}
