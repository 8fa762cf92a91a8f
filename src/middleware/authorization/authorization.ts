// The authorization layer: asks the policy whether the verified caller may make this call, and records the answer.
import { status } from "@grpc/grpc-js";
import { type CallContext, ContextKey, type RecordedDecision, recordDecision } from "../../call/context.ts";
import { ConfigError, StatusError } from "../../call/errors.ts";
import { isHealthProbe, type MethodInfo } from "../../call/method.ts";
import { noteShadowRefusal } from "../../call/shadow.ts";
import { texts } from "../../call/status.ts";
import { isThenable } from "../../call/thenable.ts";
import type { Middleware } from "../../chain/middleware.ts";
import type { Authorizer, Decision, MethodPolicy, Policy } from "./authorizer.ts";

/**
 * The policy in force. It is replaced whole: a call that arrives afterwards is decided by the new one, and so is the
 * next message of a stream that is decided message by message. Until a first policy is there, everything is denied.
 */
export class PolicyHolder {
  #policy: Policy | undefined;

  constructor(policy?: Policy) {
    this.#policy = policy;
  }

  replace(policy: Policy): void {
    this.#policy = policy;
  }

  forMethod(path: string): MethodPolicy | undefined {
    return this.#policy?.forMethod(path);
  }

  /** The roles that the policy in force knows. */
  get roles(): readonly string[] | undefined {
    return this.#policy?.roles;
  }

  /** Does the policy in force let in callers who show no credential? */
  isPublic(path: string): boolean {
    return this.forMethod(path)?.access === "public";
  }
}

const decidedByMessage = new ContextKey<boolean>("authorization.decided-by-message");

/**
 * After `onCall`: is nothing decided yet, because the decision reads the messages? A stream handler must then be held
 * until the first message has passed `onRequest`, and a stream that ends without one must be refused (C13).
 * It is a fact of the call and not of the method, because the policy may be replaced while a call is being checked.
 */
export function isDecidedByMessage(call: CallContext): boolean {
  return call.get(decidedByMessage) === true;
}

const noPrincipal: RecordedDecision = Object.freeze({
  effect: "deny",
  rule: "no principal",
  reason: "no authentication layer ran before authorization",
});
const noRule: RecordedDecision = Object.freeze({ effect: "deny", rule: "no rule" });
const policyFailed: RecordedDecision = Object.freeze({ effect: "deny", rule: "policy failed" });

/**
 * Asks `authorizer` for every call to one of `methods`; everything else is denied. Health probes pass (A10), and
 * unknown methods are left to the chain, which answers UNIMPLEMENTED to authenticated callers (C8). It needs the
 * authentication layer before it: without a principal every call is denied.
 *
 * A denial is PERMISSION_DENIED `permission denied`; which rule denied, and why, goes to log and audit alone. A policy
 * that throws is UNAVAILABLE `temporarily unavailable`.
 *
 * @throws {PolicyError} at once, where the policy does not fit the methods.
 * @throws {ConfigError} where `methods` is no list.
 */
export function authorization(authorizer: Authorizer, methods: readonly MethodInfo[]): Middleware {
  if (!Array.isArray(methods))
    throw new ConfigError(
      "authorization: expected a list of methods ({ path, service, name, kind, known }), not a service definition; " +
        "secureInterceptors({ services: [OrdersService] }) reads definitions",
    );
  return authorizationBy(new PolicyHolder(authorizer.compile(methods)));
}

export interface AuthorizationByOptions {
  /** `false` for a method: denials are recorded and noted, and refuse nothing (Z10). Default: every denial refuses. */
  readonly enforces?: (method: MethodInfo) => boolean;
}

/** The same layer over a policy that may come later and may be replaced. */
export function authorizationBy(holder: PolicyHolder, options: AuthorizationByOptions = {}): Middleware {
  return new Authorization(holder, options.enforces);
}

const layerName = "authorization";

/** Of a call that is decided without being enforced: the policy reads its messages. The handler is not held for it. */
const shadowedByMessage = new ContextKey<boolean>("authorization.shadowed-by-message");

class Authorization implements Middleware {
  readonly name = layerName;
  readonly #holder: PolicyHolder;
  readonly #enforces: AuthorizationByOptions["enforces"];

  constructor(holder: PolicyHolder, enforces: AuthorizationByOptions["enforces"]) {
    this.#holder = holder;
    this.#enforces = enforces;
  }

  appliesTo(method: MethodInfo): boolean {
    return method.known && !isHealthProbe(method);
  }

  needsMessage(call: CallContext): boolean {
    return isDecidedByMessage(call);
  }

  onCall(call: CallContext): void | Promise<void> {
    if (this.#enforces?.(call.method) ?? true) return this.#onCall(call);
    return shadowed(call, () => this.#onCall(call, shadowedByMessage));
  }

  #onCall(call: CallContext, byMessage: ContextKey<boolean> = decidedByMessage): void | Promise<void> {
    if (call.principal === undefined) refuse(call, noPrincipal);
    const policy = policyFor(this.#holder, call);
    if (policy === undefined) refuse(call, noRule);
    if (policy.needsMessage) call.set(byMessage, true);
    else return enforce(policy, call, undefined);
  }

  onRequest(message: unknown, call: CallContext): void | Promise<void> {
    if (isDecidedByMessage(call)) return this.#onRequest(message, call);
    if (call.get(shadowedByMessage) === true) return shadowed(call, () => this.#onRequest(message, call));
  }

  #onRequest(message: unknown, call: CallContext): void | Promise<void> {
    const policy = policyFor(this.#holder, call);
    if (policy === undefined) refuse(call, noRule);
    return enforce(policy, call, message);
  }
}

/** Decides as always, and lets the call go on whatever comes of it. The first refusal is the one that stays on record. */
function shadowed(call: CallContext, decide: () => void | Promise<void>): void | Promise<void> {
  const before = call.decision;
  try {
    return decide()?.catch((error: unknown) => noteRefusal(call, before, error));
  } catch (error) {
    noteRefusal(call, before, error);
  }
}

function noteRefusal(call: CallContext, before: RecordedDecision | undefined, error: unknown): void {
  const { code, details } = error instanceof StatusError ? error : unavailable(error);
  if (before?.effect === "deny") recordDecision(call, before);
  else if (code !== status.PERMISSION_DENIED) recordDecision(call, policyFailed);
  noteShadowRefusal(call, { layer: layerName, code, details });
}

function policyFor(holder: PolicyHolder, call: CallContext): MethodPolicy | undefined {
  try {
    return holder.forMethod(call.method.path);
  } catch (cause) {
    throw unavailable(cause);
  }
}

function enforce(policy: MethodPolicy, call: CallContext, message: unknown): void | Promise<void> {
  const decision = ask(policy, call, message);
  if (isThenable(decision)) return settleLater(call, decision);
  settle(call, decision);
}

function ask(policy: MethodPolicy, call: CallContext, message: unknown): Decision | Promise<Decision> {
  try {
    return policy.decide(call, message);
  } catch (cause) {
    throw unavailable(cause);
  }
}

async function settleLater(call: CallContext, pending: Promise<Decision>): Promise<void> {
  const decision = await pending.catch((cause: unknown) => {
    throw unavailable(cause);
  });
  settle(call, decision);
}

/** Only the word "allow" allows: a policy of one's own may answer anything. */
function settle(call: CallContext, decision: Decision): void {
  if (typeof decision !== "object" || decision === null) {
    throw unavailable(
      new TypeError(`the policy for ${call.method.path} answered ${String(decision)}, not a decision`),
    );
  }
  if (decision.effect !== "allow") refuse(call, decision.effect === "deny" ? decision : noRule);
  // In shadow mode a stream goes on after a denial: a later message that is allowed does not take it back.
  if (call.decision?.effect !== "deny") recordDecision(call, decision);
}

function refuse(call: CallContext, decision: RecordedDecision): never {
  recordDecision(call, decision);
  throw new StatusError(status.PERMISSION_DENIED, texts.permissionDenied);
}

function unavailable(cause: unknown): StatusError {
  return new StatusError(status.UNAVAILABLE, texts.temporarilyUnavailable, { cause });
}
