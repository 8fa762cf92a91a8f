// The application's policy, on every road: checked against its methods, what looks like a mistake in it said.
import type { Logger } from "pino";
import type { MethodInfo } from "../call/method.ts";
import type { Authorizer, Policy } from "../middleware/authorization/authorizer.ts";

/** @throws {PolicyError} where it does not fit the methods. */
export function compilePolicy(
  authorizer: Authorizer,
  { methods, logger }: { readonly methods: readonly MethodInfo[]; readonly logger: Logger },
): Policy {
  const policy = authorizer.compile(methods);
  for (const warning of policy.warnings ?? []) logger.warn(`authorization: ${warning}`);
  return policy;
}
