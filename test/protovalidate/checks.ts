// A service whose requests have rules: as proto-loader loads it, and its checks asked about messages without a server.
import { Buffer } from "node:buffer";
import type { ServiceDefinition } from "@grpc/grpc-js";
import { loadFileDescriptorSetFromBuffer, type Options } from "@grpc/proto-loader";
import { ConfigError } from "../../src/grpc/errors.ts";
import { type MethodInfo, methodInfo, methodsOf } from "../../src/grpc/method.ts";
import type { FieldViolation, MessageCheck } from "../../src/middleware/validation/validator.ts";
import { protovalidate } from "../../src/protovalidate/index.ts";
import { alice, callFrom } from "../middleware/ended-call.ts";
import {
  describedBy,
  type FileShape,
  type MessageShape,
  serviceName,
  withoutRules,
} from "./descriptor-sets.ts";

/** As `loadSync` gives it for the .proto file. */
export function serviceOf(
  set: Uint8Array,
  options: Options = { keepCase: true, longs: String, enums: String, defaults: true, oneofs: true },
  name: string = serviceName,
): ServiceDefinition {
  const definition = loadFileDescriptorSetFromBuffer(Buffer.from(withoutRules(set)), options)[name];
  if (definition === undefined) throw new Error(`there is no ${name}`);
  return definition as unknown as ServiceDefinition;
}

export interface Asked {
  readonly maxSteps?: number;
  readonly loader?: Options;
}

/** One message `Request`, unless the shape has several. */
export function shapeOf(shape: FileShape | MessageShape): FileShape {
  return "messages" in shape ? shape : { messages: { Request: shape } };
}

export interface Checked {
  readonly check: MessageCheck | undefined;
  /** What the handler would get of a message with this content. */
  decoded(message: object): unknown;
}

export function checkOf(shape: FileShape | MessageShape, { loader, ...options }: Asked = {}): Checked {
  const set = describedBy(shapeOf(shape));
  const service = serviceOf(set, loader);
  const [unary] = methodsOf(service);
  const definition = Object.values(service)[0];
  if (unary === undefined || definition === undefined) throw new Error("there is no method");
  return {
    check: protovalidate({ descriptorSet: set, ...options }).compile(unary),
    decoded: (message) => definition.requestDeserialize(definition.requestSerialize(message)),
  };
}

const call = callFrom({ method: methodInfo("/t.v1.Checks/Unary", "unary", true), principal: alice });

/** What is wrong with the message, each as `field: description`; or what is wrong with the rules. */
export function said(shape: FileShape | MessageShape, message: object, asked: Asked = {}): unknown {
  try {
    const { check, decoded } = checkOf(shape, asked);
    if (check === undefined) return "nothing to check";
    return told(check(decoded(message), call));
  } catch (error) {
    return error instanceof ConfigError ? error.problems : String(error);
  }
}

export function told(violations: ReturnType<MessageCheck>): unknown {
  if (!Array.isArray(violations)) throw new Error("expected an answer at once");
  return violations.map(({ field, description }: FieldViolation) => `${field}: ${description}`);
}

export function ask(check: MessageCheck | undefined, message: unknown): unknown {
  return check === undefined ? "nothing to check" : told(check(message, call));
}

export type { MethodInfo };
