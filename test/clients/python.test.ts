// grpcio for Python, which is C-core.
import { readFile } from "node:fs/promises";
import { describe } from "vitest";
import { foreignLibrary } from "./client-suite.ts";
import { runWell } from "./run.ts";
import { installed, installTimeoutMs, lacks } from "./tools.ts";

const source = new URL("./python/", import.meta.url).pathname;

async function install() {
  const requirements = `${source}requirements.txt`;
  const packages = await installed({
    name: "grpcio",
    pins: await readFile(requirements, "utf8"),
    async make(directory) {
      const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"];
      await runWell(
        "python3",
        [...pip, "--only-binary", ":all:", "--target", directory, "--requirement", requirements],
        { timeoutMs: installTimeoutMs },
      );
    },
  });
  return {
    command: "python3",
    args: [`${source}client.py`],
    env: { PYTHONPATH: packages, PYTHONDONTWRITEBYTECODE: "1" },
  };
}

describe.skipIf(lacks("python3"))("Python", () => {
  foreignLibrary({
    transports: ["grpcio"],
    cases: ["gzip_unary", "gzip_streams", "gzip_of_one_call"],
    delayedCalls: {},
    oldTls: [],
    install,
  });
});
