// What a policy answered, turned into a decision. Only `true`, or an object whose `allow` is `true`, allows.
import type { Decision } from "../middleware/authorization/authorizer.ts";

export interface PolicyAnswer {
  /** Undefined where the policy says nothing. */
  readonly result: unknown;
  /** OPA's `decision_id`. */
  readonly id?: string;
}

const members: ReadonlySet<string> = new Set(["allow", "rule", "reason"]);

/** `path`: which rule of the policy was asked. It is the decision's rule where the policy names none. */
export function decisionOf({ result, id }: PolicyAnswer, path: string): Decision {
  const own = id === undefined ? {} : { id };
  if (typeof result === "boolean") return { effect: result ? "allow" : "deny", rule: path, ...own };
  const problem = result === undefined ? `${path} is undefined` : problemOf(result);
  if (problem !== undefined) return { effect: "deny", rule: path, reason: problem, ...own };
  const { allow, rule = path, reason } = result as RuleResult;
  return {
    effect: allow === true ? "allow" : "deny",
    rule,
    ...(reason === undefined ? {} : { reason }),
    ...own,
  };
}

interface RuleResult {
  readonly allow: boolean;
  readonly rule?: string;
  readonly reason?: string;
}

/** A member that is not known may be a condition, which nobody would hold to. The value is not shown. */
function problemOf(result: unknown): string | undefined {
  const expected = "the result is neither true nor false nor { allow, rule, reason }";
  if (typeof result !== "object" || result === null || Array.isArray(result)) return expected;
  if (Object.keys(result).some((name) => !members.has(name)))
    return `${expected}: it has members with other names`;
  if (typeof Reflect.get(result, "allow") !== "boolean")
    return `${expected}: allow is neither true nor false`;
  for (const name of ["rule", "reason"] as const) {
    const value: unknown = Reflect.get(result, name);
    if (value !== undefined && (typeof value !== "string" || value === ""))
      return `${expected}: ${name} is no text, or empty`;
  }
  return undefined;
}
