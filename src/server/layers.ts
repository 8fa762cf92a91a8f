// The one place that knows the order of the layers (C1). It reads like the list in the README.
import type { Logger } from "pino";
import type { Middleware } from "../chain/middleware.ts";
import type { AuditLayer } from "../middleware/audit/audit.ts";
import { authentication } from "../middleware/authentication/authentication.ts";
import { authorizationBy, type PolicyHolder } from "../middleware/authorization/authorization.ts";
import { deadline } from "../middleware/deadline.ts";
import { logging } from "../middleware/logging.ts";
import { metadataLimit } from "../middleware/metadata-limit.ts";
import { metrics } from "../middleware/metrics.ts";
import { peerRateLimit, principalRateLimit } from "../middleware/rate-limit/rate-limit.ts";
import { tracing } from "../middleware/tracing.ts";
import { forwardedCertificateCheck } from "./forwarded-certificate.ts";
import type { LayerSettings } from "./options.ts";

export interface LayerParts {
  readonly settings: LayerSettings;
  readonly logger: Logger | undefined;
  readonly audit: AuditLayer | undefined;
  readonly policy: PolicyHolder;
  /** Do calls bring the client's certificate in a header, from a sidecar that is trusted to say so? */
  readonly behindMesh: boolean;
}

export function layersOf({ settings, logger, audit, policy, behindMesh }: LayerParts): readonly Middleware[] {
  return [
    // They watch.
    ...(settings.tracing ? [tracing()] : []),
    ...(logger === undefined ? [] : [logging({ logger })]),
    ...(settings.metrics ? [metrics()] : []),
    ...(audit === undefined ? [] : [audit]),
    // They refuse.
    ...(behindMesh ? [forwardedCertificateCheck()] : []),
    metadataLimit({ maxMetadataBytes: settings.limits.maxMetadataBytes }),
    deadline(settings.deadline),
    peerRateLimit(settings.rateLimit),
    authentication(settings.authentication, {
      isPublic: ({ path }) => policy.isPublic(path),
      callsOutliveCredentials: settings.callsOutliveCredentials,
    }),
    principalRateLimit(settings.rateLimit),
    authorizationBy(policy),
    // Layers of the application's own.
    ...settings.middleware,
  ];
}
