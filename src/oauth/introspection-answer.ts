// What an introspection endpoint says of a token (RFC 7662 section 2.2), turned into an identity. What a well-formed answer says
// against a token is the caller's fault; an answer that is not well-formed is ours.
import { type Identity, sealedPrincipal } from "../chain/principal.ts";
import { CredentialError } from "../grpc/errors.ts";
import {
  boundCertificate,
  type CertificateBound,
} from "../middleware/authentication/jwt/certificate-binding.ts";
import { type ClaimPath, pathOf } from "../middleware/authentication/jwt/claim-path.ts";
import { isObject } from "../middleware/authentication/jwt/json-object.ts";
import {
  audienceProblem,
  freeze,
  isAudience,
  isClientItself,
  readDate,
  readNames,
  readText,
  type TokenTimes,
} from "../middleware/authentication/jwt/token-claims.ts";
import type { RevocableToken } from "../middleware/authentication/revocation/revocation-list.ts";
import { type IntrospectionAnswer, IntrospectionFailure } from "./introspection-endpoint.ts";

export interface AnswerRules {
  readonly issuer: string | undefined;
  /** Undefined: tokens of any audience. */
  readonly audiences: ReadonlySet<string> | undefined;
  readonly clockToleranceSec: number;
  readonly certificateBound: CertificateBound;
  readonly paths: {
    /** Undefined: `sub`, else `client_id`. */
    readonly subject: ClaimPath | undefined;
    readonly roles: readonly ClaimPath[];
    readonly permissions: readonly ClaimPath[];
    readonly tenant: ClaimPath;
  };
}

/** What holds for a token whenever it is used, until it is asked about again. */
export interface ActiveToken extends TokenTimes {
  readonly identity: Identity;
  readonly boundTo: string | undefined;
  readonly revocable: RevocableToken;
}

/** Throws `CredentialError` for a token that is not good here, and `IntrospectionFailure` for a malformed answer. */
export function readAnswer(answer: IntrospectionAnswer, rules: AnswerRules): ActiveToken {
  if (answer["active"] !== true) throw invalid("the token is not active");
  const shape = wellFormed(answer, rules);
  checkPurpose(shape, rules);
  if (shape.subject === undefined) throw invalid("the answer names no subject");
  const { subject, expires, notBefore, issued, id, tenant, roles, permissions } = shape;
  const issuer = rules.issuer ?? shape.issuer;
  const toleranceMs = rules.clockToleranceSec * 1000;
  const endsAt = expires === undefined ? Number.POSITIVE_INFINITY : expires * 1000 + toleranceMs;
  const principal = sealedPrincipal({
    subject,
    kind: isService(answer, subject, rules) ? "service" : "user",
    scheme: "introspection",
    ...(issuer === undefined ? {} : { issuer }),
    ...(tenant === undefined ? {} : { tenant }),
    roles,
    permissions,
    claims: answer,
    ...(expires === undefined ? {} : { expiresAt: expires * 1000 }),
  });
  return {
    identity: Object.freeze({ principal, ...(expires === undefined ? {} : { expiresAt: endsAt }) }),
    notBefore: (notBefore ?? 0) * 1000 - toleranceMs,
    endsAt,
    boundTo: boundCertificate(answer, rules.certificateBound),
    revocable: {
      subject,
      ...(id === undefined ? {} : { id }),
      ...(issued === undefined ? {} : { issuedAt: issued * 1000 }),
    },
  };
}

type Shape = ReturnType<typeof membersOf>;

function wellFormed(answer: IntrospectionAnswer, rules: AnswerRules): Shape {
  try {
    return membersOf(answer, rules);
  } catch (error) {
    if (!(error instanceof CredentialError)) throw error;
    throw new IntrospectionFailure(`the introspection endpoint's answer is malformed: ${error.message}`);
  }
}

const paths = {
  sub: pathOf("sub"),
  clientId: pathOf("client_id"),
  issuer: pathOf("iss"),
  id: pathOf("jti"),
  tokenType: pathOf("token_type"),
} as const;

/** A server may leave `sub` out where there is no user: the client is then the subject (RFC 7662 section 2.2). */
function isService(answer: IntrospectionAnswer, subject: string, { paths: own }: AnswerRules): boolean {
  const isClient = own.subject === undefined && (answer["sub"] ?? undefined) === undefined;
  return isClientItself(answer) || (isClient && answer["client_id"] === subject);
}

/** Each member that is there has its type. Throws `CredentialError`. */
function membersOf(answer: IntrospectionAnswer, rules: AnswerRules) {
  freeze(answer);
  const audience = answer["aud"] ?? undefined;
  if (audience !== undefined && !isAudience(audience))
    throw invalid("aud is neither a string nor a list of strings");
  const confirmation = answer["cnf"] ?? undefined;
  if (confirmation !== undefined && !isObject(confirmation)) throw invalid("cnf is not an object");
  return {
    audience,
    subject:
      rules.paths.subject === undefined
        ? (readText(answer, paths.sub) ?? readText(answer, paths.clientId))
        : readText(answer, rules.paths.subject),
    issuer: readText(answer, paths.issuer),
    id: readText(answer, paths.id),
    tokenType: readText(answer, paths.tokenType),
    kinds: [answer["typ"], answer["token_use"]],
    expires: readDate(answer, "exp"),
    notBefore: readDate(answer, "nbf"),
    issued: readDate(answer, "iat"),
    tenant: readText(answer, rules.paths.tenant),
    roles: readNames(answer, rules.paths.roles),
    permissions: readNames(answer, rules.paths.permissions),
  };
}

/** By which authorization servers tell other tokens apart: `typ` of Keycloak's answers, `token_use` of Hydra's. */
const otherTokens: ReadonlySet<unknown> = new Set([
  "refresh",
  "refresh_token",
  "offline",
  "id",
  "id_token",
  "logout",
]);

/** Is it an access token, for this service, of this issuer? */
function checkPurpose(
  { audience, issuer, tokenType, kinds }: Shape,
  { issuer: expected, audiences }: AnswerRules,
): void {
  for (const kind of kinds)
    if (typeof kind === "string" && otherTokens.has(kind.toLowerCase()))
      throw invalid("the token is no access token (typ, token_use)");
  if (expected !== undefined && issuer !== undefined && issuer !== expected)
    throw invalid("iss is not the configured issuer");
  if (tokenType !== undefined && tokenType.toLowerCase() !== "bearer")
    throw invalid("the token_type is not Bearer");
  if (audiences === undefined) {
    // RFC 6749 section 5.1: access tokens have a type. Refresh tokens, which endpoints know as well, have none.
    if (tokenType === undefined)
      throw invalid("the answer has no token_type, and no audience is configured: it may be a refresh token");
    return;
  }
  const named = audience === undefined ? [] : [audience].flat();
  if (!named.some((name) => typeof name === "string" && audiences.has(name)))
    throw invalid(audienceProblem(audience, audiences));
}

function invalid(message: string): CredentialError {
  return new CredentialError("invalid", message);
}
