// Who calls, as verified by the authentication middleware.

import { FrozenSet } from "./frozen-set.ts";

export interface Principal {
  /** The verified subject: a user's or service's id; for an API key its owner; for a certificate its name. */
  readonly subject: string;
  readonly kind: "user" | "service" | "anonymous";
  /** How it was verified: `jwt`, `api-key`, `mtls`, … An own authenticator may name its own. */
  readonly scheme: "jwt" | "api-key" | "mtls" | "introspection" | "anonymous" | (string & {});
  readonly issuer?: string;
  readonly tenant?: string;
  /** Cannot be changed. An own authenticator's set is copied on each call. */
  readonly roles: ReadonlySet<string>;
  /** Cannot be changed, as `roles`. */
  readonly permissions: ReadonlySet<string>;
  /** What the credential said besides. Frozen; shared between calls. */
  readonly claims: Readonly<Record<string, unknown>>;
  /** When the credential ends, in milliseconds since the epoch. */
  readonly expiresAt?: number;
}

/** What an authenticator found out. `actor` is the application that speaks for the principal, where there is one. */
export interface Identity {
  readonly principal: Principal;
  readonly actor?: Principal;
  /** When the identity ends, in milliseconds since the epoch. */
  readonly expiresAt?: number;
}

/** The caller who showed no credential, where that is allowed. */
export const anonymousPrincipal: Principal = Object.freeze({
  subject: "anonymous",
  kind: "anonymous",
  scheme: "anonymous",
  roles: new FrozenSet(),
  permissions: new FrozenSet(),
  claims: Object.freeze({}),
});

/** The scheme of a user that an application named, which is trusted to do so. */
export const forwardedScheme = "forwarded";

const kinds: ReadonlySet<unknown> = new Set<Principal["kind"]>(["user", "service", "anonymous"]);

/**
 * An own authenticator, above all one in plain JavaScript, may answer with anything. What names nobody, or does not say
 * what it is, is not accepted: throws a `TypeError`.
 */
export function checkPrincipal(
  role: "principal" | "actor",
  principal: unknown,
): asserts principal is Principal {
  if (typeof principal !== "object" || principal === null)
    throw new TypeError(`the authenticator returned no ${role}`);
  const fault = faultIn(principal);
  if (fault !== undefined) throw new TypeError(`the authenticator returned a ${role} whose ${fault}`);
}

function faultIn(principal: { readonly [Field in keyof Principal]?: unknown }): string | undefined {
  const { subject, kind, scheme, issuer, tenant } = principal;
  if (typeof subject !== "string" || subject === "") return "subject is empty or not a string";
  if (!kinds.has(kind)) return "kind is not user, service or anonymous";
  if (typeof scheme !== "string" || scheme === "") return "scheme is empty or not a string";
  if (!isTextOrAbsent(issuer)) return "issuer is not text";
  return isTextOrAbsent(tenant) ? undefined : "tenant is not text";
}

function isTextOrAbsent(value: unknown): boolean {
  return value === undefined || value === null || typeof value === "string";
}

/** For authenticators of ours, whose names are frozen sets already. */
export function sealedPrincipal(principal: Principal): Principal {
  return Object.freeze({ ...principal });
}

/**
 * The principal as middleware and handlers see it: nothing that one call does to its roles is there in the next. Ours are
 * made so; another authenticator's is copied for each call, because nobody knows what it shares, or changes later.
 * Throws a `TypeError` for roles or permissions that are no set.
 */
export function sealed(principal: Principal): Principal {
  const { roles, permissions } = principal;
  if (roles instanceof FrozenSet && permissions instanceof FrozenSet) return principal;
  // By name too: what a class computes is not copied otherwise.
  const { subject, kind, scheme, issuer, tenant, claims, expiresAt } = principal;
  return Object.freeze({
    ...principal,
    subject,
    kind,
    scheme,
    ...(issuer === undefined ? {} : { issuer }),
    ...(tenant === undefined ? {} : { tenant }),
    roles: frozenNames("roles", roles),
    permissions: frozenNames("permissions", permissions),
    claims,
    ...(expiresAt === undefined ? {} : { expiresAt }),
  });
}

/** An authenticator in plain JavaScript may leave them out. A text would be taken for a set of its letters. */
function frozenNames(field: "roles" | "permissions", names: ReadonlySet<string> | undefined): FrozenSet {
  if (names === undefined) return new FrozenSet();
  if (!(names instanceof Set))
    throw new TypeError(`the authenticator returned a principal whose ${field} are not a Set`);
  for (const name of names)
    if (typeof name !== "string")
      throw new TypeError(`the authenticator returned a principal whose ${field} are not all strings`);
  return new FrozenSet(names);
}

/** One key for everything that counts by principal: two principals never share it, two keys of one owner do. */
export function principalKey(principal: Principal): string {
  return JSON.stringify([
    principal.kind,
    principal.scheme,
    principal.issuer ?? "",
    principal.tenant ?? "",
    principal.subject,
  ]);
}
