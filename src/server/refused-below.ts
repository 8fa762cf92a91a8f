// What TLS, HTTP/2 or grpc-js refused before there was a call: counted, and logged once per peer and reason and period,
// because strangers cause it (C8).
import type { Logger } from "pino";
import { LogThrottle } from "../call/log-throttle.ts";
import { longestText } from "../call/redaction.ts";
import type { RefusedBelow } from "../chain/refused-below.ts";
import { countConnectionRefusal } from "../middleware/metrics.ts";

const messages: Readonly<Record<RefusedBelow, string>> = {
  connection_limit: "refused a connection: as many as limits.maxConnections are open",
  peer_connection_limit:
    "refused a connection: as many as limits.maxConnectionsPerPeer are open from its address",
  health_connection_limit:
    "ended a connection of a health port, the oldest of its address: a newer one took its place",
  handshake_timeout: "ended a connection: it did not speak HTTP/2 in time",
  too_many_pings: "ended a connection: too many pings",
  tls_handshake: "refused a connection: the TLS handshake failed",
  certificate: "refused a connection: its client certificate is missing or does not verify",
  untrusted_peer: "refused a plaintext connection: its peer is not one that may connect",
  unknown_protocol: "refused a connection: it does not speak HTTP/2",
  http2_error: "ended a connection: it broke HTTP/2 or its limits",
  content_type: "refused a request: it is no gRPC call",
};

export function refusedBelowReporter(
  logger: Logger | undefined,
  options: { readonly metrics: boolean },
): (reason: RefusedBelow, address: string, detail: string) => void {
  const throttle = new LogThrottle();
  return (reason, address, detail) => {
    if (options.metrics) countConnectionRefusal(reason);
    if (logger === undefined) return;
    const leftOut = throttle.admit(`${reason} ${address}`);
    if (leftOut === undefined) return;
    logger.warn(
      { peer: address, reason, detail: detail.slice(0, longestText), left_out: leftOut },
      messages[reason],
    );
  };
}
