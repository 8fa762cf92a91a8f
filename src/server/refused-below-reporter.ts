// What TLS, HTTP/2 or grpc-js refused before there was a call: counted, and logged once per peer, reason, detail and
// period, because unauthenticated callers cause it.
import type { Logger } from "pino";
import { countConnectionRefusal } from "../middleware/metrics/metrics.ts";
import { LogThrottle } from "../observability/log-throttle.ts";
import { maxTextLength, redactSecrets } from "../observability/redaction.ts";
import type { CertificateNames, OnRefusedBelow, RefusedBelow } from "../transport/refused-below.ts";

const messages: Readonly<Record<RefusedBelow, string>> = {
  connection_limit: "refused a connection: limits.maxConnections connections are open",
  peer_connection_limit:
    "refused a connection: limits.maxConnectionsPerPeer connections are open from its address",
  address_over_limit:
    "refused or ended a connection: its address stays far over its rate limit (rateLimit.perPeer)",
  health_connection_limit:
    "closed the oldest connection of this address to a health port, to accept a newer one",
  handshake_timeout: "ended a connection: it did not speak HTTP/2 in time",
  too_many_pings: "ended a connection: too many pings",
  tls_handshake: "refused a connection: the TLS handshake failed",
  certificate:
    "refused or closed a connection: its client certificate is missing, does not verify or is revoked",
  untrusted_peer: "refused a plaintext connection: this peer is not allowed to connect",
  unknown_protocol: "refused a connection: it does not speak HTTP/2",
  http2_error: "ended a connection: it broke HTTP/2 or its limits",
  content_type: "refused a request: it is not a gRPC call",
};

/** Said where more were refused than were logged, and nobody came who could be told with the next one. */
const andMore = "more refusals like one logged before; left_out is their number";

/** How long one is not repeated, and how long the count of what was left out may wait. */
const periodMs = 10_000;

export interface RefusedBelowReporter {
  readonly report: OnRefusedBelow;
  /** Says what is left out still. */
  close(): void;
}

export function refusedBelowReporter(
  logger: Logger | undefined,
  options: { readonly metrics: boolean },
): RefusedBelowReporter {
  const throttle = new LogThrottle({ periodMs });
  let waiting: NodeJS.Timeout | undefined;
  const say = (fields: Readonly<Record<string, unknown>>, message: string): void => {
    try {
      logger?.warn(fields, message);
    } catch {
      // A logger that throws has nobody left to tell, and this runs in listeners and timers.
    }
  };
  const sayLeftOut = (): void => {
    clearTimeout(waiting);
    waiting = undefined;
    for (const [key, leftOut] of throttle.takeLeftOut())
      say({ ...(key === undefined ? {} : fieldsOf(key)), left_out: leftOut }, andMore);
  };
  return {
    report(reason, address, detail, certificate) {
      if (options.metrics) countConnectionRefusal(reason);
      if (logger === undefined) return;
      const leftOut = throttle.admit(keyOf(reason, address, detail));
      if (leftOut === undefined) {
        waiting ??= setTimeout(sayLeftOut, periodMs).unref();
        return;
      }
      const names = certificate === undefined ? {} : namesOf(certificate);
      say(
        { peer: address, reason, detail: detail.slice(0, maxTextLength), ...names, left_out: leftOut },
        messages[reason],
      );
    },
    close: sayLeftOut,
  };
}

/**
 * What is told apart: one misconfigured client must not hide another's mistake, and no unauthenticated caller may make up what is
 * told apart. Every detail is one of a few, but that of a broken HTTP/2 has an error code in it, which the client chooses.
 */
function keyOf(reason: RefusedBelow, address: string, detail: string): string {
  return JSON.stringify([reason, address, reason === "http2_error" ? "" : detail.slice(0, maxTextLength)]);
}

function fieldsOf(key: string): Readonly<Record<string, unknown>> {
  const [reason, peer, detail]: unknown[] = JSON.parse(key);
  return { peer, reason, ...(detail === "" ? {} : { detail }) };
}

function namesOf({ subject, issuer }: CertificateNames): Readonly<Record<string, string>> {
  return { subject: oneLine(subject), issuer: oneLine(issuer) };
}

/** Node puts each part of a name on a line of its own. */
function oneLine(name: string | undefined): string {
  return redactSecrets((name ?? "").replaceAll("\n", ", "), maxTextLength);
}
