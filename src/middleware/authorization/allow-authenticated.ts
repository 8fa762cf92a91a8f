// The smallest policy: whoever is identified may call everything.
import type { MethodInfo } from "../../grpc/method.ts";
import type { Authorizer, Decision, MethodPolicy, Policy } from "./authorizer.ts";

const allowed: Decision = Object.freeze({ effect: "allow", rule: "allow-authenticated" });
const denied: Decision = Object.freeze({
  effect: "deny",
  rule: "allow-authenticated",
  reason: "needs a verified caller",
});

const identifiedOnly: MethodPolicy = Object.freeze<MethodPolicy>({
  access: "checked",
  decide: ({ principal }) => (principal === undefined || principal.kind === "anonymous" ? denied : allowed),
  describe: () => ({ rule: "allow-authenticated", roles: "every verified caller" }),
});

/**
 * Allows every verified caller every method, explicitly: there is no authorization beyond
 * authentication. Anonymous callers are refused.
 */
export function allowAuthenticated(): Authorizer {
  return Object.freeze({
    name: "allow-authenticated",
    compile(methods: readonly MethodInfo[]): Policy {
      const paths = new Set(methods.map((method) => method.path));
      return Object.freeze({ forMethod: (path: string) => (paths.has(path) ? identifiedOnly : undefined) });
    },
  });
}
