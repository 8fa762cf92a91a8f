// The authorization middleware: asks the policy whether the verified caller may make this call, and records the answer.
import { status } from "@grpc/grpc-js";
import { type CallContext, ContextKey, type RecordedDecision, recordDecision } from "../../chain/context.ts";
import { recordDryRunRefusal } from "../../chain/dry-run.ts";
import type { Middleware } from "../../chain/middleware.ts";
import { isThenable } from "../../chain/thenable.ts";
import { ConfigError, StatusError } from "../../grpc/errors.ts";
import { isHealthProbe, type MethodInfo, streamsRequests } from "../../grpc/method.ts";
import { texts } from "../../grpc/status.ts";
import type { Authorizer, Decision, MethodPolicy, Policy } from "./authorizer.ts";

/** The policy in force. It is replaced whole. Until a first policy is there, everything is denied. */
export class PolicyHolder {
  #policy: Policy | undefined;
  #version = 0;

  constructor(policy?: Policy) {
    this.#policy = policy;
  }

  replace(policy: Policy): void {
    this.#policy = policy;
    this.#version += 1;
  }

  /** Another number, another policy. */
  get version(): number {
    return this.#version;
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

/** What this middleware keeps of one call. */
interface CallState {
  readonly enforced: boolean;
  /** Of the policy that decided last. */
  version: number;
  /** Does that policy read the messages? */
  byMessage: boolean;
  /** The message that is on its way to the handler. */
  message: unknown;
  /** How many times in a row the policy was replaced while it was asked. */
  overtaken: number;
}

type Ask = (call: CallContext, state: CallState) => void | Promise<void>;

const undecided = -1;
const noMessage: unique symbol = Symbol("no message");

/** How often a call is decided anew because the policy was replaced meanwhile, before it is UNAVAILABLE. */
const maxOvertaken = 5;

const noPrincipal: RecordedDecision = Object.freeze({
  effect: "deny",
  rule: "no principal",
  reason: "no authentication middleware ran before authorization",
});
const noRule: RecordedDecision = Object.freeze({ effect: "deny", rule: "no rule" });
const noCredential: RecordedDecision = Object.freeze({
  effect: "deny",
  rule: "no credential",
  reason: "the method was public when the call was authenticated, and no longer is",
});
const policyFailed: RecordedDecision = Object.freeze({ effect: "deny", rule: "policy failed" });

/**
 * Asks `authorizer` for every call to one of `methods`; everything else is denied. Health probes pass, and
 * unknown methods are left to the chain, which answers UNIMPLEMENTED to authenticated callers. It needs the
 * authentication middleware before it: without a principal every call is denied.
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
  /** `false` for a method: denials are recorded and noted, and refuse nothing. Default: every denial refuses. */
  readonly enforces?: (method: MethodInfo) => boolean;
  /**
   * Does the call show a credential? Without one it is authenticated only where its method is public, which a policy that
   * comes into force meanwhile may say otherwise. Default: every call does.
   */
  readonly presents?: (call: CallContext) => boolean;
}

/** The same middleware over a policy that may come later and may be replaced. */
export function authorizationBy(holder: PolicyHolder, options: AuthorizationByOptions = {}): Middleware {
  return new Authorization(holder, options);
}

const middlewareName = "authorization";

/**
 * A policy may be slow, and other middleware between its answer and the handler too. So `confirm` looks, right before the
 * handler starts and right before a message reaches it, whether the policy that decided is still in force, and asks the new
 * one if not. Each policy that is asked must allow: a denial by one that was replaced meanwhile refuses the call as well.
 */
class Authorization implements Middleware {
  readonly name = middlewareName;
  /** Of each its own: several of them may stand on one server. */
  readonly #state = new ContextKey<CallState>("authorization");
  readonly #holder: PolicyHolder;
  readonly #enforces: NonNullable<AuthorizationByOptions["enforces"]>;
  readonly #presents: NonNullable<AuthorizationByOptions["presents"]>;

  constructor(
    holder: PolicyHolder,
    { enforces = () => true, presents = () => true }: AuthorizationByOptions,
  ) {
    this.#holder = holder;
    this.#enforces = enforces;
    this.#presents = presents;
  }

  appliesTo(method: MethodInfo): boolean {
    return method.known && !isHealthProbe(method);
  }

  /**
   * Is nothing decided yet, because the decision reads the messages? A fact of the call and not of the method, because the
   * policy may be replaced while a call is being checked.
   */
  needsMessage(call: CallContext): boolean {
    const { enforced, byMessage } = this.#stateOf(call);
    return enforced && byMessage;
  }

  onCall(call: CallContext): void | Promise<void> {
    const state: CallState = {
      enforced: this.#enforces(call.method),
      version: undecided,
      byMessage: false,
      message: noMessage,
      overtaken: 0,
    };
    call.set(this.#state, state);
    return this.#decide(call, state, this.#askAboutCall);
  }

  onRequest(message: unknown, call: CallContext): void | Promise<void> {
    const state = this.#stateOf(call);
    state.message = message;
    if (!state.byMessage) return;
    // A policy that came meanwhile is asked of the call too.
    const isSame = state.version === this.#holder.version;
    return this.#decide(call, state, isSame ? this.#askAboutMessage : this.#askAboutBoth);
  }

  confirm(call: CallContext): void | Promise<void> {
    const state = this.#stateOf(call);
    while (state.version !== this.#holder.version) {
      if (state.overtaken === maxOvertaken) {
        giveUp(call, state);
        break;
      }
      state.overtaken += 1;
      const pending = this.#decide(call, state, this.#askAboutBoth);
      if (isThenable(pending)) return pending;
    }
    state.overtaken = 0;
    // That of a unary call stays: its handler has not started.
    if (streamsRequests(call.method.kind)) state.message = noMessage;
  }

  #decide(call: CallContext, state: CallState, ask: Ask): void | Promise<void> {
    const { version } = this.#holder;
    this.#refuseUnidentified(call);
    const pending = state.enforced ? ask(call, state) : inDryRun(call, () => ask(call, state));
    if (!isThenable(pending)) {
      state.version = version;
      return;
    }
    return pending.then(() => {
      state.version = version;
    });
  }

  readonly #askAboutCall: Ask = (call, state) => {
    const policy = this.#policyOf(call);
    state.byMessage = readsMessages(policy);
    return enforce(call, () => policy.decide(call));
  };

  readonly #askAboutMessage: Ask = (call, { message }) => {
    const policy = this.#policyOf(call);
    if (readsMessages(policy) && message !== noMessage)
      return enforce(call, () => policy.decideMessage(call, message));
  };

  /** The policy was replaced: what the last one said of the call counts no more. */
  readonly #askAboutBoth: Ask = (call, state) => {
    const pending = this.#askAboutCall(call, state);
    return isThenable(pending)
      ? pending.then(() => this.#askAboutMessage(call, state))
      : this.#askAboutMessage(call, state);
  };

  #policyOf(call: CallContext): MethodPolicy {
    if (call.principal === undefined) refuse(call, noPrincipal);
    const policy = policyFor(this.#holder, call);
    if (policy === undefined) refuse(call, noRule);
    return policy;
  }

  #stateOf(call: CallContext): CallState {
    const state = call.get(this.#state);
    if (state === undefined)
      throw unavailable(new Error("the authorizer did not decide about the call before its messages"));
    return state;
  }

  /** In a dry run too: who must show a credential is not the policy's to try. */
  #refuseUnidentified(call: CallContext): void {
    if (call.principal?.kind !== "anonymous" || this.#shows(call)) return;
    if (policyFor(this.#holder, call)?.access !== "public") refuse(call, noCredential);
  }

  #shows(call: CallContext): boolean {
    try {
      return this.#presents(call);
    } catch (cause) {
      throw unavailable(cause);
    }
  }
}

function giveUp(call: CallContext, { enforced }: CallState): void {
  const error = new Error(`the policy was replaced ${maxOvertaken} times while it decided about this call`);
  if (enforced) throw unavailable(error);
  noteRefusal(call, call.decision, error);
}

/** Decides as always, and lets the call go on whatever comes of it. The first refusal is the one that stays on record. */
function inDryRun(call: CallContext, decide: () => void | Promise<void>): void | Promise<void> {
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
  recordDryRunRefusal(call, { layer: middlewareName, code, details });
}

function readsMessages(
  policy: MethodPolicy,
): policy is MethodPolicy & Required<Pick<MethodPolicy, "decideMessage">> {
  return policy.decideMessage !== undefined;
}

function policyFor(holder: PolicyHolder, call: CallContext): MethodPolicy | undefined {
  try {
    return holder.forMethod(call.method.path);
  } catch (cause) {
    throw unavailable(cause);
  }
}

function enforce(call: CallContext, decide: () => Decision | Promise<Decision>): void | Promise<void> {
  let decision: Decision | Promise<Decision>;
  try {
    decision = decide();
  } catch (cause) {
    throw unavailable(cause);
  }
  if (isThenable(decision)) return settleAsync(call, decision);
  settle(call, decision);
}

async function settleAsync(call: CallContext, pending: Promise<Decision>): Promise<void> {
  const decision = await pending.catch((cause: unknown) => {
    throw unavailable(cause);
  });
  settle(call, decision);
}

/** Only the word "allow" allows: a policy of one's own may answer anything. */
function settle(call: CallContext, decision: Decision): void {
  if (typeof decision !== "object" || decision === null) {
    throw unavailable(
      new TypeError(`the policy for ${call.method.path} returned ${String(decision)}, not a decision`),
    );
  }
  if (/* protection: only-allow-allows */ decision.effect !== "allow")
    refuse(call, decision.effect === "deny" ? decision : noRule);
  // In a dry run a stream goes on after a denial: a later message that is allowed does not take it back.
  if (call.decision?.effect !== "deny") recordDecision(call, decision);
}

function refuse(call: CallContext, decision: RecordedDecision): never {
  recordDecision(call, decision);
  throw new StatusError(status.PERMISSION_DENIED, texts.permissionDenied);
}

function unavailable(cause: unknown): StatusError {
  return new StatusError(status.UNAVAILABLE, texts.temporarilyUnavailable, { cause });
}
