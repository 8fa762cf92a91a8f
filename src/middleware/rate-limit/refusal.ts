// How a limit refuses: with the time after which to come back, or in a dry run with a note alone.
import { Metadata, status } from "@grpc/grpc-js";
import type { CallContext } from "../../chain/context.ts";
import { recordDryRunRefusal } from "../../chain/dry-run.ts";
import { StatusError } from "../../grpc/errors.ts";
import { texts } from "../../grpc/status.ts";

/** `note` is a dry run: the call goes on, and log and audit say what would have been. */
export type Enforcement = "refuse" | "note";

/** gRFC A6 reads the pushback as a 32-bit number, and anything else as "never try again". */
const maxPushbackMs = 2_147_483_647;

export function refuseForNow(
  call: CallContext,
  layer: string,
  enforcement: Enforcement,
  retryAfterMs: number,
): void {
  if (enforcement === "refuse") throw rateLimitExceeded(retryAfterMs);
  recordDryRunRefusal(call, { layer, code: status.RESOURCE_EXHAUSTED, details: texts.rateLimitExceeded });
}

export function refuseOneMore(call: CallContext, layer: string, enforcement: Enforcement): void {
  if (enforcement === "refuse") throw new StatusError(status.RESOURCE_EXHAUSTED, texts.tooManyCallsInFlight);
  recordDryRunRefusal(call, { layer, code: status.RESOURCE_EXHAUSTED, details: texts.tooManyCallsInFlight });
}

export function rateLimitExceeded(retryAfterMs: number): StatusError {
  const metadata = new Metadata();
  metadata.set("retry-after", String(Math.ceil(retryAfterMs / 1000)));
  metadata.set("grpc-retry-pushback-ms", String(Math.min(retryAfterMs, maxPushbackMs)));
  return new StatusError(status.RESOURCE_EXHAUSTED, texts.rateLimitExceeded, {
    metadata,
    errorDetails: [{ type: "google.rpc.RetryInfo", retryDelayMs: retryAfterMs }],
  });
}
