// The validation middleware: messages that do not fit the rules of their method never reach the handler.
import { status } from "@grpc/grpc-js";
import { z } from "zod";
import type { Middleware } from "../../chain/middleware.ts";
import { isThenable } from "../../chain/thenable.ts";
import { parseOptions } from "../../config/options.ts";
import { ConfigError, StatusError } from "../../grpc/errors.ts";
import { isServiceDefinition, type MethodShapes, methodsOf } from "../../grpc/method.ts";
import { texts } from "../../grpc/status.ts";
import { boundedText } from "../../observability/redaction.ts";
import { MessageChecks, type ValidationOptions } from "./message-checks.ts";
import type { MessageSchema } from "./message-schema.ts";
import { type FieldViolation, isValidator, type Validator } from "./validator.ts";

const schemasSchema = z.record(
  z.string().regex(/^\/[^\s/*]+\/[^\s/*]+$/),
  z.custom<MessageSchema>(
    (value) =>
      typeof value === "object" && value !== null && typeof Reflect.get(value, "safeParse") === "function",
    { error: "must be a zod schema: an object with a safeParse function" },
  ),
  {
    error: ({ code }) => (code === "invalid_key" ? "not a method; write /pkg.Service/Method" : undefined),
  },
);

const validatorSchema = z.custom<Validator>().superRefine((value, context) => {
  // As of another kind, so that the problems of schemas are told where those are meant.
  if (!isValidator(value))
    context.addIssue({ code: "invalid_type", expected: "record", input: value, continue: false });
});

/** The shape of `validation`. */
export const validationSchema: z.ZodType<ValidationOptions | Validator, ValidationOptions | Validator> =
  z.union([validatorSchema, schemasSchema], {
    error: "expected schemas by method, or a validator, such as protovalidate({ … })",
  });

/** What `validation` has to know of the server where other code makes it. */
export interface ValidatedServices {
  /** The services whose messages a validator checks. With schemas by method they are not needed. Default: none. */
  readonly services?: readonly MethodShapes[] | undefined;
}

const servicesSchema: z.ZodType<{ readonly services: readonly MethodShapes[] }> = z.strictObject({
  services: z
    .array(
      z.custom<MethodShapes>(isServiceDefinition, {
        error: "must be a service definition, such as OrdersService",
      }),
    )
    .default([]),
});

/** More would not help, and the answer must fit into its trailers. */
const maxViolations = 20;
const maxFieldLength = 128;
const maxDescriptionLength = 256;

/**
 * Checks each inbound message: by schemas of zod, of the methods that have one, or by a validator, such as
 * `protovalidate({ descriptorSet })` of `grpc-palisade/protovalidate`. A message that does not fit is INVALID_ARGUMENT
 * `invalid request` with `google.rpc.BadRequest`: for each violation the field (`items[0].sku`) and the rule's own message,
 * at most 20 of them, shortened. zod's messages do not show values; those that you write should not either.
 *
 * The handler gets the message as it was sent, not what the schema made of it: a default or a transformation that is
 * seen on one kind of server and not on another would be worse than none. Schemas must be synchronous.
 *
 * A validator must know the methods before a call: on a server that other code makes, name its `services`. A method that
 * is in none of them is then refused.
 *
 * @throws {ConfigError} for what is neither schemas nor a validator, and where the validator does not fit the services.
 * @example
 * validation({ "/orders.v1.Orders/GetOrder": z.object({ id: z.string().min(1).max(64) }) })
 */
export function validation(
  rules: ValidationOptions | Validator,
  options: ValidatedServices = {},
): Middleware {
  const checks = new MessageChecks(parseOptions(validationSchema, rules, "validation"));
  const { services } = parseOptions(servicesSchema, options, "validation");
  if (services.length > 0) checks.prepare(methodsOf(...services));
  return validationBy(checks);
}

/** With the checks of a server that knows its methods. */
export function validationBy(checks: MessageChecks): Middleware {
  return Object.freeze<Middleware>({
    name: "validation",
    appliesTo: (method) => method.known && checks.for(method) !== undefined,
    onRequest(message, call) {
      const violations = checks.for(call.method)?.(message, call);
      return isThenable(violations) ? violations.then(refuse) : refuse(violations);
    },
  });
}

/** What is no list says nothing of the message, so it does not pass. */
function refuse(violations: readonly FieldViolation[] | undefined): void {
  if (!Array.isArray(violations))
    throw new ConfigError("validation: a check must answer with a list of violations");
  if (violations.length > 0) throw invalid(violations);
}

function invalid(violations: readonly FieldViolation[]): StatusError {
  const fieldViolations = violations.slice(0, maxViolations).map(({ field, description }) => ({
    field: boundedText(field, maxFieldLength),
    description: boundedText(description, maxDescriptionLength),
  }));
  return new StatusError(status.INVALID_ARGUMENT, texts.invalidRequest, {
    errorDetails: [{ type: "google.rpc.BadRequest", fieldViolations }],
  });
}
