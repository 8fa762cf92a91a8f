// Credentials are welcome, not required.
import { ConfigError } from "../../grpc/errors.ts";
import { anonymousIdentity } from "./anonymous.ts";
import { type Authenticator, isAuthenticator } from "./authenticator.ts";

/**
 * A caller who presents nothing is the anonymous principal. A credential that is presented is verified, and a bad one
 * is refused.
 *
 * Throws `ConfigError` where it is not given an authenticator.
 *
 * @example
 * optional(jwt({ issuer: "https://id.example", audience: "catalog", jwksUri: "https://id.example/jwks" }))
 */
export function optional(authenticator: Authenticator): Authenticator {
  if (!isAuthenticator(authenticator)) throw new ConfigError("optional: expected an authenticator");
  return {
    name: `optional(${authenticator.name})`,
    source: authenticator.source,
    schemes: authenticator.schemes,
    actorSchemes: authenticator.actorSchemes,
    parts: [authenticator],
    presents: () => true,
    authenticate: (call) =>
      authenticator.presents(call) ? authenticator.authenticate(call) : anonymousIdentity,
  };
}
