// The contract of an authenticator: what turns a credential into an identity.
import type { CallContext } from "../../call/context.ts";
import type { Identity } from "../../call/principal.ts";

export interface Authenticator {
  /** The scheme's name: `jwt`, `api-key`, … Shown in logs and metrics. */
  readonly name: string;
  /** Where the credential comes from: the call's metadata, or the connection (a certificate). */
  readonly source: "metadata" | "connection";
  /**
   * The metadata headers it reads, in lower case. A header named here counts as a credential: several values of it are
   * refused, and so is one that no authenticator recognizes as its own. Where this is left out, an authenticator that
   * presents answers for one of `authorization` and `x-api-key`. Declare it, and the check is exact.
   */
  readonly headers?: readonly string[];
  /** For a combination (`anyOf`, `optional`): what it is made of. The layer asks these which credentials they read. */
  readonly parts?: readonly Authenticator[];
  /** Synchronous and cheap: does the call carry a credential meant for me? */
  presents(call: CallContext): boolean;
  /**
   * Verifies the credential. A bad one is a `CredentialError`; any other throw is our own failure, and the caller is
   * told UNAVAILABLE. Return a value, not a promise, where nothing has to be waited for.
   */
  authenticate(call: CallContext): Identity | Promise<Identity>;
}

/** Is this value an authenticator? Users hand them in, and a plain object may be anything. */
export function isAuthenticator(value: unknown): value is Authenticator {
  if (typeof value !== "object" || value === null) return false;
  return (
    "name" in value &&
    typeof value.name === "string" &&
    "source" in value &&
    (value.source === "metadata" || value.source === "connection") &&
    "presents" in value &&
    typeof value.presents === "function" &&
    "authenticate" in value &&
    typeof value.authenticate === "function"
  );
}
