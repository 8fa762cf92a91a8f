// The methods that `validation` names must exist: a schema for a misspelt method would protect nothing.
import { ConfigError } from "../grpc/errors.ts";
import type { MethodInfo } from "../grpc/method.ts";
import { explainNoMatch } from "../middleware/authorization/rule-path.ts";
import type { ValidationOptions } from "../middleware/validation/validation.ts";

/** @throws {ConfigError} with every path that is no registered method, and the nearest one. */
export function checkValidatedMethods(schemas: ValidationOptions, methods: readonly MethodInfo[]): void {
  const known = new Set(methods.map(({ path }) => path));
  const wrong = Object.keys(schemas).filter((path) => !known.has(path));
  if (wrong.length > 0)
    throw new ConfigError(wrong.map((path) => `validation.${explainNoMatch(path, methods)}`));
}
