// Who calls, as verified by the authentication layer.

export interface Principal {
  /** The verified subject: a user's or service's id; for an API key its owner; for a certificate its name. */
  readonly subject: string;
  readonly kind: "user" | "service" | "anonymous";
  /** How it was verified: `jwt`, `api-key`, `mtls`, … An own authenticator may name its own. */
  readonly scheme: "jwt" | "api-key" | "mtls" | "introspection" | "anonymous" | (string & {});
  readonly issuer?: string;
  readonly tenant?: string;
  readonly roles: ReadonlySet<string>;
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

const nothing: ReadonlySet<string> = new Set();

/** The caller who showed no credential, where that is allowed. */
export const anonymousPrincipal: Principal = Object.freeze({
  subject: "anonymous",
  kind: "anonymous",
  scheme: "anonymous",
  roles: nothing,
  permissions: nothing,
  claims: Object.freeze({}),
});

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
