// Takes files over whenever they change.
import { FileWatch } from "./file-watch.ts";
import { SecondLook, type SecondLookOptions } from "./second-look.ts";

export interface FileReloadOptions extends SecondLookOptions {
  /** Called from time to time. */
  readonly onTick?: () => void;
}

export class FileReload {
  readonly #options: FileReloadOptions;
  readonly #look: SecondLook;
  #watch: FileWatch | undefined = undefined;
  #watched = "";

  constructor(options: FileReloadOptions) {
    this.#options = options;
    this.#look = new SecondLook(options);
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
    this.#look.stop();
  }

  /** While nothing is watched there is no second look. */
  look(): void {
    this.#look.look();
    if (this.#watch === undefined) this.#look.stop();
  }
}
