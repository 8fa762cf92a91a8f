// Options are checked where they are handed in: one way to do it, one kind of error.
import { z } from "zod";
import { ConfigError } from "../grpc/errors.ts";
import { didYouMean } from "./nearest-name.ts";
import { maxTimerMs } from "./timer.ts";

/** A time for which a timer may wait. */
export const milliseconds: z.ZodInt = z.int().min(1).max(maxTimerMs);

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
  const result = schema.safeParse(options, { error: inOurWords });
  if (result.success) return result.data;
  throw new ConfigError(withoutRenamed(result.error.issues.flatMap((issue) => describeIssue(issue, where))), {
    cause: result.error,
  });
}

/** An option under a wrong name is unknown and, under its right name, missing: the first says both. */
function withoutRenamed(problems: readonly string[]): readonly string[] {
  const renamed = problems.flatMap((problem) => {
    const [, parent = "", name] =
      /^((?:[^:]*\.)?)[^.:]+: unknown option; did you mean "(.*)"\?$/.exec(problem) ?? [];
    return name === undefined ? [] : [`${parent}${name}: `];
  });
  return problems.filter(
    (problem) => !(problem.endsWith("; it is missing") && renamed.some((start) => problem.startsWith(start))),
  );
}

/** An object of options of which each may also be given as `undefined`, which means that it is not given. */
export type OrUndefined<Options> = { readonly [Name in keyof Options]: Options[Name] | undefined };

/** What is given as `undefined` is not there afterwards: libraries look whether an option is there. */
export function withoutUndefined<Options extends object>(options: OrUndefined<Options>): Options {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Options;
}

/** What an issue says where its schema says nothing of its own. Undefined: what zod says. */
function inOurWords(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case "unrecognized_keys":
      return unknownOptions(issue);
    case "invalid_type":
      return `expected ${kinds.get(issue.expected) ?? issue.expected}${insteadOf(issue.expected, issue.input)}`;
    case "invalid_value":
      return expectedValue(issue.values, issue.input);
    case "too_small":
      return tooSmall(issue);
    case "too_big":
      return tooBig(issue);
    case "invalid_union":
      return expectedBy(issue);
    default:
      return undefined;
  }
}

/** By zod's names and those of `typeof`. */
const kinds: ReadonlyMap<string, string> = new Map([
  ["array", "a list"],
  ["boolean", "true or false"],
  ["date", "a Date"],
  ["function", "a function"],
  ["int", "a whole number"],
  ["nan", "NaN"],
  ["null", "null"],
  ["number", "a number"],
  ["object", "an object"],
  ["record", "an object"],
  ["string", "text"],
  ["tuple", "a list"],
]);

/** The kind of what was given, never the value. */
function insteadOf(expected: string, input: unknown): string {
  if (input === undefined) return "; it is missing";
  // Of the right kind all the same: 1.5 in place of a whole number, a date that is none.
  const kind = kindOf(input);
  if (kind === expected || (kind === "number" && expected === "int")) return "";
  const advice = expected === "array" && kind === "string" ? ': write ["…"]' : "";
  return `, not ${kinds.get(kind) ?? `a ${kind}`}${advice}`;
}

function kindOf(input: unknown): string {
  if (input === null) return "null";
  if (Array.isArray(input)) return "array";
  if (Number.isNaN(input)) return "nan";
  return input instanceof Date ? "date" : typeof input;
}

function expectedValue(values: readonly unknown[], input: unknown): string {
  const named = values.map((value) => JSON.stringify(value));
  const hint =
    typeof input === "string"
      ? didYouMean(
          input,
          values.filter((value) => typeof value === "string"),
        )
      : "";
  return `expected ${named.length === 1 ? "" : "one of "}${named.join(", ")}${hint}`;
}

type RawIssue<Code extends z.core.$ZodRawIssue["code"]> = Extract<
  z.core.$ZodRawIssue,
  { readonly code: Code }
>;

function tooSmall({ origin, minimum, inclusive }: RawIssue<"too_small">): string {
  if (origin === "string" && Number(minimum) === 1) return "expected a string that is not empty";
  const unit = unitOf(origin, minimum);
  if (unit !== undefined) return `expected at least ${minimum} ${unit}`;
  return inclusive === false ? `must be more than ${minimum}` : `must be at least ${minimum}`;
}

function tooBig({ origin, maximum, inclusive }: RawIssue<"too_big">): string {
  const unit = unitOf(origin, maximum);
  if (unit !== undefined) return `expected at most ${maximum} ${unit}`;
  return inclusive === false ? `must be less than ${maximum}` : `must be at most ${maximum}`;
}

/** Undefined for a number. */
function unitOf(origin: string, count: number | bigint): string | undefined {
  if (origin === "string") return Number(count) === 1 ? "character" : "characters";
  if (origin === "array") return Number(count) === 1 ? "entry" : "entries";
  return undefined;
}

/**
 * zod's message for unknown keys, one line for each of them. Written here because the schema, which knows the names that
 * there are, is at hand only while zod makes the issue.
 */
function unknownOptions(issue: RawIssue<"unrecognized_keys">): string {
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
  }
  return [`${path || "options"}: ${issue.message}`];
}

type UnionIssue = Pick<Extract<z.core.$ZodIssue, { readonly code: "invalid_union" }>, "errors">;

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
