// Counts and times calls through OpenTelemetry (U5): the names of gRFC A66 first, then ours.
import { status } from "@grpc/grpc-js";
import type { Attributes } from "@opentelemetry/api";
import { type CallContext, refusedSchemeOf } from "../call/context.ts";
import {
  type HistogramSeries,
  LateCounter,
  LateHistogram,
  LateObservable,
  observeTallies,
  type Tally,
} from "../call/instruments.ts";
import type { MethodInfo } from "../call/method.ts";
import { statusName, texts } from "../call/status.ts";
import type { Middleware, Outcome } from "../chain/middleware.ts";
import { type RefusedBelow, reasonsBelow } from "../chain/refused-below.ts";

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

/** The size buckets of gRFC A66, "Metrics Schema", in bytes. */
const sizeBucketsBytes = [
  0, 1024, 2048, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216, 67_108_864, 268_435_456,
  1_073_741_824, 4_294_967_296,
];

const sentSize = new LateHistogram("grpc.server.call.sent_total_compressed_message_size", {
  unit: "By",
  description: "Size of all response messages of an RPC, compressed, without framing and metadata",
  advice: { explicitBucketBoundaries: sizeBucketsBytes },
});

const receivedSize = new LateHistogram("grpc.server.call.rcvd_total_compressed_message_size", {
  unit: "By",
  description: "Size of all request messages of an RPC, compressed, without framing and metadata",
  advice: { explicitBucketBoundaries: sizeBucketsBytes },
});

const inFlight = new LateObservable("updown", "palisade.calls.in_flight", {
  unit: "{call}",
  description: "RPCs that have started and not ended",
});

const authentications = new LateCounter("palisade.authentication", {
  unit: "{call}",
  description: "RPCs that were authenticated or refused by authentication",
});

const rejections = new LateCounter("palisade.rejections", {
  unit: "{call}",
  description: "RPCs that a layer refused before or in place of the handler",
});

const refusals = new LateCounter("palisade.connections.refused", {
  unit: "{refusal}",
  description: "Connections and requests refused below the chain, before they were RPCs",
});

/** Beyond the codes of the specification every number is UNKNOWN, which bounds the tables. */
function statusIndex(code: number): number {
  return Number.isInteger(code) && code >= 0 && code <= 16 ? code : status.UNKNOWN;
}

/** The attributes of one method or layer, alone and with each status: made once, frozen, shared by all calls. */
class AttributeSet {
  readonly base: Attributes;
  readonly #byStatus: (Attributes | undefined)[] = new Array(17).fill(undefined);

  constructor(key: string, value: string) {
    this.base = Object.freeze({ [key]: value });
  }

  withStatus(code: number): Attributes {
    const index = statusIndex(code);
    const known = this.#byStatus[index];
    if (known !== undefined) return known;
    const made = Object.freeze({ ...this.base, "grpc.status": statusName(index) });
    this.#byStatus[index] = made;
    return made;
  }
}

/** The histograms of one method that ended with one status. */
interface EndedSeries {
  readonly duration: HistogramSeries;
  readonly sentSize: HistogramSeries;
  readonly receivedSize: HistogramSeries;
}

/** The metrics of one method. */
class MethodSeries {
  readonly attributes: AttributeSet;
  readonly inFlight: Tally;
  readonly #ended: (EndedSeries | undefined)[] = new Array(17).fill(undefined);

  constructor(name: string) {
    this.attributes = new AttributeSet("grpc.method", name);
    this.inFlight = inFlight.tally(this.attributes.base);
  }

  ended(code: number): EndedSeries {
    const index = statusIndex(code);
    const known = this.#ended[index];
    if (known !== undefined) return known;
    const attributes = this.attributes.withStatus(index);
    const made: EndedSeries = {
      duration: duration.series(attributes),
      sentSize: sentSize.series(attributes),
      receivedSize: receivedSize.series(attributes),
    };
    this.#ended[index] = made;
    return made;
  }
}

/** Shared by all servers of the process, as the instruments are. */
const everyMethod = new Map<string, MethodSeries>();

function seriesOf(name: string): MethodSeries {
  const series = everyMethod.get(name) ?? new MethodSeries(name);
  everyMethod.set(name, series);
  return series;
}

/** An own authenticator names its schemes as it likes; this many are told apart. */
const mostSchemes = 32;

type AuthenticationResult = "success" | "missing" | "invalid" | "expired" | "unavailable";

const resultsByText: ReadonlyMap<string, AuthenticationResult> = new Map([
  [texts.missingCredentials, "missing"],
  [texts.invalidCredentials, "invalid"],
  [texts.expiredCredentials, "expired"],
]);

/** Undefined where authentication said nothing: a health probe, or a call that another layer refused before. */
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
 * | `palisade.rejections`, counter of calls that a layer refused | `palisade.layer`, `grpc.status` |
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
 * costs next to nothing. The histograms cost an SDK more than all the others together: see `metricProducer`. Source:
 * gRFC A66.
 */
export function metrics(): Middleware {
  const methods = new Map<string, MethodSeries>();
  const layers = new Map<string, AttributeSet>();
  const schemes = new Map<string, Map<AuthenticationResult, Attributes>>();
  const other = seriesOf("other");

  function seriesFor(method: MethodInfo): MethodSeries {
    if (!method.known) return other;
    let series = methods.get(method.path);
    if (series === undefined) {
      series = seriesOf(method.path.slice(1));
      methods.set(method.path, series);
    }
    return series;
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

  function countAuthentication(call: CallContext, result: AuthenticationResult): void {
    const scheme = call.principal?.scheme ?? refusedSchemeOf(call) ?? "none";
    const known = schemes.has(scheme) || schemes.size < mostSchemes ? scheme : "other";
    const byResult = schemes.get(known) ?? new Map<AuthenticationResult, Attributes>();
    schemes.set(known, byResult);
    let attributes = byResult.get(result);
    if (attributes === undefined) {
      attributes = Object.freeze({ "palisade.scheme": known, "palisade.result": result });
      byResult.set(result, attributes);
    }
    authentications.add(1, attributes);
  }

  return {
    name: "metrics",
    watches: true,
    readsSizes: true,
    onCall(call) {
      const series = seriesFor(call.method);
      series.inFlight.value += 1;
      observeTallies();
      started.add(1, series.attributes.base);
    },
    onEnd(call, outcome) {
      const series = seriesFor(call.method);
      series.inFlight.value -= 1;
      const ended = series.ended(outcome.code);
      ended.duration.record(outcome.durationMs / 1000);
      if (outcome.sentBytes !== undefined) ended.sentSize.record(outcome.sentBytes);
      if (outcome.receivedBytes !== undefined) ended.receivedSize.record(outcome.receivedBytes);
      if (outcome.endedBy === "layer") countRejection(outcome);
      const result = authenticationResult(call, outcome);
      if (result !== undefined) countAuthentication(call, result);
    },
  };
}

const refusalAttributes: ReadonlyMap<RefusedBelow, Attributes> = new Map(
  reasonsBelow.map((reason) => [reason, Object.freeze({ reason })]),
);

/** Counts a refusal below the chain: `palisade.connections.refused` by `reason` (C8). Never throws. */
export function countConnectionRefusal(reason: RefusedBelow): void {
  refusals.add(1, refusalAttributes.get(reason));
}
