// How long calls take, for the caller (gRFC A66).
import type { CallInvocationTransformer, StatusObject } from "@grpc/grpc-js";
import { statusName } from "../grpc/status.ts";
import { latencyBucketsSec } from "../observability/buckets.ts";
import { LazyInstruments } from "../observability/instruments.ts";

const instruments = new LazyInstruments((meter) => ({
  duration: meter.createHistogram("grpc.client.call.duration", {
    unit: "s",
    description: "Time from the start of an RPC to its end, retries included",
    advice: { explicitBucketBoundaries: latencyBucketsSec },
  }),
}));

/**
 * Measures each call in `grpc.client.call.duration`, a histogram in seconds, by `grpc.method` (`package.Service/Method`),
 * `grpc.target` (as it was given to the client) and `grpc.status`. The instruments of gRFC A66 for single attempts are not
 * there, because grpc-js does not tell of attempts. `before` runs first.
 */
export function clientMetrics(target: string, before: CallInvocationTransformer): CallInvocationTransformer {
  return (properties) => {
    const call = before(properties);
    const startedAt = performance.now();
    const { path } = call.methodDefinition;
    call.call.on("status", ({ code }: StatusObject) => {
      const seconds = (performance.now() - startedAt) / 1000;
      const attributes = {
        "grpc.method": path.slice(1),
        "grpc.target": target,
        "grpc.status": statusName(code),
      };
      instruments.use(({ duration }) => duration.record(seconds, attributes));
    });
    return call;
  };
}
