// What a foreign program said is seen where it fails.
import { expect, it } from "vitest";
import { runWell } from "./run.ts";

const timeoutMs = 60_000;

it("gives what was printed", async () => {
  expect(await runWell("sh", ["-c", "echo out; echo err >&2"], { timeoutMs })).toBe("out\n");
});

it("fails with the command, its code and what it printed", async () => {
  const failing = runWell("sh", ["-c", "echo out; echo err >&2; exit 3"], { timeoutMs });
  await expect(failing).rejects.toThrow("sh -c echo out; echo err >&2; exit 3\nexit code 3\nout\n\nerr");
});

it("fails for a program that takes too long", async () => {
  const hanging = runWell("sh", ["-c", "echo out; sleep 600"], { timeoutMs: 1_000 });
  await expect(hanging).rejects.toThrow("\ntimeout\n");
});

it("fails for a program that is not there", async () => {
  await expect(runWell("no-such-program", [], { timeoutMs })).rejects.toThrow("ENOENT");
});
