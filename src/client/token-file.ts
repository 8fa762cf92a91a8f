// A token that something else keeps fresh in a file, as Kubernetes does with projected service account tokens.
import { Buffer } from "node:buffer";
import type { BigIntStats } from "node:fs";
import { open, stat } from "node:fs/promises";
import { status } from "@grpc/grpc-js";
import { StatusError } from "../grpc/errors.ts";
import { secretProblem } from "./secret-text.ts";

/** No token is near this long: the path names something else. */
const maxBytes = 65_536;

/** A file younger than this may change again without its times showing it: clocks of file systems are coarse. */
const settledAfterMs = 2_000;

/** A server's clock may be ahead, and a call needs time to get there: a token that is not read again ends earlier (gRFC A97). */
const clockSkewMs = 30_000;
/** So long before its end the file is read again even if nothing shows that it changed (gRFC A97: one minute, typically). */
const rereadBeforeMs = 60_000;
/** How often then, at most. */
const rereadIntervalMs = 1_000;

/** A file that holds no token is read again after so long, each time longer, as long as nothing shows that it changed. */
const firstBackoffMs = 1_000;
const maxBackoffMs = 120_000;

interface HeldToken {
  readonly token: string;
  /** Of a JWT with `exp`, in milliseconds since 1970. */
  readonly expiresAt: number | undefined;
}

/**
 * The token in a file, read again when the file is another one or has changed; a link that now points elsewhere counts.
 * While the file is missing, unreadable, empty or half-written, the last good token stays until shortly before it
 * expires, with one process warning.
 *
 * Each call looks at the file's times, which is cheap, so that a new token is used at once. gRFC A97, which reads the file
 * when the token is near its end, does not look; what it says of that end, of failures and of backoff holds for reading.
 */
export class TokenFile {
  readonly #path: string;
  #held: HeldToken | undefined = undefined;
  /** The state of the file that the token was read from; undefined where it has to be read again. */
  #seen: string | undefined = undefined;
  #readAt = Number.NEGATIVE_INFINITY;
  #bad: BadFile | undefined = undefined;
  #looking: Promise<string> | undefined = undefined;
  #warned = false;

  constructor(path: string) {
    this.#path = path;
  }

  /**
   * The token. Calls at the same time share one look at the file. Throws `StatusError` where there is none: UNAVAILABLE where
   * the file cannot be read, UNAUTHENTICATED where it holds no token.
   */
  read(): Promise<string> {
    this.#looking ??= this.#current().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  /** The next call reads the file, whatever its times show. */
  reread(): void {
    this.#seen = undefined;
  }

  async #current(): Promise<string> {
    try {
      const token = await this.#readIfChanged();
      this.#warned = false;
      this.#bad = undefined;
      return token;
    } catch (error) {
      const problem =
        error instanceof TokenFileProblem ? error.message : `cannot be read (${errorCode(error)})`;
      const code = error instanceof NoTokenInFile ? status.UNAUTHENTICATED : status.UNAVAILABLE;
      if (this.#held === undefined)
        throw new StatusError(code, `the token file ${this.#path} ${problem}`, { cause: error });
      if (isOver(this.#held)) {
        const text = `the token file ${this.#path} ${problem}, and the last good token has expired`;
        throw new StatusError(code, text, { cause: error });
      }
      this.#warn(problem);
      return this.#held.token;
    }
  }

  async #readIfChanged(): Promise<string> {
    const found = await stat(this.#path, { bigint: true });
    const print = fingerprint(found);
    if (this.#held !== undefined && print === this.#seen && !this.#isDue(this.#held)) return this.#held.token;
    if (this.#bad?.print === print && performance.now() < this.#bad.until) throw this.#bad.problem;
    // Looked at before it is opened: opening a pipe would wait for its writer.
    if (!found.isFile()) throw new TokenFileProblem("is not a file");
    const handle = await open(this.#path);
    try {
      // Times and content of the same open file, whatever the path points to by now.
      const opened = await handle.stat({ bigint: true });
      const read = isSettled(opened) ? fingerprint(opened) : undefined;
      const token = opened.size > maxBytes ? "" : (await handle.readFile("utf8")).trim();
      const problem = opened.size > maxBytes ? `is larger than ${maxBytes} bytes` : notAToken(token);
      if (problem !== undefined) throw this.#badFile(problem, read);
      this.#held = { token, expiresAt: expiryOf(token) };
      this.#readAt = performance.now();
      this.#seen = read;
      return token;
    } finally {
      await handle.close();
    }
  }

  /** Near its end the file is read again, because some file systems show a change late. */
  #isDue({ expiresAt }: HeldToken): boolean {
    if (expiresAt === undefined || Date.now() < expiresAt - clockSkewMs - rereadBeforeMs) return false;
    return performance.now() - this.#readAt >= rereadIntervalMs;
  }

  #badFile(message: string, print: string | undefined): NoTokenInFile {
    const problem = new NoTokenInFile(message);
    const waitMs = this.#bad === undefined ? firstBackoffMs : Math.min(this.#bad.waitMs * 1.6, maxBackoffMs);
    this.#bad = { problem, print, waitMs, until: performance.now() + waitMs * (0.8 + 0.4 * Math.random()) };
    return problem;
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
class NoTokenInFile extends TokenFileProblem {}

interface BadFile {
  readonly problem: NoTokenInFile;
  /** Undefined where the file is so young that its times may not show the next change. */
  readonly print: string | undefined;
  readonly waitMs: number;
  readonly until: number;
}

function notAToken(text: string): string | undefined {
  const problem = secretProblem(text);
  return problem === undefined ? undefined : `holds no token: it ${problem}`;
}

function isOver({ expiresAt }: HeldToken): boolean {
  return expiresAt !== undefined && Date.now() >= expiresAt - clockSkewMs;
}

/** `exp` of a JWT (RFC 7519 section 4.1.4), unverified: that is the server's part. Undefined for any other token. */
function expiryOf(token: string): number | undefined {
  const [, payload, signature, more] = token.split(".");
  if (payload === undefined || signature === undefined || more !== undefined) return undefined;
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, "base64url").toString("utf8"));
    const exp: unknown =
      typeof claims === "object" && claims !== null ? Reflect.get(claims, "exp") : undefined;
    return typeof exp === "number" && Number.isFinite(exp) ? exp * 1000 : undefined;
  } catch {
    return undefined;
  }
}

function fingerprint(file: BigIntStats): string {
  return `${file.dev}:${file.ino}:${file.size}:${file.mtimeNs}:${file.ctimeNs}`;
}

function isSettled(file: BigIntStats): boolean {
  return Date.now() - Number(file.ctimeMs) > settledAfterMs;
}

function errorCode(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "unknown error";
}
