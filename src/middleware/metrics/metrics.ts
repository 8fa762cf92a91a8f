// Counts and times calls through OpenTelemetry: the names of gRFC A66 first, then ours.
import { status } from "@grpc/grpc-js";
import type { Attributes } from "@opentelemetry/api";
import { type CallContext, refusedSchemeOf } from "../../chain/context.ts";
import type { Middleware, Outcome } from "../../chain/middleware.ts";
import type { MethodInfo } from "../../grpc/method.ts";
import { statusName, texts } from "../../grpc/status.ts";
import { latencyBucketsSec, sizeBucketsBytes } from "../../observability/buckets.ts";
import { LazyInstruments, type ObservedSeries, observed } from "../../observability/instruments.ts";
import type { RefusedBelow } from "../../transport/refused-below.ts";

const instruments = new LazyInstruments((meter) => ({
  started: meter.createCounter("grpc.server.call.started", {
    unit: "{call}",
    description: "RPCs started, including those that have not completed",
  }),
  duration: meter.createHistogram("grpc.server.call.duration", {
    unit: "s",
    description: "Time from the arrival of an RPC to its end",
    advice: { explicitBucketBoundaries: latencyBucketsSec },
  }),
  sentSize: meter.createHistogram("grpc.server.call.sent_total_compressed_message_size", {
    unit: "By",
    description: "Size of all response messages of an RPC, compressed, without framing and metadata",
    advice: { explicitBucketBoundaries: sizeBucketsBytes },
  }),
  receivedSize: meter.createHistogram("grpc.server.call.rcvd_total_compressed_message_size", {
    unit: "By",
    description: "Size of all request messages of an RPC, compressed, without framing and metadata",
    advice: { explicitBucketBoundaries: sizeBucketsBytes },
  }),
  authentications: meter.createCounter("palisade.authentication", {
    unit: "{call}",
    description: "RPCs that were authenticated or refused by authentication",
  }),
  rejections: meter.createCounter("palisade.rejections", {
    unit: "{call}",
    description: "RPCs that a middleware refused before or in place of the handler",
  }),
  refusals: meter.createCounter("palisade.connections.refused", {
    unit: "{refusal}",
    description: "Connections and requests refused below the chain, before they were RPCs",
  }),
}));

const inFlight = observed("up-down counter", "palisade.calls.in_flight", {
  unit: "{call}",
  description: "RPCs that have started and not ended",
});

/** Beyond the codes of the specification every number is UNKNOWN, which bounds the tables. */
function statusIndex(code: number): number {
  return Number.isInteger(code) && code >= 0 && code <= 16 ? code : status.UNKNOWN;
}

/** What the series of one method are told apart by. */
interface MethodSeries {
  readonly attributes: Attributes;
  readonly inFlight: ObservedSeries;
  /** By status, made when the first call ends with it. */
  readonly ended: (Attributes | undefined)[];
}

/** By `grpc.method`; shared by all servers of the process, as the instruments are. */
const everyMethod = new Map<string, MethodSeries>();

function seriesOf({ known, path }: MethodInfo): MethodSeries {
  const name = known ? path.slice(1) : "other";
  const before = everyMethod.get(name);
  if (before !== undefined) return before;
  const attributes = Object.freeze({ "grpc.method": name });
  const series = { attributes, inFlight: inFlight({ ...attributes }), ended: [] };
  everyMethod.set(name, series);
  return series;
}

function endedWith({ attributes, ended }: MethodSeries, code: number): Attributes {
  const index = statusIndex(code);
  ended[index] ??= Object.freeze({ ...attributes, "grpc.status": statusName(index) });
  return ended[index];
}

/** An own authenticator names its schemes as it likes; this many are told apart. */
const maxSchemes = 32;

type AuthenticationResult = "success" | "missing" | "invalid" | "expired" | "unavailable";

const resultsByText: ReadonlyMap<string, AuthenticationResult> = new Map([
  [texts.missingCredentials, "missing"],
  [texts.invalidCredentials, "invalid"],
  [texts.expiredCredentials, "expired"],
]);

/** Undefined where authentication said nothing: a health probe, or a call that another middleware refused before. */
function authenticationResult(call: CallContext, outcome: Outcome): AuthenticationResult | undefined {
  if (call.principal !== undefined) return "success";
  if (outcome.layer !== "authentication") return undefined;
  return resultsByText.get(outcome.details) ?? "unavailable";
}

/**
 * Measures each call:
 *
 * | instrument | attributes |
 * |---|---|
 * | `grpc.server.call.started`, counter | `grpc.method` |
 * | `grpc.server.call.duration`, histogram in seconds | `grpc.method`, `grpc.status` |
 * | `grpc.server.call.sent_total_compressed_message_size`, histogram in bytes | `grpc.method`, `grpc.status` |
 * | `grpc.server.call.rcvd_total_compressed_message_size`, histogram in bytes | `grpc.method`, `grpc.status` |
 * | `palisade.calls.in_flight`, up-down counter | `grpc.method` |
 * | `palisade.rejections`, counter of calls that a middleware refused | `palisade.layer`, `grpc.status` |
 * | `palisade.authentication`, counter | `palisade.scheme`, `palisade.result` |
 *
 * It also has the numbers read that other parts keep: `palisade.token_cache.lookups` by `palisade.result` (`hit`,
 * `miss`), and `palisade.rate_limit.decisions` by `palisade.limit` (`per_peer`, `per_principal`, `in_flight`) and
 * `palisade.result` (`allowed`, `limited`).
 *
 * `grpc.method` is `package.Service/Method`; a method that is not registered is `other`, because callers choose its
 * name. `palisade.scheme` is the scheme of the principal, or of the authenticator that refused (`none` where no
 * credential was recognized); `palisade.result` is then `success`, `missing`, `invalid`, `expired` or `unavailable`.
 * Instruments come from the global meter provider of `@opentelemetry/api`, whenever it is registered; without one this
 * costs next to nothing. Source: gRFC A66.
 */
export function metrics(): Middleware {
  const schemes = new Set<string>();

  function boundedScheme(call: CallContext): string {
    const scheme = call.principal?.scheme ?? refusedSchemeOf(call) ?? "none";
    if (!schemes.has(scheme) && schemes.size >= maxSchemes) return "other";
    schemes.add(scheme);
    return scheme;
  }

  return {
    name: "metrics",
    observes: true,
    onCall({ method }) {
      const series = seriesOf(method);
      series.inFlight.value += 1;
      instruments.use(({ started }) => started.add(1, series.attributes));
    },
    onEnd(call, outcome) {
      const series = seriesOf(call.method);
      series.inFlight.value -= 1;
      const { code, layer, endedBy, durationMs, sentBytes, receivedBytes } = outcome;
      instruments.use(({ duration, sentSize, receivedSize, rejections, authentications }) => {
        const attributes = endedWith(series, code);
        duration.record(durationMs / 1000, attributes);
        sentSize.record(sentBytes, attributes);
        receivedSize.record(receivedBytes, attributes);
        if (endedBy === "layer")
          rejections.add(1, {
            "palisade.layer": layer ?? "unknown",
            "grpc.status": statusName(statusIndex(code)),
          });
        const result = authenticationResult(call, outcome);
        if (result !== undefined)
          authentications.add(1, { "palisade.scheme": boundedScheme(call), "palisade.result": result });
      });
    },
  };
}

/** Counts a refusal below the chain: `palisade.connections.refused` by `reason`. Never throws. */
export function countConnectionRefusal(reason: RefusedBelow): void {
  instruments.use(({ refusals }) => refusals.add(1, { reason }));
}
