// Applications that may say for which user they call: what `x-user-id` and `x-tenant-id` are worth.
import { z } from "zod";
import type { CallContext } from "../../chain/context.ts";
import { FrozenSet } from "../../chain/frozen-set.ts";
import { forwardedScheme, type Identity, type Principal, principalKey } from "../../chain/principal.ts";
import { ConfigError, CredentialError } from "../../grpc/errors.ts";
import { identityHeaders, isOneName } from "../../grpc/identity-headers.ts";
import { LogThrottle } from "../../observability/log-throttle.ts";
import type { Authenticator } from "./authenticator.ts";
import {
  matchesName,
  type NameKind,
  type NamePattern,
  parseNamePattern,
} from "./certificate-name-pattern.ts";

const otherScheme = /^(api-key|jwt|introspection):(.+)$/s;

interface ActorPattern {
  readonly scheme: string;
  matches(actor: Principal): boolean;
  /** It names the subject of a token, and not who issued it. */
  readonly anyIssuer?: true;
}

/** The shape of `trustedActors`; the only place where its default stands. */
export const trustedActorsSchema: z.ZodType<readonly string[], readonly string[] | undefined> = z
  .array(
    z.string().refine((text) => parseActor(text) !== undefined, {
      error:
        "expected the name of a client certificate as in mtls.roles (spiffe://…, a DNS name, CN=name), or api-key:owner, " +
        "jwt:subject or introspection:subject (with several issuers jwt:issuer#subject)",
    }),
  )
  .default([]);

/** Undefined for what names no actor. */
function parseActor(text: string): ActorPattern | undefined {
  const [, scheme, name] = otherScheme.exec(text) ?? [];
  if (scheme === "api-key") return { scheme, matches: ({ subject }) => subject === name };
  if (scheme !== undefined) return tokenActor(scheme, name ?? "");
  const pattern: NamePattern | undefined = parseNamePattern(text);
  if (pattern === undefined) return undefined;
  return {
    scheme: "mtls",
    matches: ({ subject, claims: { nameKind } }) =>
      isNameKind(nameKind) && matchesName(pattern, nameKind, subject),
  };
}

/** An issuer is a URL without a fragment. */
const withIssuer = /^([a-z]+:\/\/[^#]+)#(.+)$/s;

function tokenActor(scheme: string, name: string): ActorPattern {
  const [, issuer, subject] = withIssuer.exec(name) ?? [];
  return issuer === undefined
    ? { scheme, matches: (actor) => actor.subject === name, anyIssuer: true }
    : { scheme, matches: (actor) => actor.subject === subject && actor.issuer === issuer };
}

function isNameKind(value: unknown): value is NameKind {
  return value === "uri" || value === "dns" || value === "cn";
}

/** Contradictions of one caller are told once in this time. */
const tellEveryMs = 60_000;

export class TrustedActors {
  readonly #patterns: readonly ActorPattern[];
  readonly #throttle = new LogThrottle({ periodMs: tellEveryMs });

  /** Throws `ConfigError` for a name that the tokens of several of these authenticators can have. */
  constructor(names: readonly string[], authenticators: readonly Authenticator[]) {
    this.#patterns = names.flatMap((name) => parseActor(name) ?? []);
    for (const [index, { scheme, anyIssuer }] of this.#patterns.entries()) {
      if (anyIssuer !== true || authenticators.filter(({ name }) => name === scheme).length < 2) continue;
      throw new ConfigError(
        `trustedActors.${index}: there are several issuers of such tokens; name the one, as in ${scheme}:https://id.example#gateway`,
      );
    }
  }

  /**
   * Whom the call is for. A trusted actor that calls in its own name speaks for the user that `x-user-id` names, who has the
   * rights of nobody; with a user who was verified (`allOf`) it may add the tenant that the credential does not name. An actor
   * that has a tenant speaks for that tenant alone. What contradicts the principal of `allOf` is not believed. Throws `UnusableName` where a trusted actor names nobody.
   */
  callerOf(call: CallContext, identity: Identity): Identity {
    const user = call.metadata.get(identityHeaders.user);
    const tenant = call.metadata.get(identityHeaders.tenant);
    if (user.length === 0 && tenant.length === 0) return identity;
    const { principal } = identity;
    const actor = identity.actor ?? (principal.kind === "service" ? principal : undefined);
    if (actor === undefined || !this.#trusts(actor)) {
      if (principal.kind !== "anonymous") this.#tellContradiction(call, principal, user, tenant);
      return identity;
    }
    if (identity.actor === undefined && user.length > 0) return forwarded(identity, user, tenant);
    if (tenant.length === 0 || principal.tenant !== undefined) {
      this.#tellContradiction(call, principal, user, tenant);
      return identity;
    }
    const named = single(identityHeaders.tenant, tenant);
    const isOthers = actor.tenant !== undefined && named !== actor.tenant;
    this.#tellContradiction(call, principal, user, isOthers ? tenant : []);
    return isOthers ? identity : { ...identity, principal: { ...principal, tenant: named } };
  }

  #trusts(actor: Principal): boolean {
    return this.#patterns.some(({ scheme, matches }) => scheme === actor.scheme && matches(actor));
  }

  #tellContradiction(
    call: CallContext,
    principal: Principal,
    user: readonly unknown[],
    tenant: readonly unknown[],
  ): void {
    const contradicting = [
      ...(user.some((name) => name !== principal.subject) ? [identityHeaders.user] : []),
      ...(tenant.some((name) => name !== principal.tenant) ? [identityHeaders.tenant] : []),
    ];
    if (contradicting.length === 0) return;
    const leftOut = this.#throttle.admit(principalKey(principal));
    if (leftOut === undefined) return;
    call.log.warn(
      { headers: contradicting, principal: principal.subject, left_out: leftOut },
      "the caller names another user or tenant than its credential; the headers were removed (see trustedActors)",
    );
  }
}

function forwarded(
  { principal: actor, expiresAt }: Identity,
  user: readonly unknown[],
  tenants: readonly unknown[],
): Identity {
  const named = tenants.length === 0 ? undefined : single(identityHeaders.tenant, tenants);
  if (named !== undefined && actor.tenant !== undefined && named !== actor.tenant)
    throw new UnusableName(`${identityHeaders.tenant} with another tenant than its own`);
  const tenant = named ?? actor.tenant;
  const principal: Principal = Object.freeze({
    subject: single(identityHeaders.user, user),
    kind: "user",
    scheme: forwardedScheme,
    ...(tenant === undefined ? {} : { tenant }),
    roles: new FrozenSet(),
    permissions: new FrozenSet(),
    claims: Object.freeze({}),
    ...(expiresAt === undefined ? {} : { expiresAt }),
  });
  return { principal, actor, ...(expiresAt === undefined ? {} : { expiresAt }) };
}

function single(header: string, values: readonly unknown[]): string {
  const [value] = values;
  if (values.length === 1 && typeof value === "string" && isOneName(value)) return value;
  throw new UnusableName(
    `${header} with a value that is no single name: 1 to 256 printable characters, without commas`,
  );
}

/**
 * The actor's own credential is good. It does not count as a failed login: users who choose odd names would lock out the
 * application that names them.
 */
export class UnusableName extends CredentialError {
  constructor(what: string) {
    super("invalid", `a trusted actor sent ${what}`);
  }
}
