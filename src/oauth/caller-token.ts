// The token of the caller for whom a handler makes a call.
import { status } from "@grpc/grpc-js";
import { Call } from "../chain/context.ts";
import type { CredentialRequest } from "../client/credential-source.ts";
import { StatusError } from "../grpc/errors.ts";
import { tokenOfPrincipal } from "../middleware/authentication/authorization-header.ts";

/**
 * For `tokenExchange`: the bearer token that proved the principal of the call whose handler makes this one. A call outside of a handler, or by a client that
 * `createSecureClient` did not make, ends FAILED_PRECONDITION, one for a caller whom something else proved UNAUTHENTICATED.
 *
 * @example
 * tokenExchange({ issuer, client, audience: "billing", subjectToken: callerToken });
 */
export function callerToken({ caller }: CredentialRequest): string {
  if (!(caller instanceof Call)) {
    throw new StatusError(
      status.FAILED_PRECONDITION,
      "callerToken: there is no caller; make this call in a handler of createSecureServer, with a client of createSecureClient",
    );
  }
  const token = tokenOfPrincipal(caller);
  if (token === undefined)
    throw new StatusError(status.UNAUTHENTICATED, "callerToken: no bearer token proved who the caller is");
  return token;
}
