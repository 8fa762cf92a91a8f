// The .proto of docs/validation.md as protoc would describe it, and the service that is made of it.
import { create, fromBinary, setExtension, toBinary } from "@bufbuild/protobuf";
import {
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  FileDescriptorSetSchema,
  MessageOptionsSchema,
} from "@bufbuild/protobuf/wkt";
import {
  MessageRulesSchema,
  message as messageOption,
} from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";
import type { ServiceDefinition } from "@grpc/grpc-js";
import { serviceOf } from "../protovalidate/checks.ts";
import { withRules } from "../protovalidate/descriptor-sets.ts";

const { STRING } = FieldDescriptorProto_Type;
const { OPTIONAL, REPEATED } = FieldDescriptorProto_Label;

/** `expression`: that of the rule of the message. */
export function ordersSet(expression = "this.tags.size() < 2 || this.reason != ''"): Uint8Array {
  const options = create(MessageOptionsSchema);
  setExtension(
    options,
    messageOption,
    create(MessageRulesSchema, {
      cel: [{ id: "cancel.reason", message: "a reason is needed for more than one tag", expression }],
    }),
  );
  const file = {
    name: "orders.proto",
    package: "orders.v1",
    syntax: "proto3",
    messageType: [
      {
        name: "CancelOrderRequest",
        options,
        field: [
          { name: "id", number: 1, type: STRING, label: OPTIONAL },
          { name: "reason", number: 2, type: STRING, label: OPTIONAL },
          { name: "tags", number: 3, type: STRING, label: REPEATED },
        ],
      },
      { name: "Order", field: [{ name: "id", number: 1, type: STRING, label: OPTIONAL }] },
    ],
    service: [
      {
        name: "Orders",
        method: [
          {
            name: "CancelOrder",
            inputType: ".orders.v1.CancelOrderRequest",
            outputType: ".orders.v1.Order",
          },
        ],
      },
    ],
  };
  const set = toBinary(FileDescriptorSetSchema, create(FileDescriptorSetSchema, { file: [file] }));
  return withRules(set, {
    "orders.v1.CancelOrderRequest.id": { type: { case: "string", value: { minLen: 1n, maxLen: 64n } } },
    "orders.v1.CancelOrderRequest.reason": { type: { case: "string", value: { maxLen: 500n } } },
    "orders.v1.CancelOrderRequest.tags": {
      type: {
        case: "repeated",
        value: {
          maxItems: 10n,
          items: { type: { case: "string", value: { pattern: "^[a-z]{1,20}$" } } },
        },
      },
    },
  });
}

export function ordersService(): ServiceDefinition {
  return serviceOf(ordersSet(), { keepCase: true, defaults: true }, "orders.v1.Orders");
}

/** The names of the fields of each message, in the order of their numbers. */
export function fieldsIn(set: Uint8Array): Readonly<Record<string, readonly string[]>> {
  const file = fromBinary(FileDescriptorSetSchema, set).file.find(({ name }) => name === "orders.proto");
  return Object.fromEntries(
    (file?.messageType ?? []).map(({ name, field }) => [name, field.map((each) => each.name)]),
  );
}
