// What `opa` and `opaWasm` have in common: which methods are asked about, with which input.
import { z } from "zod";
import type { CallContext } from "../chain/context.ts";
import { PolicyError } from "../grpc/errors.ts";
import type { MethodInfo } from "../grpc/method.ts";
import type { Decision, MethodPolicy, Policy } from "../middleware/authorization/authorizer.ts";
import { explainNoMatch, scopeOf } from "../middleware/authorization/rule-path.ts";
import { inputOf, type PolicyInput, UnfitInput } from "./opa-input.ts";

/** What `opa` and `opaWasm` both take. */
export interface OpaPolicyOptions {
  /**
   * Headers of the call that the policy may see, in lower case. Names that carry credentials are refused: `authorization`,
   * `cookie`, `x-api-key`, and what has token, secret, password or credential in it. Default: none.
   */
  readonly metadata?: readonly string[] | undefined;
  /**
   * Ask about each request message too, which the policy then sees as `input.request`. The call itself is asked about first,
   * without a message, and both must be allowed. Default: false.
   */
  readonly messages?: boolean | undefined;
  /**
   * Paths of methods (`/pkg.Service/Method`) that need no credentials. The policy is not asked about them. One that is not registered
   * keeps the server from starting. Default: none.
   */
  readonly public?: readonly string[] | undefined;
  /** The largest input document as JSON, in bytes. A call or message with a larger one is denied. Default: 262,144. */
  readonly maxInputBytes?: number | undefined;
}

export interface OpaPolicySettings {
  readonly metadata: readonly string[];
  readonly messages: boolean;
  readonly public: readonly string[];
  readonly maxInputBytes: number;
}

const credential =
  /authorization|cookie|session|token|jwt|assertion|oidc|secret|passw|passphrase|credential|api[-_]?key|private[-_]?key/;

const headerName = z
  .string()
  .regex(/^[a-z0-9_.-]+$/, { error: "expected the name of a header, in lower case" })
  .refine((name) => !credential.test(name), {
    error: "may carry a credential, which a policy must not see; use what was verified: input.principal",
  });

/** The schemas of these options; the only place where their defaults stand. */
export const opaPolicyShape: {
  readonly metadata: z.ZodDefault<z.ZodArray<z.ZodString>>;
  readonly messages: z.ZodDefault<z.ZodBoolean>;
  readonly public: z.ZodDefault<z.ZodArray<z.ZodString>>;
  readonly maxInputBytes: z.ZodDefault<z.ZodInt>;
} = {
  metadata: z.array(headerName).default([]),
  messages: z.boolean().default(false),
  public: z.array(z.string()).default([]),
  maxInputBytes: z
    .int()
    .min(1_024)
    .max(64 * 1024 * 1024)
    .default(262_144),
};

export interface AskedPolicy {
  readonly settings: OpaPolicySettings;
  /** What the policy is asked for: the rule of a denial that it was not asked about. */
  readonly path: string;
  readonly hasRequestId: boolean;
  ask(input: PolicyInput, call: CallContext): Decision | Promise<Decision>;
}

/** What is wrong with `public`, a line each. */
export function publicProblems(
  { public: open }: OpaPolicySettings,
  methods: readonly MethodInfo[],
): readonly string[] {
  const registered = new Set(methods.map(({ path }) => path));
  return open
    .filter((path) => !registered.has(path))
    .map((path) =>
      (scopeOf(path) ?? "method") === "method"
        ? explainNoMatch(path, methods)
        : `${path}: public names single methods; write each path`,
    );
}

/** @throws {PolicyError} where `public` names what is no method. */
export function opaPolicy(methods: readonly MethodInfo[], asked: AskedPolicy): Policy {
  const problems = publicProblems(asked.settings, methods);
  if (problems.length > 0) throw new PolicyError(problems);
  const open = new Set(asked.settings.public);
  const checked = checkedMethod(asked);
  const policies = new Map(methods.map(({ path }) => [path, open.has(path) ? openMethod : checked]));
  return Object.freeze({ forMethod: (path: string) => policies.get(path) });
}

const allowed: Decision = Object.freeze({ effect: "allow", rule: "public" });

const openMethod: MethodPolicy = Object.freeze<MethodPolicy>({
  access: "public",
  decide: () => allowed,
  describe: () => ({ rule: "public", roles: [] }),
});

function checkedMethod({ settings, path, hasRequestId, ask }: AskedPolicy): MethodPolicy {
  const inputs = { ...settings, hasRequestId };
  const askAbout = (
    call: CallContext,
    message?: { readonly request: unknown },
  ): Decision | Promise<Decision> => {
    try {
      return ask(inputOf(call, inputs, message), call);
    } catch (error) {
      // What its caller sent is no reason to raise an alarm.
      if (error instanceof UnfitInput) return { effect: "deny", rule: path, reason: error.message };
      throw error;
    }
  };
  return Object.freeze<MethodPolicy>({
    access: "checked",
    decide: (call) => askAbout(call),
    ...(settings.messages
      ? { decideMessage: (call: CallContext, request: unknown) => askAbout(call, { request }) }
      : {}),
  });
}
