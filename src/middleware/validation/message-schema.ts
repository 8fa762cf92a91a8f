// Schemas of messages: zod's, and what answers alike.
import { ConfigError } from "../../grpc/errors.ts";
import type { FieldViolation, MessageCheck } from "./validator.ts";

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

export function schemaCheck(schema: MessageSchema, path: string): MessageCheck {
  return (message): readonly FieldViolation[] => {
    const result = answerOf(schema, message, path);
    if (result?.success === true) return fits;
    if (result?.success !== false) throw new ConfigError(`validation.${path}: safeParse must be synchronous`);
    const violations = result.error.issues.map((issue) => ({
      field: fieldPath(issue.path),
      description: issue.message,
    }));
    // A schema that refuses without a reason refuses.
    return violations.length > 0 ? violations : [{ field: "", description: "does not match its schema" }];
  };
}

/** zod advises to parse in another way, which only we could do. */
function answerOf(
  schema: MessageSchema,
  message: unknown,
  path: string,
): ReturnType<MessageSchema["safeParse"]> {
  try {
    return schema.safeParse(message);
  } catch (cause) {
    throw new Error(
      `validation.${path}: the schema threw in place of an answer; take asynchronous parts (refine(async …)) out of it, or make them in a middleware`,
      { cause },
    );
  }
}

const fits: readonly FieldViolation[] = [];

/** `items[0].sku`, as google.rpc.BadRequest writes it. */
function fieldPath(path: readonly PropertyKey[]): string {
  return path.reduce<string>((field, part) => {
    if (typeof part === "number") return `${field}[${part}]`;
    return field === "" ? String(part) : `${field}.${String(part)}`;
  }, "");
}
