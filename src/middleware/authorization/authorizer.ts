// The contract of an authorizer: a policy that is checked whole at start-up, then asked once for each call.
import type { CallContext } from "../../chain/context.ts";
import type { MethodInfo } from "../../grpc/method.ts";

export type Decision =
  | {
      readonly effect: "allow" | "deny";
      readonly rule: string;
      readonly reason?: string;
      /** `false`: the audit middleware writes no record of a call that this decided. Default: it writes one. */
      readonly audit?: boolean;
      /** Of this one decision, where the authorizer keeps a log of its own: log and audit have it, to find it there. */
      readonly id?: string;
    }
  /** No opinion, which denies. */
  | { readonly effect: "none" };

/** What a rule demands of one party of a call, in a form that can be read without a call. */
export interface ReadableDemand {
  /** The roles that suffice by themselves; or no role is needed. */
  readonly roles: readonly string[] | "every verified caller";
  /** The roles that suffice together with the permissions that they do not grant. Default: none. */
  readonly rolesWithPermissions?: readonly string[];
  /** Permissions that are needed, all of them. Default: none. */
  readonly permissions?: readonly string[];
  /** Do the permissions suffice without any role, where a credential carries them? Default: no. */
  readonly permissionsSuffice?: boolean;
  /** Which of `permissions` each role grants. Default: a role of `rolesWithPermissions` grants none. */
  readonly granted?: ReadonlyMap<string, readonly string[]>;
  /** Schemes of which the party must have used one. Default: any will do. */
  readonly schemes?: readonly string[];
}

/** A method's rule in a form that can be read without a call: the row of an access matrix. */
export interface ReadableRule extends ReadableDemand {
  /** Where it stands in the policy, or its name. */
  readonly rule: string;
  /** Whatever else is demanded, in words. Default: nothing. */
  readonly conditions?: readonly string[];
  /** What is demanded of the actor, with the words for it that stand in `conditions`. Default: only those words tell. */
  readonly actor?: ReadableDemand & { readonly words: string };
  /**
   * The functions behind `conditions`, whose code nobody reads: the same function is the same condition. Empty: the words
   * tell everything. Default: `decideMessage`, where there is one.
   */
  readonly functions?: readonly object[];
}

/**
 * The policy of one method. Both questions must be answered with `allow`. A policy that wraps another one and adds a
 * question (`{ ...inner, decideMessage }`) keeps the answer of the first. Where `inner` has a `decideMessage` of its own,
 * the new one takes its place: call it there.
 */
export interface MethodPolicy {
  /** `public`: no credentials needed; one that is presented is still verified. */
  readonly access: "public" | "checked";
  /** Asked for every call, before its handler starts and before any message of it is read. */
  decide(call: CallContext): Decision | Promise<Decision>;
  /**
   * Asked for each request message after that, in order, before the handler sees the message. A handler of a stream is held
   * until its first message was allowed. Default: messages are not looked at.
   */
  decideMessage?(call: CallContext, message: unknown): Decision | Promise<Decision>;
  /** The rule to read. Left out where only a call can tell: the access matrix then says so. */
  describe?(): ReadableRule;
}

export interface Policy {
  /** The roles that the policy knows, for the access matrix. */
  readonly roles?: readonly string[] | undefined;
  /** What fits and is probably a mistake all the same, one line each. The server logs it when the policy comes into force. */
  readonly warnings?: readonly string[] | undefined;
  /** Undefined denies. */
  forMethod(path: string): MethodPolicy | undefined;
}

/** Which callers the server's authenticators can identify, as far as they tell. */
export interface CallerSchemes {
  /** The schemes that principals may have; undefined where any may come. */
  readonly schemes?: readonly string[] | undefined;
  /** The schemes that actors may have, empty where there is never an actor; undefined where any may come. */
  readonly actorSchemes?: readonly string[] | undefined;
}

export interface Authorizer {
  readonly name: string;
  /**
   * Checks the policy against the registered methods, and its demands against the callers that there can be. Throws
   * `PolicyError` with every problem at once.
   */
  compile(methods: readonly MethodInfo[], callers?: CallerSchemes): Policy;
  /**
   * Calls `listener` when `compile` would make another policy than it made last, such as that of a file that changed. Returns what
   * ends it. The server then compiles anew, and the new policy decides from there on, open streams included; where `compile`
   * throws, the last good policy stays in force and the log says why. Default: the policy stays as it is.
   */
  onChange?(listener: () => void): () => void;
}
