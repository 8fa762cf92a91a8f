// The identity of the call that is being handled, for the calls that its handler makes.
import { status } from "@grpc/grpc-js";
import { type CallContext, hasEnded } from "../chain/context.ts";
import { currentCall } from "../chain/current-context.ts";
import type { Principal } from "../chain/principal.ts";
import { StatusError } from "../grpc/errors.ts";
import { identityHeaders, isOneName } from "../grpc/identity-headers.ts";
import { tokenOfPrincipal } from "../middleware/authentication/authorization-header.ts";
import type { CredentialSource } from "./credential-source.ts";

/** What is sent. What a call's own metadata say under these names is not. */
export const forwardedHeaders: readonly string[] = [
  "authorization",
  ...Object.values(identityHeaders),
  "x-request-id",
];

const instead = "use a client with clientCredentials(…) or bearerToken(…)";

/**
 * Sends with each call the identity of the call that is being handled: who calls this service is the caller of the next one.
 * For `createSecureClient`; only that client's target gets it.
 *
 * - `authorization`: the bearer token that proved the principal. Never an API key, and never a token that the call brought
 *   beside its principal's credential: a call that an API key or a certificate proved goes on without a token, and needs
 *   another source, or the client's certificate, to say who this service is.
 * - `x-user-id`, `x-tenant-id`: the verified principal's subject and tenant. They prove nothing: a server believes them from
 *   `trustedActors` alone. They never come from the caller's headers of these names. `x-user-id` is sent for users alone
 *   (principals of the kind `user`): the owner of an API key would be the user of the same name at the next service.
 * - `x-request-id`.
 *
 * Where a handler hands on its call's metadata, the caller's credentials are taken out: `authorization`, `x-api-key`, `cookie`,
 * `proxy-authorization`, and the headers that own authenticators declare (`headers`).
 *
 * The call ends at the latest when the call that is being handled has to, and it is cancelled with it. Which call that is, is
 * the one in whose handler (or anything that it started) the client is used; `{ parent: call }` among a call's options names it.
 *
 * A call ends UNAUTHENTICATED, and nothing is sent, where no call is being handled, where that call has ended, where its
 * caller is anonymous or unknown (a health probe), where its credential has expired, and where a user or tenant cannot be sent as a
 * header (anything but 1 to 256 printable ASCII characters without a comma). It ends CANCELLED where the call was cancelled.
 *
 * @example
 * const stock = createSecureClient(StockClient, "stock.internal:50051", { credentials: forwardIdentity() });
 */
export function forwardIdentity(): CredentialSource {
  return new ForwardIdentity();
}

const name = "forward-identity";

export class ForwardIdentity implements CredentialSource {
  readonly name: string = name;

  /** Whoever asks later than the call was made may be asked in another call's context. */
  getCredentials(): never {
    throw new StatusError(status.UNAUTHENTICATED, "forwardIdentity() works in createSecureClient alone");
  }
}

/** What one call forwards, found out when it is made. */
export interface Forwarded {
  /** The call that is being handled; undefined where nothing is forwarded. */
  readonly call: CallContext | undefined;
  readonly source: CredentialSource;
}

/** `parent`: the call that is being handled, where it was named. */
export function identityToForward(parent: object | undefined): Forwarded {
  try {
    const call = currentCall(parent);
    if (call === undefined) throw refused(`no call of a secured server is being handled here; ${instead}`);
    const { headers, expiresAt } = identityOf(call);
    const getCredentials = (): typeof headers => {
      refuseExpired(expiresAt);
      return headers;
    };
    return { call, source: { name, getCredentials } };
  } catch (error) {
    return refusing(error);
  }
}

/** Ends the call that asks for credentials. */
export function refusing(error: unknown): Forwarded {
  const getCredentials = (): never => {
    throw error;
  };
  return { call: undefined, source: { name, getCredentials } };
}

export function refused(text: string): StatusError {
  return new StatusError(status.UNAUTHENTICATED, text);
}

interface CapturedIdentity {
  readonly headers: Readonly<Record<string, string>>;
  readonly expiresAt: number | undefined;
}

function identityOf(call: CallContext): CapturedIdentity {
  // Nobody waits any more for what is done in the caller's name.
  if (hasEnded(call)) throw afterEnd(call);
  const { principal, requestId } = call;
  if (principal === undefined || principal.kind === "anonymous")
    throw refused(`the call that is being handled has no verified caller; ${instead}`);
  const token = tokenOfPrincipal(call);
  return {
    headers: {
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...namesOf(principal),
      "x-request-id": requestId,
    },
    expiresAt: principal.expiresAt,
  };
}

function afterEnd(call: CallContext): StatusError {
  if (call.signal.aborted)
    return new StatusError(
      status.CANCELLED,
      "the call that was being handled was cancelled or is out of time",
    );
  return refused(`the call that was being handled has ended; for what goes on after it, ${instead}`);
}

function refuseExpired(expiresAt: number | undefined): void {
  if (expiresAt === undefined || Date.now() < expiresAt) return;
  throw refused("the credential of the call that is being handled has expired; only its caller can renew it");
}

function namesOf({ kind, subject, tenant }: Principal): Readonly<Record<string, string>> {
  return {
    ...(kind === "user" ? { [identityHeaders.user]: checkedName("subject", subject) } : {}),
    ...(tenant === undefined ? {} : { [identityHeaders.tenant]: checkedName("tenant", tenant) }),
  };
}

function checkedName(what: string, value: string): string {
  if (isOneName(value)) return value;
  throw refused(
    `the ${what} of the caller cannot be sent as a header: it is not 1 to 256 printable ASCII characters without a comma`,
  );
}
