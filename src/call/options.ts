// Options are checked where they are handed in: one way to do it, one kind of error.
import { z } from "zod";
import { ConfigError } from "./errors.ts";
import { longestTimerMs } from "./timer.ts";

/** A time for which a timer may wait. */
export const milliseconds: z.ZodInt = z.int().min(1).max(longestTimerMs);

/** An option that is known and not accepted, with what to do instead. */
export function refused(advice: string): z.ZodExactOptional<z.ZodNever> {
  return z.never({ error: `not accepted: ${advice}` }).exactOptional();
}

/**
 * Checks `options` against `schema` and fills in the defaults. `where` leads the path in the error: `rateLimit` gives
 * `rateLimit.perPeer.points: …`. Throws `ConfigError` with every problem at once; values are never shown, because an
 * option may be a secret.
 */
export function parseOptions<S extends z.ZodType>(schema: S, options: unknown, where: string): z.output<S> {
  const result = schema.safeParse(options);
  if (result.success) return result.data;
  throw new ConfigError(
    result.error.issues.flatMap((issue) => describeIssue(issue, where)),
    { cause: result.error },
  );
}

function describeIssue(issue: z.core.$ZodIssue, where: string): string[] {
  const path = [where, ...issue.path.map(String)].filter((part) => part !== "").join(".");
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => `${path === "" ? key : `${path}.${key}`}: unknown option`);
  }
  if (issue.code === "invalid_union") {
    const branches = issue.errors.flatMap((errors) =>
      errors.flatMap((inner) =>
        describeIssue({ ...inner, path: [...issue.path, ...inner.path] } as z.core.$ZodIssue, where),
      ),
    );
    const distinct = [...new Set(branches)];
    return distinct.length === 0 ? [`${path || "options"}: ${issue.message}`] : distinct;
  }
  return [`${path || "options"}: ${issue.message}`];
}
