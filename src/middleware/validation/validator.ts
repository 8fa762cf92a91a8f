// The contract of a validator: what checks the messages of all methods by rules of its own, such as those of their .proto files.
import type { CallContext } from "../../chain/context.ts";
import type { MethodInfo } from "../../grpc/method.ts";

/** What is wrong with a message, for the caller (`google.rpc.BadRequest`). Public: without values that the caller sent. */
export interface FieldViolation {
  /** `items[0].sku`; empty for the message as a whole. */
  readonly field: string;
  readonly description: string;
}

/** What is wrong with a message; an empty list where it fits. A throw refuses the call too, as INTERNAL. */
export type MessageCheck = {
  // A method, so that a function of a narrower message type fits.
  check(message: unknown, call: CallContext): readonly FieldViolation[] | Promise<readonly FieldViolation[]>;
}["check"];

/** For `validation`. `protovalidate({ descriptorSet })` of `grpc-palisade/protovalidate` makes one. */
export interface Validator {
  readonly name: string;
  /**
   * Called for each registered method when the server starts, except those of gRPC's own services (health, reflection). What
   * it returns is asked about each request message, before the handler sees it; undefined: there is nothing to check, and
   * the messages are not looked at.
   * @throws {ConfigError} where it cannot check the method, with every problem.
   */
  compile(method: MethodInfo): MessageCheck | undefined;
}

export function isValidator(value: unknown): value is Validator {
  return (
    typeof value === "object" &&
    value !== null &&
    typeof Reflect.get(value, "name") === "string" &&
    typeof Reflect.get(value, "compile") === "function"
  );
}
