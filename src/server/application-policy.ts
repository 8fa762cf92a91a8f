// The application's policy, checked against its methods and authenticators; what looks like a mistake is logged.
import type { Logger } from "pino";
import { forwardedScheme } from "../chain/principal.ts";
import type { MethodInfo } from "../grpc/method.ts";
import type { Authenticator } from "../middleware/authentication/authenticator.ts";
import type { Authorizer, CallerSchemes, Policy } from "../middleware/authorization/authorizer.ts";

export interface PolicySurroundings {
  readonly methods: readonly MethodInfo[];
  readonly authentication: Authenticator;
  readonly trustedActors: readonly string[];
  readonly logger: Logger;
}

/** @throws {PolicyError} where it does not fit the methods, or demands callers that there cannot be. */
export function compilePolicy(authorizer: Authorizer, surroundings: PolicySurroundings): Policy {
  const { methods, logger } = surroundings;
  const policy = authorizer.compile(methods, callerSchemes(surroundings));
  try {
    for (const warning of policy.warnings ?? []) logger.warn(`authorization: ${warning}`);
  } catch {
    // A logger that throws must not keep a policy from coming into force, and nobody else is left to be told.
  }
  return policy;
}

/** A trusted actor that calls in its own name may also name a user, and is then the actor. */
function callerSchemes({ authentication, trustedActors }: PolicySurroundings): CallerSchemes {
  const { schemes, actorSchemes } = authentication;
  if (trustedActors.length === 0 || schemes === undefined) return { schemes, actorSchemes };
  return {
    schemes: [...schemes, forwardedScheme],
    actorSchemes: actorSchemes === undefined ? undefined : [...actorSchemes, ...schemes],
  };
}
