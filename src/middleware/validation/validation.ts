// The validation middleware: messages that do not fit their method's schema never reach the handler.
import { status } from "@grpc/grpc-js";
import { z } from "zod";
import type { Middleware } from "../../chain/middleware.ts";
import { parseOptions } from "../../config/options.ts";
import { ConfigError, StatusError } from "../../grpc/errors.ts";
import { texts } from "../../grpc/status.ts";
import { boundedText } from "../../observability/redaction.ts";

/** What is used of a schema: zod's, of any version, and whatever else answers alike. It must be synchronous. */
export interface MessageSchema {
  safeParse(message: unknown):
    | { readonly success: true }
    | {
        readonly success: false;
        readonly error: {
          readonly issues: readonly { readonly path: readonly PropertyKey[]; readonly message: string }[];
        };
      };
}

/** Schemas by method: `/pkg.Service/Method`. */
export type ValidationOptions = Readonly<Record<string, MessageSchema>>;

/** The shape of `validation`. */
export const validationSchema: z.ZodType<ValidationOptions, ValidationOptions> = z.record(
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

/** More would not help, and the answer must fit into its trailers. */
const maxViolations = 20;
const maxFieldLength = 128;
const maxDescriptionLength = 256;

/**
 * Checks each inbound message of the methods that have a schema. One that does not fit is INVALID_ARGUMENT
 * `invalid request` with `google.rpc.BadRequest`: for each issue the field (`items[0].sku`) and the schema's own message,
 * at most 20 of them, shortened. zod's messages do not show values; those that you write should not either.
 *
 * The handler gets the message as it was sent, not what the schema made of it: a default or a transformation that is
 * seen on one kind of server and not on another would be worse than none. Schemas must be synchronous.
 *
 * @throws {ConfigError} for what is no schema.
 * @example
 * validation({ "/orders.v1.Orders/GetOrder": z.object({ id: z.string().min(1).max(64) }) })
 */
export function validation(schemas: ValidationOptions): Middleware {
  const byPath = new Map(Object.entries(parseOptions(validationSchema, schemas, "validation")));
  return Object.freeze<Middleware>({
    name: "validation",
    appliesTo: (method) => method.known && byPath.has(method.path),
    onRequest(message, call) {
      const result = byPath.get(call.method.path)?.safeParse(message);
      if (result?.success === true) return;
      if (result?.success !== false)
        throw new ConfigError(`validation.${call.method.path}: safeParse must be synchronous`);
      throw invalid(result.error.issues);
    },
  });
}

function invalid(
  issues: readonly { readonly path: readonly PropertyKey[]; readonly message: string }[],
): StatusError {
  const fieldViolations = issues.slice(0, maxViolations).map(({ path, message }) => ({
    field: boundedText(fieldPath(path), maxFieldLength),
    description: boundedText(message, maxDescriptionLength),
  }));
  return new StatusError(status.INVALID_ARGUMENT, texts.invalidRequest, {
    errorDetails: [{ type: "google.rpc.BadRequest", fieldViolations }],
  });
}

/** `items[0].sku`, as google.rpc.BadRequest writes it. */
function fieldPath(path: readonly PropertyKey[]): string {
  return path.reduce<string>((field, part) => {
    if (typeof part === "number") return `${field}[${part}]`;
    return field === "" ? String(part) : `${field}.${String(part)}`;
  }, "");
}
