/**
 * Types of requests from a descriptor set. The members of a oneof become fields of their own: some decoders keep several of
 * them, and whoever reads a message by its descriptor must not see less of it than the handler does.
 */
import type { DescMethod, FileRegistry } from "@bufbuild/protobuf";
import type {
  DescriptorProto,
  EnumDescriptorProto,
  FileDescriptorProto,
  OneofDescriptorProto,
} from "@bufbuild/protobuf/wkt";
import { descriptorSetBytes, FileProblem } from "../config/bounded-file.ts";
import { didYouMean } from "../config/nearest-name.ts";
import { ConfigError } from "../grpc/errors.ts";
import type { MethodInfo } from "../grpc/method.ts";
import type { ProtobufRuntime } from "./runtime.ts";

/** A oneof whose members become fields of their own. */
export interface SeparatedOneof {
  readonly message: DescriptorProto;
  readonly oneof: OneofDescriptorProto;
  /** The names of its members. */
  readonly members: readonly string[];
}

export interface Reading {
  /** The function that has the option `descriptorSet`. */
  readonly of: string;
  /** Told of each oneof before its message is read; it may change the message. */
  readonly onOneof?: ((oneof: SeparatedOneof) => void) | undefined;
}

/**
 * Of the option `descriptorSet`: a serialized `google.protobuf.FileDescriptorSet`, or the path of a file with one.
 * @throws {ConfigError} where it is none, or is not complete.
 */
export function describedTypes(
  descriptorSet: string | Uint8Array,
  { of, onOneof }: Reading,
  runtime: ProtobufRuntime,
): FileRegistry {
  const where = `${of}.descriptorSet:${typeof descriptorSet === "string" ? ` ${descriptorSet}` : ""}`;
  const files = filesIn(descriptorSet, where, runtime);
  try {
    return registryOf(files, runtime, onOneof);
  } catch (cause) {
    throw new ConfigError(
      `${where} is no FileDescriptorSet with all its imports (protoc --include_imports): ${String(cause)}`,
      { cause },
    );
  }
}

function filesIn(
  descriptorSet: string | Uint8Array,
  where: string,
  { protobuf, wkt }: ProtobufRuntime,
): readonly FileDescriptorProto[] {
  try {
    return protobuf.fromBinary(wkt.FileDescriptorSetSchema, descriptorSetBytes(descriptorSet)).file;
  } catch (cause) {
    const problem =
      cause instanceof FileProblem
        ? cause.message
        : `is no FileDescriptorSet, or is cut off (${String(cause)}); write it with protoc --include_imports --descriptor_set_out, or buf build -o`;
    throw new ConfigError(`${where} ${problem}`, { cause });
  }
}

export function registryOf(
  files: readonly FileDescriptorProto[],
  runtime: ProtobufRuntime,
  onOneof: (oneof: SeparatedOneof) => void = () => {},
): FileRegistry {
  const { protobuf, wkt } = runtime;
  for (const file of files) {
    // The libraries read google.protobuf.Value by its oneof, and buf.validate's rules by theirs.
    if (file.package === "google.protobuf" || file.package === "buf.validate") continue;
    for (const message of file.messageType) separateMembers(message, file.syntax, runtime, onOneof);
    openEnums(file.enumType, file.messageType, runtime);
  }
  return protobuf.createFileRegistry(protobuf.create(wkt.FileDescriptorSetSchema, { file: [...files] }));
}

function separateMembers(
  message: DescriptorProto,
  syntax: string,
  runtime: ProtobufRuntime,
  onOneof: (oneof: SeparatedOneof) => void,
): void {
  const { protobuf, wkt } = runtime;
  const { oneofIndex } = wkt.FieldDescriptorProtoSchema.field;
  message.oneofDecl.forEach((oneof, index) => {
    const members = message.field.filter(
      (field) =>
        protobuf.isFieldSet(field, oneofIndex) && field.oneofIndex === index && !field.proto3Optional,
    );
    if (members.length > 0) onOneof({ message, oneof, members: members.map(({ name }) => name) });
  });
  message.oneofDecl = [];
  for (const field of message.field) {
    if (!protobuf.isFieldSet(field, oneofIndex)) continue;
    protobuf.clearField(field, oneofIndex);
    if (syntax === "proto3") {
      // As protoc writes an `optional` field.
      field.oneofIndex = message.oneofDecl.length;
      field.proto3Optional = true;
      message.oneofDecl.push(protobuf.create(wkt.OneofDescriptorProtoSchema, { name: `_${field.name}` }));
    } else if (syntax === "editions") {
      field.options ??= protobuf.create(wkt.FieldOptionsSchema);
      field.options.features ??= protobuf.create(wkt.FeatureSetSchema);
      field.options.features.fieldPresence = wkt.FeatureSet_FieldPresence.EXPLICIT;
    }
  }
  for (const nested of message.nestedType) separateMembers(nested, syntax, runtime, onOneof);
}

/**
 * The decoder keeps a number that a closed enumeration does not define (`proto2`, and `enum_type = CLOSED`) away from the field, where
 * nobody would look at it; other decoders give it to the handler.
 */
function openEnums(
  enums: readonly EnumDescriptorProto[],
  messages: readonly DescriptorProto[],
  runtime: ProtobufRuntime,
): void {
  const { protobuf, wkt } = runtime;
  for (const each of enums) {
    each.options ??= protobuf.create(wkt.EnumOptionsSchema);
    each.options.features ??= protobuf.create(wkt.FeatureSetSchema);
    each.options.features.enumType = wkt.FeatureSet_EnumType.OPEN;
  }
  for (const { enumType, nestedType } of messages) openEnums(enumType, nestedType, runtime);
}

/** The method as the descriptors have it, or what is wrong with the descriptor set. */
export function describedMethod(registry: FileRegistry, method: MethodInfo): DescMethod | string {
  const service = registry.getService(method.service);
  if (service === undefined) {
    const names = [...registry].flatMap((type) => (type.kind === "service" ? [type.typeName] : []));
    return `descriptorSet: there is no service ${method.service} in it${didYouMean(method.service, names)}`;
  }
  const found = service.methods.find(({ name }) => name === method.name);
  if (found !== undefined) return found;
  const names = service.methods.map(({ name }) => name);
  return `descriptorSet: the service ${method.service} in it has no method ${method.name}${didYouMean(method.name, names)}`;
}
