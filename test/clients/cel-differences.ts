// Where conditions are meant to differ from cel-go, and why. Each entry is needed: one that meets no difference is a mistake.

/** What one side makes of an expression: why it is refused, or true, false or an error for each input. */
export interface Verdict {
  /** Empty: it is not. */
  readonly refused: string;
  readonly results: readonly string[];
}

export interface Difference {
  readonly text: string;
  readonly go: Verdict;
  readonly ours: Verdict;
}

export interface IntendedDifference {
  readonly why: string;
  readonly fits: (difference: Difference) => boolean;
}

/** Conditions are stricter: cel-go takes the expression, and here it is refused for this reason. */
function refusedHere(why: string, problem: RegExp): IntendedDifference {
  return { why, fits: ({ go, ours }) => go.refused === "" && problem.test(ours.refused) };
}

export const intendedDifferences: readonly IntendedDifference[] = [
  refusedHere("a condition cannot make messages", /a condition cannot make messages/),
];
