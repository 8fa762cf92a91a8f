// The request type of a method, from a descriptor set or from the descriptors that its service's definition carries.
import type { DescMessage, FileRegistry, Registry } from "@bufbuild/protobuf";
import { PolicyError } from "../grpc/errors.ts";
import type { MethodInfo } from "../grpc/method.ts";
import { describedMethod, registryOf } from "../protobuf/descriptors.ts";
import { bufbuild } from "./bufbuild.ts";
import { completed } from "./loaded-files.ts";

export interface RequestType {
  readonly message: DescMessage;
  readonly registry: Registry;
}

/** `described` is of the option `descriptorSet`. @throws {PolicyError} where nothing describes the method. */
export function requestTypeOf(method: MethodInfo, described: FileRegistry | undefined): RequestType {
  const registry = described ?? loadedTypes(method);
  const found = describedMethod(registry, method);
  if (typeof found === "string") throw new PolicyError([found]);
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
    made = registryOf(completed(protos), bufbuild());
  } catch (error) {
    throw new PolicyError([
      `the descriptors in the definition of ${path} cannot be read (${String(error)}); give the option descriptorSet`,
    ]);
  }
  loaded.set(files, made);
  return made;
}
