// Where a claim stands in a token: its name, or a dotted path through objects.
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
