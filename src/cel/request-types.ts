/**
 * The request type of a method, from a descriptor set or from the descriptors that its service's definition carries. The
 * members of a oneof become fields of their own: some decoders keep several of them, and a condition must not see less of a
 * message than the handler does.
 */
import type { DescMessage, FileRegistry, Registry } from "@bufbuild/protobuf";
import type { DescriptorProto, FileDescriptorProto } from "@bufbuild/protobuf/wkt";
import { didYouMean } from "../config/nearest-name.ts";
import { PolicyError } from "../grpc/errors.ts";
import type { MethodInfo } from "../grpc/method.ts";
import { bufbuild } from "./bufbuild.ts";
import { completed } from "./loaded-files.ts";

export interface RequestType {
  readonly message: DescMessage;
  readonly registry: Registry;
}

/** `described` is of the option `descriptorSet`. @throws {PolicyError} where nothing describes the method. */
export function requestTypeOf(method: MethodInfo, described: FileRegistry | undefined): RequestType {
  const registry = described ?? loadedTypes(method);
  const service = registry.getService(method.service);
  if (service === undefined) {
    const names = [...registry].flatMap((type) => (type.kind === "service" ? [type.typeName] : []));
    throw new PolicyError([
      `descriptorSet: there is no service ${method.service} in it${didYouMean(method.service, names)}`,
    ]);
  }
  const found = service.methods.find(({ name }) => name === method.name);
  if (found === undefined) {
    const names = service.methods.map(({ name }) => name);
    throw new PolicyError([
      `descriptorSet: the service ${method.service} in it has no method ${method.name}${didYouMean(method.name, names)}`,
    ]);
  }
  return { message: found.input, registry };
}

/** All methods of a package share their files. */
const loaded: WeakMap<readonly Uint8Array[], FileRegistry> = new WeakMap();

function loadedTypes({ path, request }: MethodInfo): FileRegistry {
  const files = request?.fileDescriptors;
  if (files === undefined)
    throw new PolicyError([
      `the definition of ${path} does not tell the type of its request; give the option descriptorSet: ` +
        'celWith({ descriptorSet: "…" }), the file that protoc --include_imports --descriptor_set_out writes, or buf build',
    ]);
  const known = loaded.get(files);
  if (known !== undefined) return known;
  const { protobuf, wkt } = bufbuild();
  let made: FileRegistry;
  try {
    const protos = files.map((bytes) => protobuf.fromBinary(wkt.FileDescriptorProtoSchema, bytes));
    made = registryOf(completed(protos));
  } catch (error) {
    throw new PolicyError([
      `the descriptors in the definition of ${path} cannot be read (${String(error)}); give the option descriptorSet`,
    ]);
  }
  loaded.set(files, made);
  return made;
}

/** Of a serialized `google.protobuf.FileDescriptorSet`. Throws what the decoder throws where it is none, or is not complete. */
export function readDescriptorSet(bytes: Uint8Array): FileRegistry {
  const { protobuf, wkt } = bufbuild();
  return registryOf(protobuf.fromBinary(wkt.FileDescriptorSetSchema, bytes).file);
}

function registryOf(files: readonly FileDescriptorProto[]): FileRegistry {
  const { protobuf, wkt } = bufbuild();
  for (const file of files) {
    // The library reads google.protobuf.Value by its oneof.
    if (file.package === "google.protobuf") continue;
    for (const message of file.messageType) separateMembers(message, file.syntax);
  }
  return protobuf.createFileRegistry(protobuf.create(wkt.FileDescriptorSetSchema, { file: [...files] }));
}

function separateMembers(message: DescriptorProto, syntax: string): void {
  const { protobuf, wkt } = bufbuild();
  const { oneofIndex } = wkt.FieldDescriptorProtoSchema.field;
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
  for (const nested of message.nestedType) separateMembers(nested, syntax);
}
