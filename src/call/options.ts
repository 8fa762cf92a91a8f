// Options are checked where they are handed in: one way to do it, one kind of error.
import { z } from "zod";
import { ConfigError } from "./errors.ts";
import { didYouMean } from "./nearest-name.ts";

/**
 * Checks `options` against `schema` and fills in the defaults. `where` leads the path in the error: `rateLimit` gives
 * `rateLimit.perPeer.points: …`. Throws `ConfigError` with every problem at once; values are never shown, because an
 * option may be a secret. The name of an unknown option is told with the nearest one that there is.
 */
export function parseOptions<S extends z.ZodType>(schema: S, options: unknown, where: string): z.output<S> {
  const result = schema.safeParse(options, { error: unknownOptions });
  if (result.success) return result.data;
  throw new ConfigError(
    result.error.issues.flatMap((issue) => describeIssue(issue, where)),
    { cause: result.error },
  );
}

/**
 * zod's message for unknown keys, one line for each of them. Written here because the schema, which knows the names that
 * there are, is at hand only while zod makes the issue.
 */
function unknownOptions(issue: z.core.$ZodRawIssue): string | undefined {
  if (issue.code !== "unrecognized_keys") return undefined;
  const known = issue.inst instanceof z.ZodObject ? acceptedIn(issue.inst) : [];
  return issue.keys.map((key) => `unknown option${didYouMean(key, known)}`).join("\n");
}

/** A name that is known only to be refused is no name to mean. */
function acceptedIn({ shape }: z.ZodObject): readonly string[] {
  return Object.keys(shape).filter((key) => !isRefused(shape[key]));
}

function isRefused(schema: unknown): boolean {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodExactOptional)
    return isRefused(schema.unwrap());
  return schema instanceof z.ZodNever;
}

function describeIssue(issue: z.core.$ZodIssue, where: string): string[] {
  const path = [where, ...issue.path.map(String)].filter((part) => part !== "").join(".");
  if (issue.code === "unrecognized_keys") {
    const told = issue.message.split("\n");
    return issue.keys.map((key, index) => `${path === "" ? key : `${path}.${key}`}: ${told[index]}`);
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
