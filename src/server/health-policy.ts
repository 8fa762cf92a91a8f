// Who may ask the health service what: probes pass without credentials; listing every service's status needs some.
import { healthServiceName, type MethodInfo } from "../grpc/method.ts";
import type { Decision, MethodPolicy, Policy } from "../middleware/authorization/authorizer.ts";

const listPath = "/grpc.health.v1.Health/List";

const allowed: Decision = Object.freeze({ effect: "allow", rule: listPath });
const denied: Decision = Object.freeze({ effect: "deny", rule: listPath, reason: "needs credentials" });

const listPolicy: MethodPolicy = Object.freeze({
  access: "checked",
  decide: ({ principal }) => (principal === undefined || principal.kind === "anonymous" ? denied : allowed),
  describe: () => ({ rule: listPath, roles: "every verified caller" }),
} satisfies MethodPolicy);

/** The policy speaks of the application's methods; the health service brings its own rules. */
export function isApplications({ service }: MethodInfo): boolean {
  return service !== healthServiceName;
}

/** The application's policy, with the health service's own rule beside it. */
export function withHealthPolicy(policy: Policy): Policy {
  return {
    roles: policy.roles,
    forMethod: (path) => (path === listPath ? listPolicy : policy.forMethod(path)),
  };
}
