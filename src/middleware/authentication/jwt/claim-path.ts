// Where a claim stands in a token: its name, or a dotted path through objects.
import { z } from "zod";
import { isObject } from "./json-object.ts";

export interface ClaimPath {
  /** As it was given. */
  readonly text: string;
  readonly names: readonly string[];
}

/** A backslash before a dot or a backslash takes it as a character of the name. Undefined where it stands before another. */
export function parseClaimPath(text: string): ClaimPath | undefined {
  const names: string[] = [];
  let name = "";
  for (let at = 0; at < text.length; at++) {
    const character = text.charAt(at);
    if (character === ".") {
      names.push(name);
      name = "";
      continue;
    }
    if (character !== "\\") {
      name += character;
      continue;
    }
    at += 1;
    const escaped = text.charAt(at);
    if (escaped !== "." && escaped !== "\\") return undefined;
    name += escaped;
  }
  return { text, names: [...names, name] };
}

/**
 * A claim of exactly this name (`https://example.com/roles` has dots), else what the path leads to. Own properties only, so
 * that `constructor` or `__proto__` in a path finds nothing. Null is as good as absent.
 */
export function readClaim(claims: Readonly<Record<string, unknown>>, { text, names }: ClaimPath): unknown {
  if (Object.hasOwn(claims, text)) return claims[text] ?? undefined;
  let value: unknown = claims;
  for (const name of names) {
    if (!isObject(value) || !Object.hasOwn(value, name)) return undefined;
    value = value[name];
  }
  return value ?? undefined;
}

/** The option that names a claim. */
export const claimPathSchema: z.ZodString = z
  .string()
  .min(1, "expected a string that is not empty")
  .refine(
    (path) => parseClaimPath(path) !== undefined,
    "a backslash stands before a dot or a backslash that belongs to a claim's name",
  );

/** The option that names one claim or several. */
export const claimPathsSchema: z.ZodUnion<readonly [z.ZodString, z.ZodArray<z.ZodString>]> = z.union([
  claimPathSchema,
  z.array(claimPathSchema).min(1, "expected at least one claim"),
]);

/** The path of an option that was checked. */
export function pathOf(text: string): ClaimPath {
  return parseClaimPath(text) ?? { text, names: [text] };
}

export function pathsOf(texts: string | readonly string[]): readonly ClaimPath[] {
  return [texts].flat().map(pathOf);
}
