// Disables authentication explicitly: every caller gets an anonymous principal.
import { anonymousPrincipal, type Identity } from "../../chain/principal.ts";
import type { Authenticator } from "./authenticator.ts";

/** The identity of a caller who showed no credential, where that is allowed. */
export const anonymousIdentity: Identity = Object.freeze({ principal: anonymousPrincipal });

/**
 * Every caller is the anonymous principal. A call that carries a credential (`authorization`, `x-api-key`) is refused
 * nevertheless: nobody here can say whether it is good, and a caller who sends one believes that it was checked. To
 * accept calls with and without credentials use `optional`.
 */
export function anonymous(): Authenticator {
  return {
    name: "anonymous",
    source: "metadata",
    headers: [],
    schemes: [],
    actorSchemes: [],
    presents: () => true,
    authenticate: () => anonymousIdentity,
  };
}
