// The contract of an authenticator: what turns a credential into an identity.
import type { CallContext } from "../../call/context.ts";
import type { Identity } from "../../call/principal.ts";

export interface Authenticator {
  /** The scheme's name: `jwt`, `api-key`, … Shown in logs and metrics. */
  readonly name: string;
  /** Where the credential comes from: the call's metadata, or the connection (a certificate). */
  readonly source: "metadata" | "connection";
  /** Synchronous and cheap: does the call carry a credential meant for me? */
  presents(call: CallContext): boolean;
  /**
   * Verifies the credential. A bad one is a `CredentialError`; any other throw is our own failure, and the caller is
   * told UNAVAILABLE. Return a value, not a promise, where nothing has to be waited for.
   */
  authenticate(call: CallContext): Identity | Promise<Identity>;
}
