// Takes files over whenever they change. What cannot be used is looked at once more before it is told: a file may still be being
// written.
import { FileWatch } from "./file-watch.ts";

export interface FileReloadOptions {
  /**
   * Takes over what the files hold now. Returns what is wrong with them; undefined where what they hold is in use. `hadProblem`:
   * something wrong was told before.
   */
  readonly takeOver: (hadProblem: boolean) => string | undefined;
  /** Told of a problem once, until it is another one or gone. */
  readonly onProblem: (problem: string) => void;
  /** Called from time to time. */
  readonly onTick?: () => void;
}

const secondLookMs = 400;

export class FileReload {
  readonly #options: FileReloadOptions;
  #watch: FileWatch | undefined = undefined;
  #watched = "";
  #secondLook: NodeJS.Timeout | undefined = undefined;
  /** What was told. */
  #problem: string | undefined = undefined;

  constructor(options: FileReloadOptions) {
    this.#options = options;
  }

  get isWatching(): boolean {
    return this.#watch !== undefined;
  }

  /** Watches these files from now on. What changed since they were read is seen soon: the first look counts as a change. */
  watch(paths: readonly string[]): void {
    const watched = paths.join("\n");
    if (this.#watch !== undefined && watched === this.#watched) return;
    this.#watch?.stop();
    this.#watched = watched;
    const { onTick } = this.#options;
    this.#watch = new FileWatch({
      paths,
      onChange: () => this.look(),
      ...(onTick === undefined ? {} : { onTick }),
    });
  }

  stop(): void {
    this.#watch?.stop();
    this.#watch = undefined;
    clearTimeout(this.#secondLook);
    this.#secondLook = undefined;
  }

  look(): void {
    clearTimeout(this.#secondLook);
    this.#secondLook = undefined;
    const problem = this.#takeOver();
    if (problem === undefined || problem === this.#problem || this.#watch === undefined) return;
    this.#secondLook = setTimeout(() => {
      this.#secondLook = undefined;
      const still = this.#takeOver();
      if (still === undefined || still === this.#problem) return;
      this.#problem = still;
      this.#options.onProblem(still);
    }, secondLookMs).unref();
  }

  /** A throw would end the process: this runs in timers. */
  #tryToTakeOver(): string | undefined {
    try {
      return this.#options.takeOver(this.#problem !== undefined);
    } catch {
      return "the files cannot be used";
    }
  }

  #takeOver(): string | undefined {
    const problem = this.#tryToTakeOver();
    if (problem === undefined) this.#problem = undefined;
    return problem;
  }
}
