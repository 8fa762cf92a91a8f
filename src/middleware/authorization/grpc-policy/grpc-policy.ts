// gRPC authorization policies (gRFC A43): the file that secures a gRPC server in Go or C++, as an authorizer.
import { z } from "zod";
import { parseOptions } from "../../../config/options.ts";
import { PolicyError } from "../../../grpc/errors.ts";
import type { MethodInfo } from "../../../grpc/method.ts";
import type { Authorizer } from "../authorizer.ts";
import { PolicyFile } from "../policy-file.ts";
import { applyPolicy } from "./method-decision.ts";
import { policyObjectText } from "./policy-json.ts";
import { type ParsedPolicy, parsePolicyText } from "./policy-text.ts";

/** Exactly one of the two. */
export interface GrpcPolicyOptions {
  /** The policy: its JSON text, or the same as an object, of which a copy is made. In place of `file`. Default: none. */
  readonly policy?: string | object | undefined;
  /**
   * The path of a file with the policy's JSON text, at most 4 MiB; a relative one starts at the working directory. It is watched.
   * In place of `policy`. Default: none.
   */
  readonly file?: string | undefined;
}

/** The shape of `grpcPolicy`'s options. */
export const grpcPolicySchema: z.ZodType<{
  readonly policy?: string | object | undefined;
  readonly file?: string | undefined;
}> = z
  .strictObject({
    policy: z.union([z.string(), z.custom<object>(isPlain, "expected JSON text or an object")]).optional(),
    file: z.string().min(1).optional(),
  })
  .refine(({ policy, file }) => (policy === undefined) !== (file === undefined), {
    error: "expected either policy or file",
  });

function isPlain(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * Decides by a gRPC authorization policy (gRFC A43), as grpc-go's package `authz` does: a call that a deny rule matches is denied,
 * else one that an allow rule matches is allowed, and every other is denied. A rule matches by the names in the caller's client
 * certificate (`source.principals`), by the method (`request.paths`) and by headers (`request.headers`); `abc`, `abc*`, `*abc` and
 * `*` are the four ways to compare. Principals are compared with the verified certificate alone, whatever the authenticator
 * is: the tokens and API keys of callers count for nothing here.
 *
 * What may call at all is the authenticator's to say: `mtls()` admits those with a certificate, `optional(mtls())` the others too,
 * so that the principal `""` and rules without principals can match them.
 *
 * `audit_logging_options` (gRFC A59) says which decisions have an audit record; the server's audit sinks take the place of
 * its loggers.
 *
 * Rules that are about no method of this server, and methods that no allow rule is about, are warnings: a policy may be shared by
 * many services.
 *
 * @throws {ConfigError} for options of the wrong shape, at once.
 * @throws {PolicyError} for a policy that is wrong, with every problem: at once for `policy`, from `compile` for `file`.
 *
 * @example
 * grpcPolicy({ file: "/etc/orders/authorization-policy.json" })
 */
export function grpcPolicy(options: GrpcPolicyOptions): Authorizer {
  const { policy, file } = parseOptions(grpcPolicySchema, options, "grpcPolicy");
  if (file !== undefined) return policyInFile(file);
  const parsed = parsedOrThrow(textOf(policy ?? ""), "grpcPolicy");
  return Object.freeze({
    name: authorizerName,
    compile: (methods: readonly MethodInfo[]) => applyPolicy(parsed, methods),
  });
}

const authorizerName = "grpc-policy";

function textOf(policy: string | object): string {
  if (typeof policy === "string") return policy;
  try {
    return policyObjectText(policy);
  } catch (error) {
    throw new PolicyError([`grpcPolicy: ${error instanceof Error ? error.message : "cannot be read"}`]);
  }
}

/** @throws {PolicyError} with every problem. */
function parsedOrThrow(text: string, source: string): ParsedPolicy {
  const parsed = parsePolicyText(text);
  if ("policy" in parsed) return parsed.policy;
  throw new PolicyError(parsed.problems.map((problem) => `${source}: ${problem}`));
}

function policyInFile(path: string): Authorizer {
  const file = new PolicyFile(path);
  return Object.freeze({
    name: authorizerName,
    compile: (methods: readonly MethodInfo[]) => applyPolicy(parsedOrThrow(file.read(), path), methods),
    onChange: (listener: () => void) => file.onChange(listener),
  });
}
