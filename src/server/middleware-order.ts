// The one place that knows the order of the middleware. It reads like the list in the README.

import type { Middleware } from "../chain/middleware.ts";
import type { MethodInfo } from "../grpc/method.ts";
import type { AuditMiddleware } from "../middleware/audit/audit.ts";
import {
  authenticationWatchedBy,
  type LostCertificates,
} from "../middleware/authentication/authentication.ts";
import { PresentedCredentials } from "../middleware/authentication/presented-credentials.ts";
import { authorizationBy, type PolicyHolder } from "../middleware/authorization/authorization.ts";
import { type DeadlineLimits, deadline } from "../middleware/deadline/deadline.ts";
import type { LoggingMiddleware } from "../middleware/logging/logging.ts";
import { metadataLimit } from "../middleware/metadata-limit/metadata-limit.ts";
import { metrics } from "../middleware/metrics/metrics.ts";
import {
  type FailedAuthenticationLimit,
  failedAuthenticationLimit,
} from "../middleware/rate-limit/failed-authentication.ts";
import {
  type Limiters,
  type MethodRateLimits,
  messageMiddleware,
  methodLimiters,
  newLimiters,
  peerMiddleware,
  principalMiddleware,
} from "../middleware/rate-limit/rate-limit.ts";
import { tracing } from "../middleware/tracing/tracing.ts";
import { validationBy } from "../middleware/validation/validation.ts";
import { forwardedCertificateCheck } from "./forwarded-certificate-of-calls.ts";
import type { MethodOptions, MethodOverrides } from "./method-overrides.ts";
import type { ChainSettings } from "./server-options.ts";
import type { ValidatedMethods } from "./validated-methods.ts";

export interface ChainParts {
  readonly settings: ChainSettings;
  readonly logging: LoggingMiddleware | undefined;
  readonly audit: AuditMiddleware | undefined;
  /** Counts for the addresses that stay far over their limit; undefined where connections are not ours. */
  readonly flooding?: Middleware | undefined;
  readonly policy: PolicyHolder;
  /** Is the method's rule the application's? Rules that the server brings (health, reflection) know no dry run. */
  readonly isApplications: (method: MethodInfo) => boolean;
  readonly overrides: MethodOverrides;
  readonly validated: ValidatedMethods;
  /** Do calls bring the client's certificate in a header, from a sidecar that is trusted to say so? */
  readonly behindMesh: boolean;
  /** Undefined where connections are not ours. */
  readonly lostCertificates?: LostCertificates | undefined;
}

export function middlewareInOrder(parts: ChainParts): readonly Middleware[] {
  const {
    settings,
    logging,
    audit,
    flooding,
    policy,
    isApplications,
    overrides,
    validated,
    behindMesh,
    lostCertificates,
  } = parts;
  const { enforce } = settings;
  const limiters = newLimiters(settings.rateLimit, enforce.rateLimit ? "refuse" : "note");
  const limitersFor = (own: MethodRateLimits | undefined, path: string): Limiters =>
    own === undefined ? limiters : methodLimiters(limiters, own, path);
  const failures = failedAuthentication(parts, limiters);
  return [
    // They watch.
    ...(settings.tracing ? [tracing()] : []),
    ...(logging === undefined ? [] : [logging]),
    ...(settings.metrics ? [metrics()] : []),
    // protection: audit
    ...(audit === undefined
      ? []
      : overrides.middlewareFor("audit", (own) => (own === false ? nothing : audit))),
    ...(flooding === undefined ? [] : [flooding]),
    // They refuse.
    // First: of a call that is too large the forwarded certificate was not read.
    // protection: metadata-limit
    metadataLimit({ maxMetadataBytes: settings.limits.maxMetadataBytes }),
    ...(behindMesh ? [forwardedCertificateCheck()] : []),
    // protection: deadline
    ...overrides.middlewareFor("deadline", (own) => deadline(ownDeadline(settings.deadline, own))),
    // protection: peer-rate-limit
    ...overrides.middlewareFor("rateLimit", (own, path) =>
      peerMiddleware(limitersFor(own, path), failures?.askMeanwhile),
    ),
    // protection: failed-authentication
    ...(failures === undefined ? [] : [failures.middleware]),
    authenticationWatchedBy(
      failures?.verdicts,
      settings.authentication,
      {
        isPublic: ({ path }) => policy.isPublic(path),
        callsOutliveCredentials: settings.callsOutliveCredentials,
        trustedActors: settings.trustedActors,
      },
      lostCertificates,
    ),
    // protection: principal-limits
    ...overrides.middlewareFor("rateLimit", (own, path) => principalMiddleware(limitersFor(own, path))),
    // protection: authorization
    authorizationBy(policy, {
      enforces: (method) => /* protection: built-in-rules */ enforce.authorization || !isApplications(method),
      presents: (call) => settings.authentication.presents(call),
    }),
    ...overrides.middlewareFor("rateLimit", (own, path) => messageMiddleware(limitersFor(own, path))),
    // protection: validation
    validationBy(validated.checks),
    // Middleware of the application's own.
    ...settings.middleware,
  ];
}

/** Takes the place of a middleware that a method does without. */
const nothing: Middleware = Object.freeze<Middleware>({ name: "nothing", appliesTo: () => false });

function ownDeadline(general: DeadlineLimits, own: MethodOptions["deadline"]): DeadlineLimits {
  return {
    ...general,
    required: own?.required ?? general.required,
    ...(own?.maxMs === undefined ? {} : { maxUnaryMs: own.maxMs, maxStreamMs: own.maxMs }),
  };
}

function failedAuthentication(
  { settings: { rateLimit, authentication }, behindMesh }: ChainParts,
  { enforcement, store }: Limiters,
): FailedAuthenticationLimit | undefined {
  if (rateLimit.failedAuthentication === false) return undefined;
  return failedAuthenticationLimit({
    limit: rateLimit.failedAuthentication,
    credentials: new PresentedCredentials(authentication),
    enforcement,
    // A sidecar's address is that of all who come through it.
    addressesAreShared: behindMesh,
    store,
  });
}
