// Counts and times calls through OpenTelemetry (U5): the names of gRFC A66 first, then ours.
import type { Attributes } from "@opentelemetry/api";
import { LateCounter, LateHistogram } from "../call/instruments.ts";
import type { MethodInfo } from "../call/method.ts";
import { statusName } from "../call/status.ts";
import type { Middleware, Outcome } from "../chain/middleware.ts";

/** The latency buckets of gRFC A66, "Metrics Schema", in seconds. */
const latencyBucketsSec = [
  0, 0.00001, 0.00005, 0.0001, 0.0003, 0.0006, 0.0008, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01,
  0.013, 0.016, 0.02, 0.025, 0.03, 0.04, 0.05, 0.065, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.4, 0.5, 0.65,
  0.8, 1, 2, 5, 10, 20, 50, 100,
];

const started = new LateCounter("grpc.server.call.started", {
  unit: "{call}",
  description: "RPCs started, including those that have not completed",
});

const duration = new LateHistogram("grpc.server.call.duration", {
  unit: "s",
  description: "Time from the arrival of an RPC to its end",
  advice: { explicitBucketBoundaries: latencyBucketsSec },
});

const rejections = new LateCounter("palisade.rejections", {
  unit: "{call}",
  description: "RPCs that a layer refused before or in place of the handler",
});

const refusals = new LateCounter("palisade.connections.refused", {
  unit: "{refusal}",
  description: "Connections and requests refused below the chain, before they were RPCs",
});

/** The attributes of one method or layer, alone and with each status: made once, frozen, shared by all calls. */
class AttributeSet {
  readonly base: Attributes;
  readonly #byStatus: (Attributes | undefined)[] = new Array(17).fill(undefined);

  constructor(key: string, value: string) {
    this.base = Object.freeze({ [key]: value });
  }

  withStatus(code: number): Attributes {
    // Beyond the codes of the specification every number is UNKNOWN, which bounds the table.
    const index = Number.isInteger(code) && code >= 0 && code <= 16 ? code : 2;
    const known = this.#byStatus[index];
    if (known !== undefined) return known;
    const made = Object.freeze({ ...this.base, "grpc.status": statusName(index) });
    this.#byStatus[index] = made;
    return made;
  }
}

/**
 * Measures each call:
 *
 * | instrument | attributes |
 * |---|---|
 * | `grpc.server.call.started`, counter | `grpc.method` |
 * | `grpc.server.call.duration`, histogram in seconds | `grpc.method`, `grpc.status` |
 * | `palisade.rejections`, counter of calls that a layer refused | `palisade.layer`, `grpc.status` |
 *
 * `grpc.method` is `package.Service/Method`; a method that is not registered is `other`, because callers choose its
 * name. Instruments come from the global meter provider of `@opentelemetry/api`, whenever it is registered; without
 * one this costs next to nothing. Source: gRFC A66.
 */
export function metrics(): Middleware {
  const methods = new Map<string, AttributeSet>();
  const layers = new Map<string, AttributeSet>();
  const other = new AttributeSet("grpc.method", "other");

  function methodAttributes(method: MethodInfo): AttributeSet {
    if (!method.known) return other;
    let attributes = methods.get(method.path);
    if (attributes === undefined) {
      attributes = new AttributeSet("grpc.method", method.path.slice(1));
      methods.set(method.path, attributes);
    }
    return attributes;
  }

  function countRejection(outcome: Outcome): void {
    const layer = outcome.layer ?? "unknown";
    let attributes = layers.get(layer);
    if (attributes === undefined) {
      attributes = new AttributeSet("palisade.layer", layer);
      layers.set(layer, attributes);
    }
    rejections.add(1, attributes.withStatus(outcome.code));
  }

  return {
    name: "metrics",
    watches: true,
    onCall(call) {
      started.add(1, methodAttributes(call.method).base);
    },
    onEnd(call, outcome) {
      duration.record(outcome.durationMs / 1000, methodAttributes(call.method).withStatus(outcome.code));
      if (outcome.endedBy === "layer") countRejection(outcome);
    },
  };
}

/** Why something was refused below the chain. A fixed set: it is a metric's label. */
export const connectionRefusalReasons = [
  /** The TLS handshake failed: protocol, cipher, or no certificate where one is required. */
  "tls_handshake",
  /** The handshake was not done in time. */
  "handshake_timeout",
  /** The client's certificate was revoked or did not verify. */
  "certificate",
  /** Too many connections in all. */
  "connection_limit",
  /** Too many connections from this peer. */
  "peer_connection_limit",
  /** A `mesh` connection from an address that is not a configured peer. */
  "untrusted_peer",
  /** Not HTTP/2. */
  "unknown_protocol",
  /** HTTP/2 that breaks the protocol or its limits. */
  "http2_error",
  /** Pings more often than allowed. */
  "too_many_pings",
  /** An HTTP/2 request that is no gRPC call. */
  "content_type",
  "other",
] as const;

export type ConnectionRefusalReason = (typeof connectionRefusalReasons)[number];

const refusalAttributes: ReadonlyMap<ConnectionRefusalReason, Attributes> = new Map(
  connectionRefusalReasons.map((reason) => [reason, Object.freeze({ reason })]),
);

/** Counts a refusal below the chain: `palisade.connections.refused` by `reason` (C8). Never throws. */
export function countConnectionRefusal(reason: ConnectionRefusalReason): void {
  refusals.add(1, refusalAttributes.get(reason));
}
