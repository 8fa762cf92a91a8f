// Takes over what changed. What cannot be used is looked at once more before it is told: it may still be being written.

export interface SecondLookOptions {
  /**
   * Takes over what there is now. Returns what is wrong with it; undefined where it is in use. `hadProblem`: something wrong
   * was told before.
   */
  readonly takeOver: (hadProblem: boolean) => string | undefined;
  /** Told of a problem once, until it is another one or gone. */
  readonly onProblem: (problem: string) => void;
}

const secondLookMs = 400;

export class SecondLook {
  readonly #options: SecondLookOptions;
  #timer: NodeJS.Timeout | undefined = undefined;
  /** What was told. */
  #problem: string | undefined = undefined;

  constructor(options: SecondLookOptions) {
    this.#options = options;
  }

  look(): void {
    this.stop();
    const problem = this.#takeOver();
    if (problem === undefined || problem === this.#problem) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      const still = this.#takeOver();
      if (still === undefined || still === this.#problem) return;
      this.#problem = still;
      this.#options.onProblem(still);
    }, secondLookMs).unref();
  }

  /** No second look any more. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** A throw would end the process: this runs in timers. */
  #tryToTakeOver(): string | undefined {
    try {
      return this.#options.takeOver(this.#problem !== undefined);
    } catch {
      return "what is there cannot be used";
    }
  }

  #takeOver(): string | undefined {
    const problem = this.#tryToTakeOver();
    if (problem === undefined) this.#problem = undefined;
    return problem;
  }
}
