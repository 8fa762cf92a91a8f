// Instructions retired by a process, counted by `perf` where the machine lets it: virtual machines often do not.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import type { Readable, Writable } from "node:stream";

/** Those of the program itself: what the kernel does for it depends on what else the machine is doing. */
const event = "instructions:u";

/** Of all these processes. Counts from now until `stop`. */
export interface Counting {
  stop(): Promise<number>;
}

export interface InstructionCounter {
  count(pids: readonly number[]): Promise<Counting>;
}

/** The counter, or why there is none. */
export function instructionCounter(): InstructionCounter | { readonly missing: string } {
  const tried = spawnSync("perf", ["stat", "-x,", "-e", event, "true"], { encoding: "utf8" });
  if (tried.error !== undefined) return { missing: "perf is not installed" };
  const counted = instructionsIn(tried.stderr);
  if (counted === undefined) return { missing: "perf cannot count them on this machine" };
  return { count: (pids) => startCounting(pids) };
}

/** From what `perf stat -x,` prints: the number comes first, or `<not supported>` in its place. */
export function instructionsIn(output: string): number | undefined {
  const line = output.split("\n").find((text) => text.includes(`,${event},`));
  const value = Number(line?.split(",")[0]);
  return Number.isFinite(value) && value > 0 ? value : undefined;
}

/** It starts disabled and says when it is enabled, so that nothing is counted that came before. */
async function startCounting(pids: readonly number[]): Promise<Counting> {
  const perf: ChildProcess = spawn(
    "perf",
    ["stat", "-x,", "-e", event, "-p", pids.join(), "-D", "-1", "--control", "fd:3,4"],
    { stdio: ["ignore", "ignore", "pipe", "pipe", "pipe"] },
  );
  const [, , errors, commands, answers] = perf.stdio as [null, null, Readable, Writable, Readable];
  let output = "";
  errors.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const tell = async (command: string): Promise<void> => {
    const answered = once(answers, "data");
    commands.write(`${command}\n`);
    await answered;
  };
  await tell("enable");
  return {
    async stop() {
      await tell("disable");
      const ended = once(perf, "close");
      perf.kill("SIGINT");
      await ended;
      const counted = instructionsIn(output);
      if (counted === undefined) throw new Error(`perf counted nothing: ${output.trim()}`);
      return counted;
    },
  };
}
