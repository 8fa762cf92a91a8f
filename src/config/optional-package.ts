// The one place that loads packages which not every user installs: optional peers, each needed by one part.
import { createRequire } from "node:module";
import { ConfigError } from "../grpc/errors.ts";

export interface OptionalPackage {
  /** The part that needs it, as its user knows it: an option, a command, a path of the package. */
  readonly neededBy: string;
  /** What is missing where this is, as arguments of `npm install`. */
  readonly install: string;
}

/**
 * Loads a package at the moment when it is needed, so that who does not need it need not have it.
 * @throws {ConfigError} where it, or a package that it needs, is not installed: which one, for what, and what to type.
 */
export function loadOptional(
  name: string,
  { neededBy, install }: OptionalPackage,
  load: (name: string) => unknown = createRequire(import.meta.url),
): unknown {
  try {
    return load(name);
  } catch (cause) {
    const missing = missingPackage(cause, name);
    if (missing === undefined) throw cause;
    throw new ConfigError(
      `${neededBy}: needs the package ${missing}, which is not installed; install it (npm install ${install})`,
      { cause },
    );
  }
}

/** A file of its own that a package misses is another matter: npm's installation is broken. */
function missingPackage(error: unknown, name: string): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const found = /^Cannot find (?:module|package)(?: '([^']+)')?/.exec(error.message);
  if (found === null) return undefined;
  const missing = found[1] ?? name;
  return /^[./\\]|^[a-z]:/i.test(missing) ? undefined : missing;
}
