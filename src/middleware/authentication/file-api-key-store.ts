// API keys kept in a JSON file, which is read anew whenever it changes. The file holds digests, never keys.
import { type Logger, pino } from "pino";
import { z } from "zod";
import { ChangeListeners } from "../../config/change-listeners.ts";
import { FileReload } from "../../config/file-reload.ts";
import { loggerSchema } from "../../config/logger-option.ts";
import { parseOptions } from "../../config/options.ts";
import { ConfigError } from "../../grpc/errors.ts";
import { LogThrottle } from "../../observability/log-throttle.ts";
import type { ApiKeyRecord, ApiKeyStore } from "./api-key.ts";
import { readKeyFile, recordsIn } from "./api-key-file.ts";
import { byDigest, malformedPermissionsIn, type RecordsByDigest } from "./api-key-record.ts";

export interface FileApiKeyStoreOptions {
  /** The file; a relative path starts at the working directory. A JSON list of `ApiKeyRecord`. */
  readonly path: string;
  /** Told when a changed file was taken over, or could not be; `false` for nobody. Default: pino to standard output. */
  readonly logger?: Logger | false | undefined;
}

/** The shape of `fileApiKeyStore`'s options. */
export const fileApiKeyStoreSchema: z.ZodType<{
  readonly path: string;
  readonly logger?: Logger | false | undefined;
}> = z.strictObject({
  path: z.string().refine((path) => path.trim() !== "", { error: "the path is empty" }),
  logger: z.union([loggerSchema, z.literal(false)]).optional(),
});

const where = "fileApiKeyStore";

/** How many of a file's problems stand in one line of the log. */
const maxTold = 10;

/** An `ApiKeyStore` over a file. */
export interface FileApiKeyStore extends ApiKeyStore {
  find(digest: string): ApiKeyRecord | undefined;
  /** Calls `listener` when the keys of a changed file are in use. */
  onChange(listener: () => void): () => void;
  /** Stops watching the file; a later `find` reads it and watches again. */
  close(): void;
}

/**
 * Keeps the records of a JSON file, and takes the file over anew within moments when it is written in place, renamed over
 * or swapped by a symbolic link. So a key is issued, rotated or revoked by changing the file: revoked or taken out, it
 * is refused from the next call on. A file that disappears or cannot be used is said once, and the records of the last
 * good one stay in use. To rotate a key put a second record of the same owner beside the first, and take the first out
 * once its key is no longer used. A permission that is not `resource:action`, `resource:*` or `*` grants nothing, and the log
 * says so.
 *
 * Throws `ConfigError` where the file cannot be read at the start, is not a list of records, or holds what looks like a
 * key; no value from the file is ever shown.
 *
 * @example
 * apiKey({ store: fileApiKeyStore({ path: "/etc/orders/api-keys.json" }) })
 */
export function fileApiKeyStore(options: FileApiKeyStoreOptions): FileApiKeyStore {
  const { path, logger } = parseOptions(fileApiKeyStoreSchema, options, "fileApiKeyStore");
  return new WatchedFile(path, logger === false ? undefined : (logger ?? pino()));
}

class WatchedFile implements FileApiKeyStore {
  readonly #path: string;
  readonly #logger: Logger | undefined;
  readonly #throttle: LogThrottle = new LogThrottle({ periodMs: 60_000 });
  #text: string;
  #records: RecordsByDigest;
  readonly #reload: FileReload;
  readonly #listeners = new ChangeListeners();

  constructor(path: string, logger: Logger | undefined) {
    this.#path = path;
    this.#logger = logger;
    this.#text = readKeyFile(path, where);
    this.#records = byDigest(recordsIn(this.#text, path, where));
    this.#tellMalformed();
    this.#reload = new FileReload({
      takeOver: (hadProblem) => this.#takeOver(hadProblem),
      onProblem: (problem) => this.#report(problem),
    });
    this.#start();
  }

  find(digest: string): ApiKeyRecord | undefined {
    if (!this.#reload.isWatching) this.#start();
    return this.#records.get(digest);
  }

  onChange(listener: () => void): () => void {
    if (!this.#reload.isWatching) this.#start();
    return this.#listeners.add(listener);
  }

  close(): void {
    this.#reload.stop();
    // Another server may use it still: what it does about this starts the watch again.
    this.#listeners.notify();
  }

  /** Watches first and looks then, so that no change falls between the two. */
  #start(): void {
    this.#reload.watch([this.#path]);
    this.#reload.look();
  }

  /** What is wrong with the file, or undefined where its records are in use now. */
  #takeOver(hadProblem: boolean): string | undefined {
    try {
      const text = readKeyFile(this.#path, where);
      if (text !== this.#text) {
        this.#records = byDigest(recordsIn(text, this.#path, where));
        this.#text = text;
        this.#say("info", { keys: this.#records.size }, "the API key file changed; its keys are now in use");
        this.#tellMalformed();
        this.#listeners.notify();
      } else if (hadProblem) {
        this.#say("info", { keys: this.#records.size }, "the API key file can be read again");
      }
      return undefined;
    } catch (error) {
      // The text of any other error may quote the file.
      return error instanceof ConfigError ? error.message : "the file cannot be used";
    }
  }

  #report(problem: string): void {
    const leftOut = this.#throttle.admit(problem);
    if (leftOut === undefined) return;
    this.#say(
      "error",
      { problem, left_out: leftOut },
      "the API key file cannot be used; the last good keys stay in use",
    );
  }

  /** Not an error: one permission that grants nothing must not take the other keys away. */
  #tellMalformed(): void {
    const malformed = malformedPermissionsIn(this.#records);
    if (malformed.length === 0) return;
    this.#say(
      "warn",
      { problems: malformed.slice(0, maxTold), left_out: Math.max(0, malformed.length - maxTold) },
      "permissions in the API key file grant nothing; the keys are in use without them",
    );
  }

  #say(level: "info" | "warn" | "error", facts: Readonly<Record<string, unknown>>, message: string): void {
    try {
      this.#logger?.[level]({ path: this.#path, ...facts }, message);
    } catch {
      // A logger that throws has nobody left to tell, and this runs in a timer.
    }
  }
}
