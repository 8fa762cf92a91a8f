// The contract of what knows which tokens were revoked before they expire: by a logout, or because an account was locked.
import { z } from "zod";
import { CredentialError } from "../../../grpc/errors.ts";

/** A token whose signature was verified. */
export interface RevocableToken {
  /** Its `jti`; undefined where it has none, and then only its subject can be revoked. */
  readonly id?: string;
  readonly subject: string;
  /** Its `iat`, in milliseconds since the epoch; undefined where it has none. */
  readonly issuedAt?: number;
}

/**
 * Asked for each call, whether or not its token is remembered, so let it be quick: a look into a table, best without a promise.
 * A throw, a rejection or any answer but `true` and `false` is UNAVAILABLE.
 */
export interface RevocationList {
  isRevoked(token: RevocableToken): boolean | Promise<boolean>;
  /**
   * Calls `listener` when something was revoked: open calls are then looked at again, and those of a revoked token end
   * UNAUTHENTICATED. Returns a function that ends the subscription. Default: open calls go on until their token expires.
   */
  onChange?(listener: () => void): () => void;
  /**
   * Lets go of what it holds: connections, timers. Called when a server that uses it has shut down. Another server may use it
   * still, or again.
   */
  close?(): void | Promise<void>;
}

/** The shape of the option `revocations` of an authenticator. */
export const revocationsSchema: z.ZodType<RevocationList | undefined, RevocationList | undefined> = z
  .custom<RevocationList>(
    isRevocationList,
    "expected a revocation list: an object with isRevoked(token), such as revocationList()",
  )
  .optional();

/** Users hand them in, and a plain object may be anything. */
function isRevocationList(value: unknown): boolean {
  return (
    typeof value === "object" &&
    value !== null &&
    "isRevoked" in value &&
    typeof value.isRevoked === "function"
  );
}

/** Anything but a plain no refuses: a lookup that forgot to answer has not said that the token is good. */
export function refuseRevoked(answer: unknown, asked: string, revoked = "the token is revoked"): void {
  if (answer === false) return;
  if (answer === true) throw new CredentialError("invalid", revoked);
  throw new TypeError(`${asked} answered neither true nor false`);
}
