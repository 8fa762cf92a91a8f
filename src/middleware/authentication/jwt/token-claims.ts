// What a verified token says: its claims turned into an identity, where each has the shape that it should (RFC 7519 section
// 4.1). Runs once for each token, after jose verified its signature, `iss` and `aud`. What depends on the time of the call
// is returned as times.
import { FrozenSet } from "../../../chain/frozen-set.ts";
import { type Identity, type Principal, sealedPrincipal } from "../../../chain/principal.ts";
import { CredentialError } from "../../../grpc/errors.ts";
import { boundedText } from "../../../observability/redaction.ts";
import { boundCertificate, type CertificateBound } from "./certificate-binding.ts";
import { type ClaimPath, readClaim } from "./claim-path.ts";

export interface ClaimRules {
  readonly issuer: string;
  readonly audiences: ReadonlySet<string>;
  readonly clockToleranceSec: number;
  readonly maxTokenAgeSec: number | undefined;
  readonly requiredClaims: readonly ClaimPath[];
  readonly certificateBound: CertificateBound;
  readonly paths: {
    readonly subject: ClaimPath;
    readonly roles: readonly ClaimPath[];
    readonly permissions: readonly ClaimPath[];
    readonly tenant: ClaimPath;
  };
}

/** Milliseconds since the epoch, clock tolerance included: good from `notBefore` on, and before `endsAt`. */
export interface TokenTimes {
  readonly notBefore: number;
  readonly endsAt: number;
}

/** What holds for a token whenever it is used. */
export interface TokenFacts extends TokenTimes {
  readonly identity: Identity;
  /** `iat`, in milliseconds since the epoch. */
  readonly issuedAt: number | undefined;
  /** The certificate that the token is bound to, as `PeerCertificate.fingerprint256`. */
  readonly boundTo: string | undefined;
}

type Claims = Readonly<Record<string, unknown>>;

/** The last second that a JavaScript date can name. */
const maxSeconds = 8.64e12;

/** Throws `CredentialError` where a claim is missing or wrong. `claims` is frozen and becomes the principal's. */
export function readClaims(claims: Claims, rules: ClaimRules): TokenFacts {
  if (!isAudience(claims["aud"])) throw invalid("aud is neither a string nor a list of strings");
  const boundTo = boundCertificate(claims, rules.certificateBound);
  for (const path of rules.requiredClaims) {
    if (readClaim(claims, path) === undefined) throw invalid(`the required claim ${path.text} is missing`);
  }
  const expires = readDate(claims, "exp");
  if (expires === undefined) throw invalid("exp is missing");
  const notBefore = readDate(claims, "nbf");
  const issued = readDate(claims, "iat");
  const times = readTimes(rules, expires, notBefore, issued);
  freeze(claims);
  const principal = readPrincipal(claims, rules, expires * 1000);
  return {
    ...times,
    boundTo,
    issuedAt: issued === undefined ? undefined : issued * 1000,
    identity: Object.freeze({ principal, expiresAt: times.endsAt }),
  };
}

/** Throws `CredentialError` where the token is not good at this moment. For each call, whatever a cache remembers. */
export function checkTimes(times: TokenTimes, now: number): void {
  // protection: expiry
  if (now >= times.endsAt) throw new CredentialError("expired", "the token has expired");
  if (now < times.notBefore) throw invalid("the token is not valid yet (nbf, or iat with maxTokenAgeSec)");
}

function readTimes(
  { clockToleranceSec, maxTokenAgeSec }: ClaimRules,
  expires: number,
  notBefore: number | undefined,
  issued: number | undefined,
): TokenTimes {
  let start = notBefore ?? 0;
  let end = expires;
  if (maxTokenAgeSec !== undefined) {
    if (issued === undefined) throw invalid("iat is missing, and maxTokenAgeSec needs it");
    start = Math.max(start, issued);
    end = Math.min(end, issued + maxTokenAgeSec);
  }
  return { notBefore: (start - clockToleranceSec) * 1000, endsAt: (end + clockToleranceSec) * 1000 };
}

/** jose takes a list in which one entry is right, whatever the others are. */
export function isAudience(aud: unknown): boolean {
  if (typeof aud === "string") return true;
  return Array.isArray(aud) && aud.every((audience) => typeof audience === "string");
}

/** Why the token is not for this service, for the log. */
export function audienceProblem(aud: unknown, accepted: ReadonlySet<string>): string {
  const ours = [...accepted].map((audience) => JSON.stringify(audience)).join(", ");
  return `the token's audience (aud) is ${shownClaim(aud)}, not ${boundedText(ours, maxShownLength)}`;
}

/** Whoever made the token may write anything there. */
const maxShownLength = 128;
/** Of a list: more never fit. */
const maxShown = maxShownLength / 2;

/**
 * A claim as a reason may show it: text, numbers, or a list of them. What is nested in it is named and not shown, however
 * deep it is. Not for a claim that holds a secret, or data of whoever the token is about.
 */
export function shownClaim(value: unknown): string {
  if (!Array.isArray(value)) return boundedText(shownValue(value), maxShownLength);
  return boundedText(`[${value.slice(0, maxShown).map(shownValue).join(",")}]`, maxShownLength);
}

function shownValue(value: unknown): string {
  if (value === undefined) return "missing";
  if (typeof value === "string") return JSON.stringify(value.slice(0, maxShownLength));
  if (typeof value !== "object" || value === null) return String(value);
  return Array.isArray(value) ? "an array" : "an object";
}

/** A NumericDate may have a fraction (RFC 7519 section 2); it is a number, and a time that exists. */
export function readDate(claims: Claims, name: string): number | undefined {
  const value = Object.hasOwn(claims, name) ? claims[name] : undefined;
  if (value === undefined) return undefined;
  if (typeof value !== "number" || !(Math.abs(value) <= maxSeconds))
    throw invalid(`${name} is not a date (seconds since the epoch)`);
  return value;
}

function readPrincipal(claims: Claims, { issuer, paths }: ClaimRules, expiresAt: number): Principal {
  const subject = readText(claims, paths.subject);
  if (subject === undefined) throw invalid(`the subject (${paths.subject.text}) is missing`);
  const tenant = readText(claims, paths.tenant);
  return sealedPrincipal({
    subject,
    kind: isClientItself(claims) ? "service" : "user",
    scheme: "jwt",
    issuer,
    ...(tenant === undefined ? {} : { tenant }),
    roles: readNames(claims, paths.roles),
    permissions: readNames(claims, paths.permissions),
    claims,
    expiresAt,
  });
}

/**
 * A client that acts for itself is its token's own subject (RFC 9068 sections 2.2 and 5; `azp`, or Okta's `cid`, where the
 * issuer does not write `client_id`). Read from `sub` alone: another claim that `claims.subject` names may be one that users
 * choose. An issuer that gives such tokens another subject gives principals of kind `user`.
 */
export function isClientItself({ sub, client_id, azp, cid }: Claims): boolean {
  return typeof sub === "string" && [client_id, azp, cid].includes(sub);
}

export function readText(claims: Claims, path: ClaimPath): string | undefined {
  const value = readClaim(claims, path);
  if (value === undefined) return undefined;
  if (typeof value !== "string" || value === "") throw invalid(`${path.text} is empty or not a string`);
  // Half a surrogate pair has no UTF-8 form: two such names would look the same wherever they are written down.
  if (!value.isWellFormed()) throw invalid(`${path.text} is not well-formed Unicode`);
  return value;
}

const noNames = new FrozenSet();

/** The names of all these claims. */
export function readNames(claims: Claims, paths: readonly ClaimPath[]): FrozenSet {
  const names: string[] = [];
  let present = false;
  for (const path of paths) {
    const value = readClaim(claims, path);
    if (value === undefined) continue;
    present = true;
    names.push(...namesIn(value, path));
  }
  if (!present)
    return new FrozenSet([], `the token has no claim ${paths.map(({ text }) => text).join(" or ")}`);
  return names.length === 0 ? noNames : new FrozenSet(names);
}

/** An array of names, or names separated by spaces as in OAuth 2.0's `scope` (RFC 6749 section 3.3). */
function namesIn(value: unknown, path: ClaimPath): readonly string[] {
  const names: unknown = typeof value === "string" ? value.split(" ").filter((name) => name !== "") : value;
  if (!Array.isArray(names) || !names.every((name) => typeof name === "string" && name !== ""))
    throw invalid(`${path.text} is neither an array of names nor names separated by spaces`);
  return names;
}

/**
 * The claims are shared by all calls with this token. A member named `__proto__` is refused: it would replace the
 * prototype of whatever a handler copies the claims into.
 */
export function freeze(claims: Claims): void {
  const open: object[] = [claims];
  for (let value = open.pop(); value !== undefined; value = open.pop()) {
    if (Object.hasOwn(value, "__proto__")) throw invalid("a claim is named __proto__");
    Object.freeze(value);
    for (const member of Object.values(value)) {
      if (typeof member === "object" && member !== null) open.push(member);
    }
  }
}

function invalid(message: string): CredentialError {
  return new CredentialError("invalid", message);
}
