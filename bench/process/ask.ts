// How the instrument speaks with its processes: it asks by name, they answer, over Node's own channel between processes.
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";

/** What a process can be asked, by name: what goes in, and what comes back. */
export type Asks = { readonly [name: string]: readonly [input: unknown, answer: unknown] };

export type Answers<A extends Asks> = {
  readonly [Name in keyof A]: (input: A[Name][0]) => A[Name][1] | Promise<A[Name][1]>;
};

interface Ask {
  readonly id: number;
  readonly name: string;
  readonly input: unknown;
}

interface Answer {
  readonly id: number;
  readonly answer?: unknown;
  readonly failure?: string;
}

/** For the process that is asked. Ends it when the one that asks is gone. */
export function answerAsks<A extends Asks>(answers: Answers<A>): void {
  process.on("disconnect", () => process.exit());
  process.on("message", async ({ id, name, input }: Ask) => {
    const reply = (answer: Answer): void => {
      process.send?.(answer);
    };
    try {
      const respond = answers[name];
      if (respond === undefined) throw new Error(`nobody answers "${name}"`);
      reply({ id, answer: await respond(input) });
    } catch (error) {
      reply({ id, failure: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    }
  });
}

export interface ChildOptions {
  readonly name: string;
  /** The program, in JavaScript: no loader stands between it and Node. */
  readonly program: string;
  readonly arguments?: readonly string[];
}

/** A process that can be asked. Its standard error is ours. */
export class Child<A extends Asks> {
  readonly name: string;
  readonly #process: ChildProcess;
  readonly #waiting = new Map<number, { resolve(answer: unknown): void; reject(error: Error): void }>();
  #lastId = 0;

  constructor({ name, program, arguments: execArgv = [] }: ChildOptions) {
    this.name = name;
    // Without our own flags and NODE_OPTIONS: the loader that runs the instrument must not be in what it measures.
    const { NODE_OPTIONS: _, ...env } = process.env;
    this.#process = fork(program, [], { execArgv: [...execArgv], env, serialization: "advanced" });
    this.#process.on("message", ({ id, answer, failure }: Answer) => {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (failure === undefined) waiting?.resolve(answer);
      else waiting?.reject(new Error(`${name}: ${failure}`));
    });
    this.#process.once("exit", (code, signal) => {
      for (const { reject } of this.#waiting.values()) {
        reject(
          new Error(
            `${name} ended while it was asked (${signal ?? `exit code ${code}`}); see its output above`,
          ),
        );
      }
      this.#waiting.clear();
    });
  }

  get pid(): number {
    const { pid } = this.#process;
    if (pid === undefined) throw new Error(`${this.name} could not be started`);
    return pid;
  }

  ask<Name extends keyof A & string>(name: Name, input: A[Name][0]): Promise<A[Name][1]> {
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise<A[Name][1]>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#process.send({ id, name, input } satisfies Ask, (error) => {
        if (error === null) return;
        this.#waiting.delete(id);
        reject(new Error(`${this.name} cannot be asked: ${error.message}`, { cause: error }));
      });
    });
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = once(this.#process, "exit");
    this.#process.kill("SIGKILL");
    await ended;
  }
}
