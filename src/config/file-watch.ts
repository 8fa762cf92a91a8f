// Notices when files change: written in place, renamed over, or swapped by a symbolic link, as Kubernetes does with the
// secrets that it mounts.
import { type FSWatcher, watch } from "node:fs";
import { stat } from "node:fs/promises";
import { dirname } from "node:path";

export interface FileWatchOptions {
  readonly paths: readonly string[];
  /** The files changed, or may have. */
  readonly onChange: () => void;
  /** Called as often as the files are looked at: for what else is to be done from time to time. */
  readonly onTick?: () => void;
}

/** How long after the first sign of a change the files are read: who replaces two has time for the second. */
const settleMs = 100;
/** How often the files are looked at beside: some file systems (networks, some containers) give no events. */
const pollMs = 5_000;

/**
 * Watches the directories of the files, because a watch on a file stays with what was renamed away. What happens behind a
 * symbolic link elsewhere gives no event here; a look at the files every five seconds sees it. Nothing of it keeps the
 * process alive.
 */
export class FileWatch {
  readonly #options: FileWatchOptions;
  readonly #directories: readonly string[];
  readonly #watchers: Map<string, FSWatcher> = new Map();
  readonly #timer: NodeJS.Timeout;
  #settling: NodeJS.Timeout | undefined = undefined;
  #seen: string | undefined = undefined;
  #stopped = false;

  constructor(options: FileWatchOptions) {
    this.#options = options;
    this.#directories = [...new Set(options.paths.map((path) => dirname(path)))];
    this.#watchDirectories();
    this.#timer = setInterval(() => this.#tick(), pollMs).unref();
    this.#look();
  }

  stop(): void {
    this.#stopped = true;
    clearInterval(this.#timer);
    clearTimeout(this.#settling);
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
  }

  #tick(): void {
    this.#options.onTick?.();
    this.#watchDirectories();
    this.#look();
  }

  #watchDirectories(): void {
    for (const directory of this.#directories) {
      if (this.#watchers.has(directory)) continue;
      try {
        const watcher = watch(directory, { persistent: false }, () => this.#settle());
        const forget = (): void => {
          watcher.close();
          if (this.#watchers.get(directory) === watcher) this.#watchers.delete(directory);
        };
        watcher.on("error", forget);
        this.#watchers.set(directory, watcher);
      } catch {
        // No such directory now, or no watches left on this machine: the looks go on, and try again.
      }
    }
  }

  #settle(): void {
    if (this.#stopped || this.#settling !== undefined) return;
    this.#settling = setTimeout(() => {
      this.#settling = undefined;
      this.#look();
    }, settleMs).unref();
  }

  /** The first look counts as a change: the files were read before it. */
  #look(): void {
    if (this.#options.paths.length === 0) return;
    Promise.all(this.#options.paths.map(lookAt)).then((states) => {
      if (this.#stopped) return;
      const now = states.map(({ print }) => print).join(" ");
      const justChanged = states.some(({ changedMs }) => Date.now() - changedMs < clockStepMs);
      if (now === this.#seen && !justChanged) return;
      this.#seen = now;
      this.#options.onChange();
    });
  }
}

/** Within one step of a file system's clock a second change leaves no trace in a file's times. */
const clockStepMs = 1_000;

interface FileState {
  /** What tells one state of a file from another, links followed. */
  readonly print: string;
  readonly changedMs: number;
}

function lookAt(path: string): Promise<FileState> {
  return stat(path, { bigint: true }).then(
    ({ dev, ino, size, mtimeNs, ctimeNs, ctimeMs }) => ({
      print: `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`,
      changedMs: Number(ctimeMs),
    }),
    () => ({ print: "none", changedMs: 0 }),
  );
}
