// The middleware that finds out who calls, and the only one that sets the principal.
import { Metadata, status } from "@grpc/grpc-js";
import { z } from "zod";
import {
  type CallContext,
  ContextKey,
  capDeadline,
  endCall,
  hasEnded,
  type ReadonlyMetadata,
  recordRefusedScheme,
  removeMetadata,
  setIdentity,
  type TimeUp,
} from "../../chain/context.ts";
import type { Middleware } from "../../chain/middleware.ts";
import { checkPrincipal, type Identity } from "../../chain/principal.ts";
import { isThenable } from "../../chain/thenable.ts";
import { type Filled, parseOptions } from "../../config/options.ts";
import { ConfigError, CredentialError, type CredentialProblem, StatusError } from "../../grpc/errors.ts";
import { identityHeaders } from "../../grpc/identity-headers.ts";
import { isHealthProbe, type MethodInfo } from "../../grpc/method.ts";
import type { PeerCertificate } from "../../grpc/peer.ts";
import { texts } from "../../grpc/status.ts";
import { boundedText } from "../../observability/redaction.ts";
import { anonymousIdentity } from "./anonymous.ts";
import { type Authenticator, headersOf, isAuthenticator, singleAuthenticators } from "./authenticator.ts";
import { OpenCalls } from "./open-calls.ts";
import { credentialHeadersOf, undeclaredAuthenticators } from "./presented-credentials.ts";
import { TrustedActors, trustedActorsSchema, UnusableName } from "./trusted-actors.ts";

export interface AuthenticationOptions {
  /**
   * Is this a method that unauthenticated callers may call? There nothing has to be presented, but a credential that is presented is
   * verified, and a bad one is refused. Asked only about known methods. Default: none is public.
   */
  readonly isPublic?: ((method: MethodInfo) => boolean) | undefined;
  /**
   * May a call go on when the credential that it was opened with has expired or was revoked? Else it ends then, with
   * UNAUTHENTICATED `expired credentials` or `invalid credentials`. Default: false.
   */
  readonly callsOutliveCredentials?: boolean | undefined;
  /**
   * Applications that may say for which user they call, in `x-user-id` and `x-tenant-id`. Names of client certificates as in
   * `mtls.roles`, or `api-key:owner`, `jwt:subject`, `introspection:subject`, where there are several issuers
   * `jwt:issuer#subject`. Both headers of others are removed. Default: none.
   */
  readonly trustedActors?: readonly string[] | undefined;
}

/** The shape of `callsOutliveCredentials`; the only place where its default stands. */
export const callsOutliveCredentialsSchema: z.ZodType<boolean, boolean | undefined> = z
  .boolean()
  .default(false);

/** The shape of `authentication`'s options. */
export const authenticationSchema: z.ZodType<Filled<AuthenticationOptions>> = z.strictObject({
  isPublic: z
    .custom<(method: MethodInfo) => boolean>((value) => typeof value === "function", "expected a function")
    .default(() => () => false),
  callsOutliveCredentials: callsOutliveCredentialsSchema,
  trustedActors: trustedActorsSchema,
});

/** The handler never sees them. */
const unprovenHeaders: readonly string[] = Object.values(identityHeaders);

const problemTexts: Readonly<Record<CredentialProblem, string>> = {
  missing: texts.missingCredentials,
  invalid: texts.invalidCredentials,
  expired: texts.expiredCredentials,
};

/** gRFC A6: do not make the call again. Its handler may have done a part of its work. */
const notAgain = new Metadata();
notAgain.set("grpc-retry-pushback-ms", "-1");

/** How a call ends that would outlive its credential. Shared by all of them. */
const expired: TimeUp = Object.freeze({
  layer: "authentication",
  error: new StatusError(status.UNAUTHENTICATED, texts.expiredCredentials, {
    metadata: notAgain,
    cause: new CredentialError("expired", "the credential that opened the call has expired"),
  }),
});

/**
 * Authenticates each call except health probes. Refusals: UNAUTHENTICATED with `missing credentials`,
 * `invalid credentials` or `expired credentials`, the reason in the cause; UNAVAILABLE where the authenticator failed
 * otherwise. Refused as invalid, on public methods too: a credential that no authenticator recognizes, and several
 * values of one credential header. A call that is open when its credential expires ends `expired credentials`, whatever its
 * kind, and one whose credential is revoked ends `invalid credentials`, where the authenticator tells of it (`onChange`);
 * `callsOutliveCredentials` turns both off. A call of a method that does not exist needs a credential.
 *
 * Throws `ConfigError` for arguments that are wrong.
 */
export function authentication(
  authenticator: Authenticator,
  options: AuthenticationOptions = {},
): Middleware {
  return authenticationWatchedBy(undefined, authenticator, options);
}

/** How a credential was judged. `undecided`: our own failure, which says nothing about it. */
export type Verdict = "verified" | CredentialProblem | "undecided";

/** Hears how each call's credentials were judged, whether or not the call is still there. It does not throw. */
export interface VerdictListener {
  /** The authenticator was asked and answers later. */
  pending(call: CallContext): void;
  /** Once for each call whose authenticator settles, `pending` or not. */
  settled(call: CallContext, verdict: Verdict): void;
}

/** Tells when the client certificate of an open connection was found to be bad. */
export class LostCertificates {
  #listener: ((certificate: PeerCertificate) => void) | undefined = undefined;

  listen(listener: (certificate: PeerCertificate) => void): void {
    this.#listener = listener;
  }

  tell(certificate: PeerCertificate): void {
    this.#listener?.(certificate);
  }
}

/** For the secured server: `listener` hears of every verdict, and what lost certificates vouched for ends. */
export function authenticationWatchedBy(
  listener: VerdictListener | undefined,
  authenticator: Authenticator,
  options: AuthenticationOptions,
  lostCertificates?: LostCertificates,
): Middleware {
  if (!isAuthenticator(authenticator)) throw new ConfigError("authentication: expected an authenticator");
  const settings = parseOptions(authenticationSchema, options, "authentication");
  return new Authentication(authenticator, settings, listener, lostCertificates);
}

class Authentication implements Middleware {
  readonly name = "authentication";
  readonly #authenticator: Authenticator;
  readonly #isPublic: (method: MethodInfo) => boolean;
  readonly #callsOutliveCredentials: boolean;
  readonly #trustedActors: TrustedActors;
  /** Each credential header with the authenticators that read it. */
  readonly #headers: readonly { readonly header: string; readonly readers: readonly Authenticator[] }[];
  /** Authenticators that read metadata and do not say which. */
  readonly #undeclared: readonly Authenticator[];
  readonly #single: readonly Authenticator[];
  readonly #listener: VerdictListener | undefined;
  /** Undefined where no authenticator tells of changes, and where calls outlive their credentials. */
  readonly #openCalls: OpenCalls | undefined;
  /** Undefined where no connection loses its certificate. */
  readonly #callsOf: WeakMap<PeerCertificate, Set<CallContext>> | undefined;
  readonly onEnd?: (call: CallContext) => void;

  constructor(
    authenticator: Authenticator,
    options: Filled<AuthenticationOptions>,
    listener: VerdictListener | undefined,
    lostCertificates: LostCertificates | undefined,
  ) {
    this.#authenticator = authenticator;
    this.#listener = listener;
    this.#isPublic = options.isPublic;
    this.#callsOutliveCredentials = options.callsOutliveCredentials;
    this.#trustedActors = new TrustedActors(options.trustedActors, singleAuthenticators(authenticator));
    const single = singleAuthenticators(authenticator);
    this.#single = single;
    this.#headers = credentialHeadersOf(authenticator).map((header) => ({
      header,
      readers: single.filter((a) => headersOf(a)?.includes(header)),
    }));
    this.#undeclared = undeclaredAuthenticators(authenticator);
    this.#callsOf = lostCertificates === undefined ? undefined : new WeakMap();
    lostCertificates?.listen((certificate) => this.#endCallsOf(certificate));
    this.#openCalls = this.#openCallsOf(single.filter((a) => a.onChange !== undefined));
    if (this.#openCalls === undefined && this.#callsOf === undefined) return;
    this.onEnd = (call) => {
      this.#openCalls?.delete(call);
      const { certificate } = call.peer;
      if (certificate !== undefined) this.#callsOf?.get(certificate)?.delete(call);
    };
  }

  #openCallsOf(changing: readonly Authenticator[]): OpenCalls | undefined {
    if (changing.length === 0 || this.#callsOutliveCredentials) return undefined;
    return new OpenCalls(
      {
        identify: (call) => identifyAgain(this.#authenticator, call),
        end: (call, error) => endCall(call, this, refusal(call, error)),
        limit: (call, { expiresAt }) => this.#limit(call, expiresAt),
      },
      changing,
    );
  }

  #endCallsOf(certificate: PeerCertificate): void {
    const calls = this.#callsOf?.get(certificate) ?? [];
    this.#callsOf?.delete(certificate);
    for (const call of calls) endCall(call, this, refusal(call, lostCertificate()));
  }

  appliesTo(method: MethodInfo): boolean {
    return !isHealthProbe(method);
  }

  onCall(call: CallContext): void | Promise<void> {
    let result: Identity | Promise<Identity>;
    try {
      refuseLostCertificate(call);
      // protection: unclaimed-credentials
      this.#refuseUnclaimed(call);
      this.#openCalls?.listen();
      result = this.#identify(call);
      if (!isThenable(result)) return this.#admit(call, result);
    } catch (error) {
      throw this.#refusal(call, error);
    }
    // protection: guesses-at-once
    this.#listener?.pending(call);
    const since = this.#openCalls?.begin();
    return result.then(
      (identity) => {
        this.#openCalls?.settled();
        try {
          refuseLostCertificate(call);
          this.#admit(call, identity, since);
        } catch (error) {
          throw this.#refusal(call, error);
        }
      },
      (error: unknown) => {
        this.#openCalls?.settled();
        throw this.#refusal(call, error);
      },
    );
  }

  #refusal(call: CallContext, error: unknown): StatusError {
    this.#listener?.settled(call, verdictOf(error));
    recordRefusedScheme(call, this.#presented(call));
    return refusal(call, error);
  }

  /** The scheme of the credential that was presented, for metrics. */
  #presented(call: CallContext): string {
    try {
      return this.#single.find((authenticator) => authenticator.presents(call))?.name ?? "none";
    } catch {
      return "none";
    }
  }

  #identify(call: CallContext): Identity | Promise<Identity> {
    if (this.#authenticator.presents(call)) return this.#authenticator.authenticate(call);
    if (call.method.known && this.#isPublic(call.method)) return anonymousIdentity;
    throw new CredentialError("missing", "no credential was presented");
  }

  #admit(call: CallContext, identity: Identity, since?: number): void {
    checkPrincipal("principal", identity?.principal);
    if (identity.actor !== undefined) checkPrincipal("actor", identity.actor);
    const { expiresAt } = identity;
    if (expiresAt !== undefined && !(Date.now() < expiresAt)) {
      throw new CredentialError("expired", "the identity has expired");
    }
    if (!call.method.known && identity.principal.kind === "anonymous") {
      throw new CredentialError("missing", "unknown methods are answered for authenticated callers only");
    }
    const caller = this.#trustedActors.callerOf(call, identity);
    removeUnproven(call);
    setIdentity(call, caller);
    this.#listener?.settled(call, "verified");
    this.#limit(call, expiresAt);
    this.#remember(call);
    if (this.#openCalls === undefined || identity.principal.kind === "anonymous" || hasEnded(call)) return;
    const presenting = this.#single.filter((single) => single.presents(call));
    if (!presenting.some((single) => single.onChange !== undefined)) return;
    call.set(openedWith, { presenting, metadata: this.#credentialsOf(call), identity });
    this.#openCalls.add(call, identity, since);
  }

  /** For when the connection loses its certificate. */
  #remember(call: CallContext): void {
    const { certificate } = call.peer;
    if (this.#callsOf === undefined || certificate === undefined || hasEnded(call)) return;
    const calls = this.#callsOf.get(certificate);
    if (calls === undefined) this.#callsOf.set(certificate, new Set([call]));
    else calls.add(call);
  }

  /** The handler may change the call's metadata. */
  #credentialsOf(call: CallContext): Metadata {
    const metadata = new Metadata();
    const declared = this.#undeclared.length === 0;
    const headers = declared
      ? this.#headers.map(({ header }) => header)
      : Object.keys(call.metadata.getMap());
    for (const header of headers) for (const value of call.metadata.get(header)) metadata.add(header, value);
    return metadata;
  }

  /** The call ends with its credential. */
  #limit(call: CallContext, expiresAt: number | undefined): void {
    // protection: end-with-credential
    if (expiresAt !== undefined && !this.#callsOutliveCredentials) capDeadline(call, expiresAt, expired);
  }

  /** Every credential must be somebody's to verify: one that all pass over would be skipped in favour of a weaker one. */
  #refuseUnclaimed(call: CallContext): void {
    let unclaimed = 0;
    let unclaimedHeader = "";
    for (const { header, readers } of this.#headers) {
      const values = call.metadata.get(header).length;
      if (values === 0) continue;
      if (values > 1) throw new CredentialError("invalid", `${header} has several values`);
      if (somePresents(readers, call)) continue;
      unclaimed++;
      unclaimedHeader = header;
    }
    if (unclaimed === 0 || unclaimed <= countPresenting(this.#undeclared, call)) return;
    const why = this.#explain(unclaimedHeader, call);
    throw new CredentialError(
      "invalid",
      `no authenticator recognizes the credential in ${unclaimedHeader}${why === "" ? "" : `, because ${why}`}`,
    );
  }

  #explain(unclaimedHeader: string, call: CallContext): string {
    const readers = this.#headers.find(({ header }) => header === unclaimedHeader)?.readers ?? [];
    const reasons = readers.map((reader) => explanation(reader, call)).filter((reason) => reason !== "");
    return boundedText([...new Set(reasons)].join("; "), maxExplanationLength);
  }
}

/** It is a credential of each call of its connection, whatever else the call brought. */
function refuseLostCertificate(call: CallContext): void {
  if (call.peer.certificateLost === true) throw lostCertificate();
}

function lostCertificate(): CredentialError {
  return new CredentialError(
    "invalid",
    "the connection's client certificate was revoked, or its CA taken out of tls.clientCa",
  );
}

/** What a call was opened with, for when it is looked at again. */
interface OpenedWith {
  /** Whose credentials the call brought. */
  readonly presenting: readonly Authenticator[];
  readonly metadata: ReadonlyMetadata;
  readonly identity: Identity;
}

const openedWith = new ContextKey<OpenedWith>("opened with");

/**
 * Asks again about the credentials that the call was opened with, as they were. Where one of them is for an authenticator that
 * tells of no changes, it is not asked: it may take each ticket once. The others answer for their own.
 */
function identifyAgain(authenticator: Authenticator, call: CallContext): Identity | Promise<Identity> {
  const opened = call.get(openedWith);
  if (opened === undefined) throw new Error("the call was not opened with a credential");
  const { presenting, metadata, identity } = opened;
  const asItWas = withMetadata(call, metadata);
  const changing = presenting.filter((single) => single.onChange !== undefined);
  if (changing.length === presenting.length) return authenticator.authenticate(asItWas);
  // What throws at once is a rejection too: it must not leave another's without a listener.
  const answers = changing.map(async (single) => single.authenticate(asItWas));
  return Promise.all(answers).then((others) => endingWith(identity, others));
}

/** The same caller, who goes with the first of the credentials. */
function endingWith(identity: Identity, others: readonly Identity[]): Identity {
  const ends = [identity, ...others].flatMap(({ expiresAt }) => expiresAt ?? []);
  return ends.length === 0 ? identity : { ...identity, expiresAt: Math.min(...ends) };
}

/** The call, with other metadata in sight. */
function withMetadata(call: CallContext, metadata: ReadonlyMetadata): CallContext {
  return new Proxy(call, {
    get(target, name) {
      if (name === "metadata") return metadata;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

function verdictOf(error: unknown): Verdict {
  if (error instanceof UnusableName) return "verified";
  return error instanceof CredentialError ? error.problem : "undecided";
}

const maxExplanationLength = 512;

/** The credential is bad all the same where an own authenticator cannot say why. */
function explanation(reader: Authenticator, call: CallContext): string {
  try {
    const reason: unknown = reader.explain?.(call);
    return typeof reason === "string" ? boundedText(reason, maxExplanationLength) : "";
  } catch {
    return "";
  }
}

/** What the caller is told, and the reason as the cause, for the log alone. */
function refusal(call: CallContext, error: unknown): StatusError {
  removeUnproven(call);
  if (error instanceof CredentialError) {
    return new StatusError(status.UNAUTHENTICATED, problemTexts[error.problem], { cause: error });
  }
  return new StatusError(status.UNAVAILABLE, texts.temporarilyUnavailable, { cause: error });
}

function removeUnproven(call: CallContext): void {
  // protection: unproven-identity
  for (const header of unprovenHeaders) removeMetadata(call, header);
}

function somePresents(authenticators: readonly Authenticator[], call: CallContext): boolean {
  for (const authenticator of authenticators) {
    if (authenticator.presents(call)) return true;
  }
  return false;
}

function countPresenting(authenticators: readonly Authenticator[], call: CallContext): number {
  let count = 0;
  for (const authenticator of authenticators) {
    if (authenticator.presents(call)) count++;
  }
  return count;
}
