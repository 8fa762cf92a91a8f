// A program that reads a line of JSON and answers it with one.
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** It ends with its standard input, so with us. */
export class LineProgram {
  readonly #process: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(program: string) {
    this.#process = spawn(program, [], { stdio: ["pipe", "pipe", "inherit"] });
    const { stdout } = this.#process;
    if (stdout === null) throw new Error("the program has no output");
    this.#lines = createInterface({ input: stdout })[Symbol.asyncIterator]();
  }

  async ask<T>(question: unknown): Promise<T> {
    this.#process.stdin?.write(`${JSON.stringify(question)}\n`);
    const line = await this.#lines.next();
    if (line.done === true) throw new Error("the program ended without an answer");
    return JSON.parse(line.value) as T;
  }

  end(): void {
    this.#process.stdin?.end();
    this.#process.kill("SIGKILL");
  }
}
