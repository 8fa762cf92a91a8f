// The contract of a credential source: what puts a caller's credentials on its calls.
import type { SecurityContext } from "../chain/context.ts";

/** The call that needs credentials. */
export interface CredentialRequest {
  /** The method's full path: `/orders.v1.Orders/GetOrder`. */
  readonly method: string;
  /** The service's URL, for tokens that are bound to an audience: `https://orders.internal/orders.v1.Orders`. */
  readonly serviceUrl: string;
  /**
   * The call whose handler makes this one. Taken when the call starts: what `currentContext()` says within `getCredentials`
   * may be of another call, the one that the connection was opened for. Undefined outside of a handler, and always with
   * `compositeCredentials`.
   */
  readonly caller?: SecurityContext | undefined;
}

/**
 * Gives the credentials of each call, as headers. Asked once for every attempt of every call, and only on a channel
 * that is encrypted: keep what is costly to get.
 *
 * A source never sends anything itself: it is given to `createSecureClient` or `compositeCredentials`, which put it
 * behind TLS. One source serves many calls at once.
 *
 * @example
 * const ticket: CredentialSource = {
 *   name: "ticket",
 *   getCredentials: async ({ serviceUrl }) => ({ "x-ticket": await desk.ticketFor(serviceUrl) }),
 * };
 */
export interface CredentialSource {
  /** Shown in errors: `bearer-token`, `api-key`, … Never a secret. */
  readonly name: string;
  /**
   * The headers to send, names in any case; none for a call that needs no credentials. Values are printable ASCII.
   * Return them at once where nothing has to be waited for. The call's deadline ends a wait that is too long, and what
   * is answered after it is dropped.
   *
   * A throw or a rejection ends the call before anything of it is sent: UNAUTHENTICATED, with the source's name and
   * the kind of error, but not its text, in which a secret may stand. That goes to the client's `logger`, without what looks
   * like a secret. To give a code and a text of your own, throw a
   * `StatusError`; of the codes that mean the request was wrong, grpc-js makes INTERNAL.
   */
  getCredentials(
    call: CredentialRequest,
  ): Readonly<Record<string, string>> | Promise<Readonly<Record<string, string>>>;
  /**
   * A server refused what the source gave, as expired: the next call should bring new credentials. A source that keeps none,
   * or cannot get others, leaves it out. It may ignore a request that comes soon after another one.
   */
  renew?(): void;
}

export function isCredentialSource(value: unknown): value is CredentialSource {
  return (
    typeof value === "object" &&
    value !== null &&
    "name" in value &&
    typeof value.name === "string" &&
    "getCredentials" in value &&
    typeof value.getCredentials === "function"
  );
}
