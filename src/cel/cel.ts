// cel: a condition on the request as an expression of the Common Expression Language, checked when the server starts.
import type { FileRegistry } from "@bufbuild/protobuf";
import { z } from "zod";
import type { CallContext } from "../chain/context.ts";
import { parseOptions } from "../config/options.ts";
import { ConfigError, PolicyError } from "../grpc/errors.ts";
import type { MethodInfo } from "../grpc/method.ts";
import type { Condition, When } from "../middleware/authorization/condition.ts";
import { describedTypes } from "../protobuf/descriptors.ts";
import { maxMessages, sizeOfRequest } from "../protobuf/request-size.ts";
import { bufbuild, type Parsed } from "./bufbuild.ts";
import { check } from "./checker.ts";
import { unknownEscape } from "./escapes.ts";
import { evaluation } from "./evaluation.ts";
import { requestTypeOf } from "./request-types.ts";
import { typeOfMessage } from "./types.ts";
import { valuesFor, variablesWith } from "./variables.ts";

export interface CelOptions {
  /**
   * The types of the services: a serialized `google.protobuf.FileDescriptorSet` with its imports, or the path of a file with
   * one (`protoc --include_imports --descriptor_set_out=…`, `buf build -o ….binpb`). Make it together with the code of the
   * services. Not needed where `@grpc/proto-loader` loaded them: it puts the types into the service's definition, which other
   * generators do not. Default: none.
   */
  readonly descriptorSet?: string | Uint8Array | undefined;
  /**
   * The names of metadata that conditions may read as `metadata["x-region"]`. They are what the caller claims, nothing more.
   * Neither credentials nor names that end with `-bin`. Default: none.
   */
  readonly metadata?: readonly string[] | undefined;
}

interface CelSettings {
  readonly descriptorSet?: string | Uint8Array | undefined;
  readonly metadata: readonly string[];
}

const credentials: ReadonlySet<string> = new Set([
  "authorization",
  "proxy-authorization",
  "x-api-key",
  "cookie",
  "x-forwarded-client-cert",
]);

const metadataName = z
  .string()
  .regex(/^[0-9a-z_.-]{1,100}$/, "expected the name of a header in lower case")
  .refine((name) => !credentials.has(name), "is a credential, which no condition may read")
  .refine((name) => !name.endsWith("-bin"), "is binary, which no condition may read");

export const celSchema: z.ZodType<CelSettings> = z.strictObject({
  descriptorSet: z.union([z.string().min(1), z.instanceof(Uint8Array)]).optional(),
  metadata: z.array(metadataName).default([]),
});

const maxText = 4_096;

/**
 * A condition for the `when` of a rule of `rbac`, in the Common Expression Language. It is asked as a function there is: after
 * schemes, roles and permissions, with each request message, before the handler sees it. Only `true` lets the message pass;
 * an error denies.
 *
 * Variables: `request` (the message, with the names of its `.proto`), `principal` and `actor` (`subject`, `kind`, `scheme`,
 * `issuer`, `tenant`, `roles`, `permissions`, `claims`), `method` (`path`, `service`, `name`, `kind`), `peer` (`address`,
 * `secure`), `metadata` (the names of the option), `now`.
 *
 * The expression is parsed here. When the server starts, it is checked against the request type of each method that its rule
 * decides; unknown fields and wrong types are problems of the policy.
 *
 * @throws {ConfigError} for a text that is no expression, options of the wrong shape, a descriptor set that cannot be read,
 * and where `@bufbuild/cel` or `@bufbuild/protobuf` is not installed.
 *
 * @example
 * rbac({
 *   rules: {
 *     "/orders.v1.Orders/CancelOrder": {
 *       permissions: ["order:write"],
 *       when: cel("request.owner == principal.subject"),
 *     },
 *   },
 * });
 */
export function cel(text: string, options: CelOptions = {}): Condition {
  return celWith(options)(text);
}

/**
 * `cel` with options, for several conditions.
 *
 * @throws {ConfigError} as `cel` does.
 *
 * @example
 * const cel = celWith({ descriptorSet: "gen/orders.binpb" });
 */
export function celWith(options: CelOptions): (text: string) => Condition {
  const { descriptorSet, metadata } = parseOptions(celSchema, options, "cel");
  const described =
    descriptorSet === undefined ? undefined : describedTypes(descriptorSet, { of: "cel" }, bufbuild());
  return (text) => {
    const parsed = parse(text);
    return Object.freeze<Condition>({
      text,
      compile: (method) => compiled(parsed, { method, described, metadata }),
    });
  };
}

function parse(text: string): Parsed {
  if (typeof text !== "string" || text.trim() === "")
    throw new ConfigError("cel: expected an expression as text that is not empty");
  if (text.length > maxText)
    throw new ConfigError(`cel: the expression is longer than ${maxText} characters`);
  const notThere = unknownEscape(text);
  if (notThere !== undefined)
    throw new ConfigError(
      `cel: ${JSON.stringify(text)} is no expression: there is no escape ${notThere}; write a backslash as \\\\`,
    );
  try {
    return bufbuild().cel.parse(text);
  } catch (cause) {
    if (cause instanceof ConfigError) throw cause;
    const why = cause instanceof Error ? cause.message.replace(/^<input>:/, "") : String(cause);
    throw new ConfigError(`cel: ${JSON.stringify(text)} is no expression: ${why}; ${remedyFor(why)}`, {
      cause,
    });
  }
}

/** Operators of other languages, which the parser meets where an expression could end. */
const operators: readonly (readonly [found: string, written: string])[] = [
  ["found = ", "=="],
  ["found | ", "||"],
  ["found & ", "&&"],
];

function remedyFor(why: string): string {
  const written = operators.find(([found]) => why.includes(found))?.[1];
  return written === undefined
    ? "write it in CEL, such as request.owner == principal.subject"
    : `write ${written} there`;
}

interface Surroundings {
  readonly method: MethodInfo;
  readonly described: FileRegistry | undefined;
  readonly metadata: readonly string[];
}

function compiled(parsed: Parsed, { method, described, metadata }: Surroundings): When {
  const { message, registry } = requestTypeOf(method, described);
  const { request } = method;
  if (request === undefined)
    throw new PolicyError([`${method.path} was registered without a service definition`]);
  const scope = new Map([...variablesWith(metadata), ["request", typeOfMessage(message)]]);
  const { expr, problems } = check(parsed, scope, registry);
  if (problems.length > 0) throw new PolicyError(problems);
  const evaluate = evaluation(expr, registry);
  const { protobuf, reflection } = bufbuild();
  return (call: CallContext, decoded: unknown): boolean => {
    if (sizeOfRequest(decoded).messages > maxMessages)
      throw new Error(`the request holds more than ${maxMessages} messages`);
    // What the handler gets, not what was sent: decoders differ in what they make of the same bytes.
    const bytes = request.serialize(decoded);
    const reflected = reflection.reflect(message, protobuf.fromBinary(message, bytes), false);
    return evaluate(valuesFor({ call, request: reflected, metadata }), bytes.length) === true;
  };
}
