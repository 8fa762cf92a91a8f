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

/** Conditions are stricter when the server starts: cel-go takes the expression, and here it is refused for this reason. */
function refusedHere(why: string, problem: RegExp, text = /^/): IntendedDifference {
  return {
    why,
    fits: ({ go, ours, text: written }) =>
      go.refused === "" && problem.test(ours.refused) && text.test(written),
  };
}

/** Where the results differ, cel-go has a value and here it is this error. */
function errorHere(why: string, error: RegExp, text = /^/): IntendedDifference {
  return {
    why,
    fits: ({ go, ours, text: written }) =>
      go.refused === "" &&
      ours.refused === "" &&
      text.test(written) &&
      ours.results.every((result, i) => result === go.results[i] || result.startsWith("error: ")) &&
      ours.results.some((result) => error.test(result)),
  };
}

/** Of these expressions alone. */
function ofText(why: string, ...texts: readonly string[]): IntendedDifference {
  return { why, fits: ({ text }) => texts.includes(text) };
}

export const intendedDifferences: readonly IntendedDifference[] = [
  refusedHere(
    "conditions do not know types",
    /there is no function type |there is no variable (?:int|string) /,
  ),
  refusedHere("conditions do not know time zones", /get[A-Za-z]+ cannot take timestamp and string/),
  refusedHere(
    "implementations differ in the milliseconds of a duration",
    /getMilliseconds cannot take duration/,
  ),
  refusedHere("implementations differ in the number that a duration is", /int cannot take duration/),
  refusedHere("a pattern is checked when the server starts", /the pattern is not RE2/),
  refusedHere(
    "a pattern stands in the condition as text",
    /matches needs a pattern that stands in the condition/,
  ),
  refusedHere(
    "a condition reads the metadata that is named alone",
    /is not among the names of the option metadata/,
  ),
  refusedHere("a condition cannot make messages", /a condition cannot make messages/),
  refusedHere("variables of ours are read by their fields", /== cannot take principal and principal/),
  refusedHere("a map without text keys has no fields", /map\(int, string\) has no fields/),
  refusedHere("a key of a map is int, uint, bool or string, as the language says", /a key of a map is int/),
  refusedHere("the parser has no names in backquotes", /is no expression/, /`/),
  refusedHere("the parser has no comments", /is no expression/, /\/\//),
  errorHere("a map with one key twice is an error, as the suite says", /map key conflict/),
  errorHere("a key of a map that turns out to be null is an error", /unsupported key type/),
  errorHere(
    "the fields of a message have names",
    /\[…\] reads lists and maps/,
    /^dyn\(request\.part\)\['owner'\]/,
  ),
  errorHere("the text of a double is decimal", /double: not a number/, /double\("(?:1_000|0x1p4)"\)/),
  ofText(
    "an int and a double are equal where they are one number",
    "dyn(9007199254740993) == 9007199254740992.0",
    "dyn(9223372036854775807) == 9223372036854775807.0",
  ),
  ofText(
    "a timestamp has no time zone",
    'string(timestamp("2026-03-04T05:06:07+02:00")) == "2026-03-04T05:06:07+02:00"',
    'string(timestamp("2026-03-04T05:06:07-23:59")) == "2026-03-04T05:06:07-23:59"',
  ),
  ofText("a message with NaN in it is equal to itself", "request == request"),
  ofText(
    "cel-go takes a longer duration for the longest that it has",
    "request.lasts.getHours() == -2562047",
  ),
  {
    why: "what is added to dyn(null) may be of any type",
    fits: ({ text, go, ours }) =>
      /\+ dyn\(null\)/.test(text) &&
      go.refused !== "" &&
      ours.results.every((result) => result.startsWith("error: ")),
  },
  {
    why: "an Any in a list or in a map is not unpacked",
    fits: ({ text }) => /\.(?:repeated|map_bool)_any == /.test(text),
  },
];
