// The contract of an authorizer: a policy that is checked whole at start-up, then asked once for each call.
import type { CallContext } from "../../call/context.ts";
import type { MethodInfo } from "../../call/method.ts";

export type Decision =
  | { readonly effect: "allow" | "deny"; readonly rule: string; readonly reason?: string }
  /** No opinion, which denies. */
  | { readonly effect: "none" };

export interface MethodPolicy {
  /** `public`: no credentials needed; one that is presented is still verified. */
  readonly access: "public" | "checked";
  /** Does the decision read the message? A stream handler is then held until its first message has passed. */
  readonly needsMessage: boolean;
  /** `message` is given for each inbound message where `needsMessage`; otherwise it is asked once, without one. */
  decide(call: CallContext, message?: unknown): Decision | Promise<Decision>;
}

export interface Policy {
  /** Undefined denies. */
  forMethod(path: string): MethodPolicy | undefined;
}

export interface Authorizer {
  readonly name: string;
  /** Checks the policy against the registered methods. Throws `PolicyError` with every problem at once. */
  compile(methods: readonly MethodInfo[]): Policy;
}
