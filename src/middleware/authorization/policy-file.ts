// A policy that is kept in a file: read whole, and watched.
import type { Buffer } from "node:buffer";
import { readFileSync, statSync } from "node:fs";
import { FileWatch } from "../../config/file-watch.ts";
import { PolicyError } from "../../grpc/errors.ts";

/** Room for the rules of some ten thousand methods. */
const maxBytes = 4 * 1024 * 1024;

export class PolicyFile {
  readonly #path: string;
  #text: string | undefined = undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** @throws {PolicyError} that names the file and what to do, where it is no text that can be read. */
  read(): string {
    this.#text = undefined;
    this.#text = this.#read();
    return this.#text;
  }

  /** Calls `listener` each time when the file holds something else than what was read last before this. Returns what ends it. */
  onChange(listener: () => void): () => void {
    let seen = this.#text;
    const watch = new FileWatch({
      paths: [this.#path],
      onChange: () => {
        const now = this.#textOrNothing();
        if (now === seen) return;
        seen = now;
        try {
          listener();
        } catch {
          // This runs in a timer, where a throw would end the process.
        }
      },
    });
    return () => watch.stop();
  }

  /** Whoever reads it after the change is told why it cannot be read. */
  #textOrNothing(): string | undefined {
    try {
      return this.#read();
    } catch {
      return undefined;
    }
  }

  #read(): string {
    const bytes = this.#bytes();
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      throw new PolicyError([`${this.#path}: expected text in UTF-8`]);
    }
  }

  #bytes(): Buffer {
    try {
      const stats = statSync(this.#path);
      // Reading a pipe would wait for whoever writes to it.
      if (!stats.isFile())
        throw new PolicyError([`${this.#path}: not a file; give the path of a policy file`]);
      if (stats.size > maxBytes)
        throw new PolicyError([
          `${this.#path}: has ${stats.size} bytes; a policy file may have at most ${maxBytes}`,
        ]);
      return readFileSync(this.#path);
    } catch (error) {
      if (error instanceof PolicyError) throw error;
      throw new PolicyError([
        `${this.#path}: cannot be read (${codeOf(error)}); check the path, which starts at ${process.cwd()} where it is ` +
          "relative, and that this process may read the file",
      ]);
    }
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "unreadable";
}
