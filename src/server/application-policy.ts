// The application's policy, checked against its methods and authenticators; what looks like a mistake is logged.
import type { Logger } from "pino";
import type { MethodInfo } from "../grpc/method.ts";
import type { Authenticator } from "../middleware/authentication/authenticator.ts";
import type { Authorizer, Policy } from "../middleware/authorization/authorizer.ts";

export interface PolicySurroundings {
  readonly methods: readonly MethodInfo[];
  readonly authentication: Authenticator;
  readonly logger: Logger;
}

/** @throws {PolicyError} where it does not fit the methods, or demands callers that there cannot be. */
export function compilePolicy(
  authorizer: Authorizer,
  { methods, authentication: { schemes, actorSchemes }, logger }: PolicySurroundings,
): Policy {
  const policy = authorizer.compile(methods, { schemes, actorSchemes });
  for (const warning of policy.warnings ?? []) logger.warn(`authorization: ${warning}`);
  return policy;
}
