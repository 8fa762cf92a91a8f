// A policy of `rbac` in a JSON file: `{ "roles": { … }, "rules": { … } }`.
import { readFileSync } from "node:fs";
import { ConfigError, PolicyError } from "../grpc/errors.ts";
import { type RbacAuthorizer, rbac } from "../middleware/authorization/rbac.ts";

/**
 * @throws {ConfigError} where the file cannot be read, is not JSON, or has not the shape of `rbac`'s options. Every problem
 * names the file, those of a `PolicyError` from `compile` too.
 */
export function readRbacFile(path: string): RbacAuthorizer {
  const policy = naming(path, () => rbac(JSON.parse(readFileSync(path, "utf8"))));
  return {
    name: policy.name,
    compile: (methods, callers) => naming(path, () => policy.compile(methods, callers)),
  };
}

function naming<Result>(path: string, read: () => Result): Result {
  try {
    return read();
  } catch (error) {
    throw named(path, error);
  }
}

function named(path: string, error: unknown): unknown {
  if (error instanceof PolicyError) return new PolicyError(error.problems.map((one) => `${path}: ${one}`));
  if (error instanceof ConfigError)
    return new ConfigError(
      error.problems.map((one) => `${path}: ${one}`),
      { cause: error },
    );
  if (error instanceof SyntaxError)
    return new ConfigError(`${path}: is not JSON: ${error.message}`, { cause: error });
  if (!(error instanceof Error)) return error;
  return new ConfigError(`${path}: cannot be read: ${error.message}`, { cause: error });
}
