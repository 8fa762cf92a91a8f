// The methods that `validation` names must exist, and a validator must be able to check all there are: what is misspelt, or not
// described, would protect nothing.
import { ConfigError } from "../grpc/errors.ts";
import type { MethodInfo } from "../grpc/method.ts";
import { explainNoMatch } from "../middleware/authorization/rule-path.ts";
import { MessageChecks, type ValidationOptions } from "../middleware/validation/message-checks.ts";
import { isValidator, type Validator } from "../middleware/validation/validator.ts";

/** The checks of the messages of a server, made ready when its methods are known. */
export class ValidatedMethods {
  readonly checks: MessageChecks;
  readonly #named: readonly string[];

  constructor(validation: ValidationOptions | Validator) {
    this.checks = new MessageChecks(validation);
    this.#named = isValidator(validation) ? [] : Object.keys(validation);
  }

  /** @throws {ConfigError} with every path that is no registered method, and the nearest one; and what a validator throws. */
  check(methods: readonly MethodInfo[]): void {
    const known = new Set(methods.map(({ path }) => path));
    const wrong = this.#named.filter((path) => !known.has(path));
    if (wrong.length > 0)
      throw new ConfigError(wrong.map((path) => `validation.${explainNoMatch(path, methods)}`));
    this.checks.prepare(methods);
  }
}
