// An audit sink that appends to a file: one JSON object a line, made so that nothing in an entry can forge a line.
import { Buffer } from "node:buffer";
import { closeSync, constants, openSync } from "node:fs";
import { type FileHandle, open, stat } from "node:fs/promises";
import { resolve } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { z } from "zod";
import { parseOptions } from "../../config/options.ts";
import { ConfigError } from "../../grpc/errors.ts";
import type { AuditEntry } from "./audit-entry.ts";
import type { AuditSink } from "./audit-sink.ts";

export interface JsonLinesSinkOptions {
  /** The file. Created where it is missing, readable and writable for its owner alone; its directory must exist. */
  readonly path: string;
}

/** The shape of `jsonLinesSink`'s options. */
export const jsonLinesSinkSchema: z.ZodType<JsonLinesSinkOptions> = z.strictObject({
  path: z.string().min(1, { error: "must name a file" }),
});

/** Reading is for the last byte of a file that is already there. Appending is atomic between processes. */
const flags = constants.O_RDWR | constants.O_APPEND | constants.O_CREAT;
const ownerOnly = 0o600;
const newline = 0x0a;
/** Lines are written in pieces of this size, each of whole lines, so that other processes' lines never come between. */
const pieceBytes = 64 * 1024;
/** After so many lines calls get their turn: a batch of a thousand would keep all of them waiting for milliseconds. */
const linesAtOnce = 32;
/** For each of a text's UTF-16 units. */
const maxUtf8Bytes = 3;

/**
 * Appends each entry as one line of JSON, a batch in a few writes. The file may be renamed away (logrotate): the next
 * batch goes to a new one. A line that a crash left unfinished is ended first, so that it spoils no other. A batch that
 * failed half way is written again whole: entries may be there twice, with the same `id`.
 *
 * The permissions of a file that exists already stay as they are. Batches are not synced to disk one by one: a power
 * failure can lose what the operating system had not written.
 *
 * @example
 * audit({ sinks: [jsonLinesSink({ path: "/var/log/orders/audit.jsonl" })], logger })
 *
 * @throws ConfigError for options that are wrong, and for a file that cannot be opened.
 */
export function jsonLinesSink(options: JsonLinesSinkOptions): AuditSink {
  // Absolute: a service that changes its directory later goes on writing to the same file.
  const path = resolve(parseOptions(jsonLinesSinkSchema, options, "jsonLinesSink").path);
  openOnce(path);
  return new JsonLinesSink(path);
}

/** At start-up, where a wrong path can still stop the service; the writes open it for themselves. */
function openOnce(path: string): void {
  let file: number | undefined;
  try {
    file = openSync(path, flags, ownerOnly);
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    throw new ConfigError(
      `jsonLinesSink.path: cannot open "${path}" for appending (${problem}); its directory must exist and be writable`,
      { cause: error },
    );
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

class JsonLinesSink implements AuditSink {
  readonly name = "json-lines";
  readonly #path: string;
  #file: OpenFile | undefined = undefined;
  /** The file may end within a line: it was just opened, or the last write did not finish. */
  #mayBeTorn = true;
  /** What is written next. Always the same memory: of one piece as large as a batch hardly any is used again soon. */
  readonly #piece: Buffer = Buffer.allocUnsafe(pieceBytes);
  /** One after the other, also where two audit middleware share the sink. */
  #last: Promise<void> = Promise.resolve();

  constructor(path: string) {
    this.#path = path;
  }

  write(entries: readonly AuditEntry[]): Promise<void> {
    return this.#inTurn(() => this.#append(entries));
  }

  close(): Promise<void> {
    return this.#inTurn(() => this.#release());
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#last.then(work);
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  async #append(entries: readonly AuditEntry[]): Promise<void> {
    if (this.#file !== undefined && !(await this.#isAtPath(this.#file))) await this.#release();
    this.#file ??= await this.#open();
    const { handle } = this.#file;
    const torn = this.#mayBeTorn && (await endsWithinLine(handle));
    this.#mayBeTorn = true;
    let filled = torn ? this.#piece.write("\n") : 0;
    for (const [at, entry] of entries.entries()) {
      if (at > 0 && at % linesAtOnce === 0) await turn();
      const line = jsonLine(entry);
      const most = maxUtf8Bytes * line.length;
      if (filled > 0 && filled + most > pieceBytes) {
        await writeWhole(handle, this.#piece.subarray(0, filled));
        filled = 0;
      }
      if (most > pieceBytes) await writeWhole(handle, Buffer.from(line));
      else filled += this.#piece.write(line, filled);
    }
    if (filled > 0) await writeWhole(handle, this.#piece.subarray(0, filled));
    this.#mayBeTorn = false;
  }

  async #open(): Promise<OpenFile> {
    this.#mayBeTorn = true;
    const handle = await open(this.#path, flags, ownerOnly);
    try {
      const { ino, dev } = await handle.stat();
      return { handle, ino, dev };
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** Is the open file still the one that the path names? */
  async #isAtPath({ ino, dev }: OpenFile): Promise<boolean> {
    try {
      const named = await stat(this.#path);
      return ino === named.ino && dev === named.dev;
    } catch {
      return false;
    }
  }

  async #release(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.handle.close();
  }
}

/** A file and what it is known by, as long as it is open. */
interface OpenFile {
  readonly handle: FileHandle;
  readonly ino: number;
  readonly dev: number;
}

async function writeWhole(file: FileHandle, bytes: Buffer): Promise<void> {
  for (let from = 0; from < bytes.length; )
    from += (await file.write(bytes, from, bytes.length - from)).bytesWritten;
}

async function endsWithinLine(file: FileHandle): Promise<boolean> {
  const { size } = await file.stat();
  if (size === 0) return false;
  const last = Buffer.alloc(1);
  const { bytesRead } = await file.read(last, 0, 1, size - 1);
  return bytesRead === 1 && last[0] !== newline;
}

/** What JSON leaves as it is, and a reader may take for the end of a line or obey: C1 controls, separators, bidi. */
const unsafeInLines = /[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

function jsonLine(entry: AuditEntry): string {
  const json = JSON.stringify(entry).replace(
    unsafeInLines,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return `${json}\n`;
}
