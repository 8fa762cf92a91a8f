// What a caller is told of a rule that its message breaks: where, by the names of the .proto, and the rule's own message.
import type { Violation } from "@bufbuild/protovalidate";
import type { FieldViolation } from "../middleware/validation/validator.ts";

/** `within`: where the message is that was checked; empty for the request itself. */
export function fieldViolation(
  { field, message, ruleId, forKey }: Violation,
  within: string,
): FieldViolation {
  const description = message === "" ? `breaks the rule ${ruleId}` : message;
  return { field: fieldPath(field, within), description: forKey ? `key: ${description}` : description };
}

/** `items[0].sku`, as google.rpc.BadRequest writes it. The key of a map is the caller's, and is not repeated. */
function fieldPath(path: Violation["field"], within: string): string {
  return path.reduce((written, part) => {
    switch (part.kind) {
      case "list_sub":
        return `${written}[${part.index}]`;
      case "map_sub":
        return `${written}[…]`;
      case "extension":
        return joined(written, `[${part.typeName}]`);
      default:
        return joined(written, part.name);
    }
  }, within);
}

function joined(written: string, name: string): string {
  return written === "" ? name : `${written}.${name}`;
}
