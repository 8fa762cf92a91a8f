// The file of API keys: how it is read, and how an operator changes it.
import { readFileSync } from "node:fs";
import { open, realpath, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { parseOptions } from "../../config/options.ts";
import { ConfigError } from "../../grpc/errors.ts";
import type { ApiKeyRecord } from "./api-key.ts";
import type { ApiKeyTable, RecordChange, StoredApiKey } from "./api-key-administration.ts";
import { frozenRecord, looksLikeApiKey, type ParsedRecord, recordsSchema } from "./api-key-record.ts";

/** @throws {ConfigError} where it cannot be read. */
export function readKeyFile(path: string, where: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new ConfigError(
      `${where}.path: cannot read ${path} (${codeOf(cause)}): check the path, which starts at ${process.cwd()} where it is ` +
        "relative, and that this process may read the file",
      { cause },
    );
  }
}

/** @throws {ConfigError} where the text is not a list of records, or holds what looks like a key. It shows nothing of it. */
export function recordsIn(text: string, path: string, where: string): readonly ParsedRecord[] {
  if (looksLikeApiKey(text)) {
    throw new ConfigError(
      `${where}.path: ${path} contains an API key (plsd_…); a record has only its digest. Remove it, and issue ` +
        "another key: this one was stored in clear",
    );
  }
  return parseOptions(recordsSchema, parseJson(text, path, where), `${where} ${path}`);
}

function parseJson(text: string, path: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The cause is left out: it quotes the text.
    throw new ConfigError(`${where}.path: ${path} is not JSON; expected a list of API key records`);
  }
}

/**
 * Changes the file of `fileApiKeyStore`. The new text is written beside it and takes its place in one step, so that a server
 * that reads it sees all of it or nothing. A file that is new can be read by its owner alone; one that was there keeps its
 * owner and its mode. Two that change it at once: the second is an error.
 */
export class ApiKeyFile implements ApiKeyTable {
  readonly name = "fileApiKeyStore";
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  async list(): Promise<readonly StoredApiKey[]> {
    const records = recordsIn(readKeyFile(this.#path, this.name), this.#path, this.name);
    return records.map((record) => ({ record: frozenRecord(record) }));
  }

  insert(record: ApiKeyRecord): Promise<"inserted" | "taken"> {
    return this.#edit("may be missing", (records) =>
      isTaken(records, record) ? "taken" : { records: [...records, record], result: "inserted" },
    );
  }

  change(
    id: string,
    change: (record: ApiKeyRecord) => RecordChange,
  ): Promise<"changed" | "unknown" | "taken"> {
    return this.#edit("must exist", (records) => {
      const place = records.findIndex((record) => record.id === id);
      const known = records[place];
      if (known === undefined) return "unknown";
      const { record, added } = change(known);
      if (added !== undefined && isTaken(records, added)) return "taken";
      const rest = added === undefined ? [] : [added];
      return { records: [...records.with(place, record), ...rest], result: "changed" };
    });
  }

  async #edit<Result extends string>(
    presence: "may be missing" | "must exist",
    edit: (
      records: readonly ApiKeyRecord[],
    ) => Result | { readonly records: readonly ApiKeyRecord[]; readonly result: Result },
  ): Promise<Result> {
    // What a symbolic link leads to is replaced, not the link.
    const path = await realpath(this.#path).catch((error: unknown) => {
      if (codeOf(error) === "ENOENT" && presence === "may be missing") return this.#path;
      throw this.#failed(error);
    });
    await this.#checkFolder(dirname(path));
    const unfinished = `${path}.unfinished`;
    const file = await open(unfinished, "wx", 0o600).catch((error: unknown) => {
      throw codeOf(error) === "EEXIST" ? this.#inUse(unfinished) : this.#failed(error);
    });
    try {
      const before = await stat(path).catch(() => undefined);
      const records = before === undefined ? [] : (await this.list()).map(({ record }) => record);
      const edited = edit(records);
      if (typeof edited === "string") {
        await file.close();
        await rm(unfinished);
        return edited;
      }
      if (before !== undefined) {
        await file.chmod(before.mode & 0o777);
        // Not by its path: whoever may write in the folder could put a link there meanwhile.
        await file.chown(before.uid, before.gid);
      }
      await file.writeFile(`${JSON.stringify(edited.records, null, 2)}\n`);
      await file.sync();
      await file.close();
      await rename(unfinished, path);
      return edited.result;
    } catch (error) {
      await file.close();
      await rm(unfinished, { force: true });
      throw error instanceof ConfigError ? error : this.#failed(error);
    }
  }

  /** Whoever may write in the folder could put another file in the place of this one. */
  async #checkFolder(folder: string): Promise<void> {
    const { mode } = await stat(folder).catch((error: unknown) => {
      throw this.#failed(error);
    });
    const everybodyWrites = (mode & 0o002) !== 0;
    const sticky = (mode & 0o1000) !== 0;
    if (process.platform === "win32" || !everybodyWrites || sticky) return;
    throw new ConfigError(
      `${this.name}.path: everybody may write in the folder of ${this.#path}, and so put other keys there; take that right ` +
        "away (chmod o-w)",
    );
  }

  #failed(cause: unknown): ConfigError {
    return new ConfigError(
      `${this.name}.path: cannot change ${this.#path} (${codeOf(cause)}): check the path, and that this process may write ` +
        "in its folder and keep the file's owner",
      { cause },
    );
  }

  #inUse(unfinished: string): ConfigError {
    return new ConfigError(
      `${this.name}.path: another process is changing ${this.#path}, or one ended in between; in that case delete ${unfinished}`,
    );
  }
}

function isTaken(records: readonly ApiKeyRecord[], { id, digest }: ApiKeyRecord): boolean {
  return records.some((record) => record.id === id || record.digest === digest);
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "unreadable";
}
