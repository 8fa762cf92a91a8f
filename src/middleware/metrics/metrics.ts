// Counts and times calls through OpenTelemetry (U5): the names of gRFC A66 first, then ours.
import { status } from "@grpc/grpc-js";
import { type CallContext, refusedSchemeOf } from "../../chain/context.ts";
import type { Middleware, Outcome } from "../../chain/middleware.ts";
import type { MethodInfo } from "../../grpc/method.ts";
import { onceFor } from "../../grpc/once-for.ts";
import { statusName, texts } from "../../grpc/status.ts";
import {
  type CounterSeries,
  type HistogramSeries,
  LateCounter,
  LateHistogram,
  LateObservable,
  observeTallies,
  type Tally,
} from "../../observability/instruments.ts";
import { type RefusedBelow, reasonsBelow } from "../../transport/refused-below.ts";

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

/** What `make` makes for each status, once. */
class ByStatus<Made> {
  readonly #made: (Made | undefined)[] = new Array(17).fill(undefined);
  readonly #make: (name: string) => Made;

  constructor(make: (name: string) => Made) {
    this.#make = make;
  }

  get(code: number): Made {
    const index = statusIndex(code);
    const before = this.#made[index];
    if (before !== undefined) return before;
    const made = this.#make(statusName(index));
    this.#made[index] = made;
    return made;
  }
}

/** The histograms of calls of one method that ended with one status. */
interface EndedSeries {
  readonly duration: HistogramSeries;
  readonly sentSize: HistogramSeries;
  readonly receivedSize: HistogramSeries;
}

/** The metrics of one method. */
class MethodSeries {
  readonly started: CounterSeries;
  readonly inFlight: Tally;
  readonly ended: ByStatus<EndedSeries>;

  constructor(name: string) {
    const method = { "grpc.method": name };
    this.started = started.series({ ...method });
    this.inFlight = inFlight.tally({ ...method });
    this.ended = new ByStatus((statusName) => {
      const attributes = { ...method, "grpc.status": statusName };
      return {
        duration: duration.series(attributes),
        sentSize: sentSize.series(attributes),
        receivedSize: receivedSize.series(attributes),
      };
    });
  }
}

/** Shared by all servers of the process, as the instruments are. */
const everyMethod = new Map<string, MethodSeries>();

function seriesNamed(name: string): MethodSeries {
  const series = everyMethod.get(name) ?? new MethodSeries(name);
  everyMethod.set(name, series);
  return series;
}

const seriesOf = onceFor<MethodInfo, MethodSeries>(({ path }) => seriesNamed(path.slice(1)));

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
  const layers = new Map<string, ByStatus<CounterSeries>>();
  const schemes = new Map<string, Map<AuthenticationResult, CounterSeries>>();
  const other = seriesNamed("other");

  function seriesFor(method: MethodInfo): MethodSeries {
    return method.known ? seriesOf(method) : other;
  }

  function countRejection(outcome: Outcome): void {
    const layer = outcome.layer ?? "unknown";
    let series = layers.get(layer);
    if (series === undefined) {
      series = new ByStatus((statusName) =>
        rejections.series({ "palisade.layer": layer, "grpc.status": statusName }),
      );
      layers.set(layer, series);
    }
    series.get(outcome.code).add(1);
  }

  function countAuthentication(call: CallContext, result: AuthenticationResult): void {
    const scheme = call.principal?.scheme ?? refusedSchemeOf(call) ?? "none";
    const known = schemes.has(scheme) || schemes.size < mostSchemes ? scheme : "other";
    const byResult = schemes.get(known) ?? new Map<AuthenticationResult, CounterSeries>();
    schemes.set(known, byResult);
    let series = byResult.get(result);
    if (series === undefined) {
      series = authentications.series({ "palisade.scheme": known, "palisade.result": result });
      byResult.set(result, series);
    }
    series.add(1);
  }

  return {
    name: "metrics",
    watches: true,
    onCall(call) {
      const series = seriesFor(call.method);
      series.inFlight.value += 1;
      observeTallies();
      series.started.add(1);
    },
    onEnd(call, outcome) {
      const series = seriesFor(call.method);
      series.inFlight.value -= 1;
      const ended = series.ended.get(outcome.code);
      ended.duration.record(outcome.durationMs / 1000);
      ended.sentSize.record(outcome.sentBytes);
      ended.receivedSize.record(outcome.receivedBytes);
      if (outcome.endedBy === "layer") countRejection(outcome);
      const result = authenticationResult(call, outcome);
      if (result !== undefined) countAuthentication(call, result);
    },
  };
}

const refusalSeries: ReadonlyMap<RefusedBelow, CounterSeries> = new Map(
  reasonsBelow.map((reason) => [reason, refusals.series({ reason })]),
);

/** Counts a refusal below the chain: `palisade.connections.refused` by `reason` (C8). Never throws. */
export function countConnectionRefusal(reason: RefusedBelow): void {
  refusalSeries.get(reason)?.add(1);
}
