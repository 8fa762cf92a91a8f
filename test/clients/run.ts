// Foreign programs that must succeed, and what is said of one that did not.
import { type Ended, type RunOptions, run } from "../harness/child-process.ts";

/** Runs a program that must succeed; its standard output. */
export async function runWell(
  command: string,
  args: readonly string[],
  options: RunOptions,
): Promise<string> {
  const ended = await run(command, args, options);
  if (ended.code === 0) return ended.stdout;
  throw new Error(`${[command, ...args].join(" ")}\n${told(ended)}`);
}

/** A result in words, for the message of a failed expectation. */
export function told({ code, killed, stdout, stderr }: Ended): string {
  return `${killed ?? `exit code ${code}`}\n${stdout.slice(-3000)}\n${stderr.slice(-3000)}`.trim();
}
