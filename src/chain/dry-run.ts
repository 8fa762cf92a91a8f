// A dry run: a middleware that decides without enforcing records here what it would have refused, for log and audit.
import type { status } from "@grpc/grpc-js";
import { type CallContext, ContextKey } from "./context.ts";

/** What a middleware would have answered in place of the handler. */
export interface DryRunRefusal {
  readonly layer: string;
  readonly code: status;
  /** The public text. */
  readonly details: string;
}

const dryRunRefusal = new ContextKey<DryRunRefusal>("dry-run-refusal");

/** Only the first counts: it is the one that would have ended the call. */
export function recordDryRunRefusal(call: CallContext, refusal: DryRunRefusal): void {
  if (call.get(dryRunRefusal) === undefined) call.set(dryRunRefusal, refusal);
}

export function dryRunRefusalOf(call: CallContext): DryRunRefusal | undefined {
  return call.get(dryRunRefusal);
}
