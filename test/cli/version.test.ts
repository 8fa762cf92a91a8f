// The command as a user runs it, from its source and as it is packed.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { type Ended, runNode } from "../harness/child-process.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
  readonly version: string;
};

function run(...args: string[]): Promise<Ended> {
  return runNode(["--import", "tsx", "src/cli/palisade.ts", ...args], { cwd: root });
}

describe("palisade", () => {
  it.each(["--version", "version"])("%s says which one it is", async (argument) => {
    expect(await run(argument)).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
  });

  it("--version beside a command is a mistake, told with the usage", async () => {
    expect(await run("version", "certs")).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("usage: palisade certs"),
    });
  });
});
