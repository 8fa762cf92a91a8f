// A policy that is kept in a file: read whole, and watched.
import type { Buffer } from "node:buffer";
import { FileProblem, readBoundedFile } from "../../config/bounded-file.ts";
import { watchContent } from "../../config/content-watch.ts";
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
    return watchContent(
      { path: this.#path, content: () => this.#textOrNothing(), seen: this.#text },
      listener,
    );
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
      return readBoundedFile(this.#path, maxBytes);
    } catch (error) {
      if (error instanceof FileProblem) throw new PolicyError([`${this.#path}: ${error.message}`]);
      throw error;
    }
  }
}
