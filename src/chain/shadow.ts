// Shadow mode (Z10): a layer that decides without enforcing notes here what it would have refused, for log and audit.
import type { status } from "@grpc/grpc-js";
import { type CallContext, ContextKey } from "./context.ts";

/** What a layer would have answered in place of the handler. */
export interface ShadowRefusal {
  readonly layer: string;
  readonly code: status;
  /** The public text. */
  readonly details: string;
}

const shadowRefusal = new ContextKey<ShadowRefusal>("shadow-refusal");

/** Only the first counts: it is the one that would have ended the call. */
export function noteShadowRefusal(call: CallContext, refusal: ShadowRefusal): void {
  if (call.get(shadowRefusal) === undefined) call.set(shadowRefusal, refusal);
}

export function shadowRefusalOf(call: CallContext): ShadowRefusal | undefined {
  return call.get(shadowRefusal);
}
