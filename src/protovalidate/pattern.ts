// Regular expressions of rules: are they RE2, and what do they cost.
import { packages } from "./packages.ts";

/** Undefined where RE2 takes the pattern. */
export function patternProblem(pattern: string): string | undefined {
  const { cel } = packages();
  const result = cel.run("''.matches(pattern)", { pattern });
  return cel.isCelError(result)
    ? `the pattern ${JSON.stringify(pattern)} is not RE2: ${result.message}`
    : undefined;
}

/** What RE2 takes for a character: more for each state that the pattern may be in. */
export function stepsPerCharacterOf(pattern: string): number {
  return 0.25 + patternSize(pattern) / 32;
}

/**
 * How many states the automaton of a pattern has, about: RE2 takes time for each of them and each character at most. Counted
 * repetitions (`{1,100}`) are written out; those that RE2 accepts multiply to 1,000 at most.
 */
export function patternSize(pattern: string): number {
  return new PatternReader(pattern).alternatives();
}

const repetition = /\{(\d{1,4})(?:(,)(\d{0,4}))?\}/y;

class PatternReader {
  readonly #pattern: string;
  #at = 0;

  constructor(pattern: string) {
    this.#pattern = pattern;
  }

  /** Up to the end of the group, or of the pattern. */
  alternatives(): number {
    let size = 1;
    while (this.#at < this.#pattern.length && this.#pattern[this.#at] !== ")") {
      const one = this.#one();
      size += one * this.#times();
    }
    return size;
  }

  #one(): number {
    const first = this.#pattern[this.#at++];
    switch (first) {
      case "\\":
        this.#at += 1;
        return 1;
      case "[":
        this.#skipClass();
        return 1;
      case "(": {
        const size = this.alternatives();
        this.#at += 1;
        return size;
      }
      default:
        return 1;
    }
  }

  #skipClass(): void {
    if (this.#pattern[this.#at] === "^") this.#at += 1;
    // A bracket that comes first is of the class.
    if (this.#pattern[this.#at] === "]") this.#at += 1;
    while (this.#at < this.#pattern.length && this.#pattern[this.#at] !== "]")
      this.#at += this.#pattern[this.#at] === "\\" ? 2 : 1;
    this.#at += 1;
  }

  #times(): number {
    repetition.lastIndex = this.#at;
    const found = repetition.exec(this.#pattern);
    if (found === null) return 1;
    this.#at += found[0].length;
    const [, least = "0", , most = ""] = found;
    return Math.max(1, Number(least) + 1, Number(most));
  }
}
