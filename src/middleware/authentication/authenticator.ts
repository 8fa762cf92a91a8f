// The contract of an authenticator: what turns a credential into an identity.
import type { Logger } from "pino";
import type { CallContext } from "../../chain/context.ts";
import type { Identity } from "../../chain/principal.ts";
import { CredentialError } from "../../grpc/errors.ts";

export interface Authenticator {
  /** The scheme's name: `jwt`, `api-key`, … Shown in logs and metrics. */
  readonly name: string;
  /** Where the credential comes from: the call's metadata, or the connection (a certificate). */
  readonly source: "metadata" | "connection";
  /**
   * The metadata headers it reads, in lower case. A header named here counts as a credential: several values of it are
   * refused, and so is one that no authenticator recognizes as its own. Where this is left out, an authenticator that
   * presents answers for one of `authorization` and `x-api-key`. Declare it, and the check is exact. Name all that it
   * reads: the limit on bad credentials tells one credential from another by these headers, and by nearly all metadata
   * where they are left out.
   */
  readonly headers?: readonly string[];
  /**
   * The schemes of the callers that it identifies (`principal.scheme`). Where this is told, a policy that demands a scheme
   * that nobody has is an error when the server starts; where it is left out, any scheme may come.
   */
  readonly schemes?: readonly string[] | undefined;
  /** The schemes of the applications that speak for them (`actor.scheme`), likewise; empty where there never is one. */
  readonly actorSchemes?: readonly string[] | undefined;
  /** For a combination (`anyOf`, `optional`): what it is made of. The middleware asks these which credentials they read. */
  readonly parts?: readonly Authenticator[];
  /** Synchronous and cheap: does the call carry a credential meant for me? */
  presents(call: CallContext): boolean;
  /** For the log alone: why a credential that stands in one of my headers is not meant for me. */
  explain?(call: CallContext): string | undefined;
  /**
   * Verifies the credential. A bad one is a `CredentialError`; any other throw is our own failure, and the caller is
   * told UNAVAILABLE. Return a value, not a promise, where nothing has to be waited for.
   */
  authenticate(call: CallContext): Identity | Promise<Identity>;
  /**
   * Calls `listener` when a credential that it accepted may not be good any more: a key or a token was revoked. The middleware
   * then asks `authenticate` again for each call that is still open, and ends those whose credential is now bad, or
   * somebody else's. Returns a function that ends the subscription. Many changes at once need one call of `listener` only.
   * The handler may have changed the call's metadata by then: keep what you read in the call's context
   * (`call.set(key, value)`).
   */
  onChange?(listener: () => void): () => void;
  /**
   * Called by `listen()`, before a port is opened: fetches what it needs, where it is told to do so in advance. A throw or a
   * rejection keeps the server from listening.
   */
  warmUp?(log: Logger): void | Promise<void>;
  /** Lets go of what it holds. Called when a server that uses it has shut down; another may use it still. */
  close?(): void | Promise<void>;
}

/** Of ours that can let nobody in where no client shows a certificate: what it is called in an error. */
export const needsCertificates: unique symbol = Symbol("palisade.needs-certificates");

/** The first of its authenticators that can do nothing without client certificates; undefined where none is. */
export function inNeedOfCertificates(authenticator: Authenticator): string | undefined {
  for (const single of singleAuthenticators(authenticator)) {
    const { [needsCertificates]: name } = single as { readonly [needsCertificates]?: string };
    if (name !== undefined) return name;
  }
  return undefined;
}

/** The authenticators that a combination is made of, in the end. */
export function singleAuthenticators(authenticator: Authenticator): readonly Authenticator[] {
  return authenticator.parts === undefined
    ? [authenticator]
    : authenticator.parts.flatMap(singleAuthenticators);
}

/** What the parts tell together: nothing where one of them does not tell. */
export function schemesOf(
  parts: readonly Authenticator[],
  whose: "schemes" | "actorSchemes",
): readonly string[] | undefined {
  const told = parts.map((part) => part[whose]);
  if (!told.every((schemes) => schemes !== undefined)) return undefined;
  return [...new Set(told.flat())];
}

/** The metadata headers it reads, in lower case; undefined where it does not say. */
export function headersOf(authenticator: Authenticator): readonly string[] | undefined {
  return authenticator.headers?.map((header) => header.toLowerCase());
}

/** Are there any that want to be warmed up? */
export function wantsWarmUp(authenticator: Authenticator): boolean {
  return singleAuthenticators(authenticator).some(({ warmUp }) => warmUp !== undefined);
}

/** What `onChange` of somebody else's object returned. Without a way to end it, it would hold a server that is long gone. */
export function subscription(end: unknown): () => void {
  if (typeof end === "function") return () => void end();
  throw new TypeError("onChange must return a function that ends the subscription");
}

/** Warms up all that can be. The first failure is thrown once every one was tried. */
export async function warmUpAuthenticator(authenticator: Authenticator, log: Logger): Promise<void> {
  await settleAll(singleAuthenticators(authenticator).map(async (single) => single.warmUp?.(log)));
}

/** Closes all that can be closed. The first failure is thrown once every one was tried. */
export async function closeAuthenticator(authenticator: Authenticator): Promise<void> {
  await settleAll(singleAuthenticators(authenticator).map(async (single) => single.close?.()));
}

async function settleAll(pending: readonly Promise<void>[]): Promise<void> {
  await Promise.allSettled(pending);
  await Promise.all(pending);
}

/**
 * Of credentials that belong together some were presented, each of them good, and some were not. Unlike a bad one it
 * does not end the call where another authenticator knows the caller.
 */
export class IncompleteCredentials extends CredentialError {
  constructor(message: string) {
    super("missing", message);
  }
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
