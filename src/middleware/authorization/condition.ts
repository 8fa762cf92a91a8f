// The condition of a rule: a function, or what is checked against each method when the policy is and then asked like one.
import type { CallContext } from "../../chain/context.ts";
import type { MethodInfo } from "../../grpc/method.ts";

/** Does the caller of this call have a right to this request, such as that to its own order? */
export type When = {
  // A method, so that a function of a narrower message type fits.
  ask(call: CallContext, request: unknown): boolean | Promise<boolean>;
}["ask"];

/** For the `when` of a rule: what a person can read, and what is made of it for each method. `cel("…")` makes one. */
export interface Condition {
  /** As the access matrix and the reason of a denial show it. Nothing secret. */
  readonly text: string;
  /**
   * Called for each method that the rule decides, when the server starts; what it returns is asked of each request message.
   * @throws {PolicyError} where the condition does not fit the method, with every problem. The rule's path is put before each.
   */
  compile(method: MethodInfo): When;
}

/** What somebody handed in, who may have no types. */
export function isCondition(value: unknown): value is Condition {
  if (typeof value !== "object" || value === null) return false;
  const { text, compile }: { readonly [Member in keyof Condition]?: unknown } = value;
  return typeof text === "string" && typeof compile === "function";
}
