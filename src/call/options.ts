// Options are checked where they are handed in: one way to do it, one kind of error.
import { z } from "zod";
import { ConfigError } from "./errors.ts";
import { didYouMean } from "./nearest-name.ts";
import { longestTimerMs } from "./timer.ts";

/** A time for which a timer may wait. */
export const milliseconds: z.ZodInt = z.int().min(1).max(longestTimerMs);

/** An option that is known and not accepted, with what to do instead. */
export function refused(advice: string): z.ZodOptional<z.ZodNever> {
  return z.never({ error: `not accepted: ${advice}` }).optional();
}

/** Options in which every default has been filled in. */
export type Filled<Options> = { readonly [Name in keyof Options]-?: Exclude<Options[Name], undefined> };

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

/** An object of options of which each may also be given as `undefined`, which means that it is not given. */
export type OrUndefined<Options> = { readonly [Name in keyof Options]: Options[Name] | undefined };

/** What is given as `undefined` is not there afterwards: libraries look whether an option is there. */
export function withoutUndefined<Options extends object>(options: OrUndefined<Options>): Options {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Options;
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
    const told = meantIn(issue).flatMap((inner) =>
      describeIssue({ ...inner, path: [...issue.path, ...inner.path] }, where),
    );
    if (told.length > 0) return [...new Set(told)];
    return [`${path || "options"}: ${expectedBy(issue) ?? issue.message}`];
  }
  return [`${path || "options"}: ${issue.message}`];
}

type UnionIssue = Extract<z.core.$ZodIssue, { readonly code: "invalid_union" }>;

/** The problems of the forms that were meant: those whose kind the value has. None where it has the kind of no form. */
function meantIn({ errors }: UnionIssue): readonly z.core.$ZodIssue[] {
  return errors.filter((issues) => !issues.some(isOfAnotherKind)).flat();
}

/** An object in place of `false`, a text in place of an object: about the value itself, not about something in it. */
function isOfAnotherKind({ code, path }: z.core.$ZodIssue): boolean {
  return path.length === 0 && (code === "invalid_type" || code === "invalid_value");
}

/** `expected object or false`: what the value might have been, in one line. */
function expectedBy({ errors }: UnionIssue): string | undefined {
  const forms = errors.flat().flatMap((issue) => {
    if (issue.code === "invalid_type") return [issue.expected];
    return issue.code === "invalid_value" ? issue.values.map((value) => JSON.stringify(value)) : [];
  });
  return forms.length === 0 ? undefined : `expected ${[...new Set(forms)].join(" or ")}`;
}
