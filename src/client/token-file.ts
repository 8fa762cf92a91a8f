// A token that something else keeps fresh in a file, as Kubernetes does with projected service account tokens.
import type { BigIntStats } from "node:fs";
import { open, stat } from "node:fs/promises";
import { status } from "@grpc/grpc-js";
import { StatusError } from "../grpc/errors.ts";
import { secretProblem } from "./secret-text.ts";

/** No token is near this long: the path names something else. */
const maxBytes = 65_536;

/** A file younger than this may change again without its times showing it: clocks of file systems are coarse. */
const settledAfterMs = 2_000;

/**
 * The token in a file, read again when the file is another one or has changed; a link that now points elsewhere counts.
 * While the file is missing, unreadable, empty or half-written, the last good token stays, with one process warning.
 */
export class TokenFile {
  readonly #path: string;
  #token: string | undefined = undefined;
  #seen: string | undefined = undefined;
  #looking: Promise<string> | undefined = undefined;
  #warned = false;

  constructor(path: string) {
    this.#path = path;
  }

  /** The token. Calls at the same time share one look at the file. Throws `StatusError` where there never was one. */
  read(): Promise<string> {
    this.#looking ??= this.#current().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #current(): Promise<string> {
    try {
      const token = await this.#readIfChanged();
      this.#warned = false;
      return token;
    } catch (error) {
      const problem =
        error instanceof TokenFileProblem ? error.message : `cannot be read (${errorCode(error)})`;
      if (this.#token === undefined) {
        throw new StatusError(status.UNAUTHENTICATED, `the token file ${this.#path} ${problem}`, {
          cause: error,
        });
      }
      this.#warn(problem);
      return this.#token;
    }
  }

  async #readIfChanged(): Promise<string> {
    const found = await stat(this.#path, { bigint: true });
    if (this.#token !== undefined && fingerprint(found) === this.#seen) return this.#token;
    // Looked at before it is opened: opening a pipe would wait for its writer.
    if (!found.isFile()) throw new TokenFileProblem("is not a file");
    const handle = await open(this.#path);
    try {
      // Times and content of the same open file, whatever the path points to by now.
      const opened = await handle.stat({ bigint: true });
      if (opened.size > maxBytes) throw new TokenFileProblem(`is larger than ${maxBytes} bytes`);
      const token = (await handle.readFile("utf8")).trim();
      const problem = secretProblem(token);
      if (problem !== undefined) throw new TokenFileProblem(`holds no token: it ${problem}`);
      this.#token = token;
      this.#seen = isSettled(opened) ? fingerprint(opened) : undefined;
      return token;
    } finally {
      await handle.close();
    }
  }

  #warn(problem: string): void {
    if (this.#warned) return;
    this.#warned = true;
    process.emitWarning(`the token file ${this.#path} ${problem}; the last good token stays in use`, {
      type: "PalisadeWarning",
      code: "PALISADE_TOKEN_FILE",
    });
  }
}

class TokenFileProblem extends Error {}

function fingerprint(file: BigIntStats): string {
  return `${file.dev}:${file.ino}:${file.size}:${file.mtimeNs}:${file.ctimeNs}`;
}

function isSettled(file: BigIntStats): boolean {
  return Date.now() - Number(file.ctimeMs) > settledAfterMs;
}

function errorCode(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "unknown error";
}
