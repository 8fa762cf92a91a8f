// The text of a `when` that stands in a file or in the .proto, made into a condition by what understands it.
import { z } from "zod";
import { ConfigError } from "../../grpc/errors.ts";
import { type Condition, isCondition, type When } from "./condition.ts";

/** Makes a condition of a text, as `cel` of `grpc-palisade/cel` does. */
export type ConditionOfText = (text: string) => When | Condition;

/** The shape of the option `condition`. */
export const conditionOfTextSchema: z.ZodType<ConditionOfText> = z.custom<ConditionOfText>(
  (value) => typeof value === "function",
  { error: "expected a function that makes a condition of a text, such as cel of grpc-palisade/cel" },
);

export interface PlaceOfText {
  /** Of the text: leads every problem. */
  readonly where: string;
  readonly condition: ConditionOfText | undefined;
  /** How the option `condition` is given here. */
  readonly option: string;
}

/**
 * @throws {ConfigError} where there is no `condition`, where it finds a mistake in the text, and where it returns no condition:
 * a rule without the condition that stands in it would allow more than it says.
 */
export function conditionOfText(text: string, { where, condition, option }: PlaceOfText): When | Condition {
  if (condition === undefined)
    throw new ConfigError(`${where}: needs what understands it: ${option} with cel of grpc-palisade/cel`);
  const made = madeBy(condition, text, where);
  if (typeof made === "function" || isCondition(made)) return made;
  throw new ConfigError(
    `${where}: the function of the option condition returned no condition; return a function, or a condition such as cel(…)`,
  );
}

function madeBy(condition: ConditionOfText, text: string, where: string): When | Condition {
  try {
    return condition(text);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new ConfigError(
      error.problems.map((problem) => `${where}: ${problem}`),
      { cause: error },
    );
  }
}
