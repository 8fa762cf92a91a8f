/**
 * The descriptors that @grpc/proto-loader puts into a service's definition, completed. They come from protobuf.js, which
 * writes one file for each package, with names of types as the source has them, or shortened, and without imports.
 */
import type { DescriptorProto, FieldDescriptorProto, FileDescriptorProto } from "@bufbuild/protobuf/wkt";
import { bufbuild } from "./bufbuild.ts";

const wellKnownPackage = "google.protobuf";

/** Files that a registry takes, in order. Throws an `Error` where a type is not found, or packages need one another in a circle. */
export function completed(files: readonly FileDescriptorProto[]): readonly FileDescriptorProto[] {
  const own = files.filter(({ package: name }) => name !== wellKnownPackage);
  for (const file of own) for (const message of file.messageType) nameMapEntries(message, file.package);
  const homes = new Map<string, FileDescriptorProto>();
  for (const file of own) {
    for (const type of file.enumType) homes.set(joined(file.package, type.name), file);
    for (const type of file.messageType) addTypes(joined(file.package, type.name), { type, file, homes });
  }
  const wellKnown = wellKnownFiles();
  for (const file of wellKnown)
    for (const type of [...file.messageType, ...file.enumType])
      homes.set(joined(wellKnownPackage, type.name), file);
  for (const file of own) {
    const needed = new Set<string>();
    const resolve = (name: string, scope: string): string => {
      const found = resolved(name, scope, homes);
      const home = homes.get(found);
      if (home === undefined) throw new Error(`there is no type ${name} in ${scope}`);
      if (home !== file) needed.add(home.name);
      return `.${found}`;
    };
    for (const message of file.messageType)
      completeMessage(message, joined(file.package, message.name), resolve);
    for (const method of file.service.flatMap((service) => service.method)) {
      method.inputType = resolve(method.inputType, file.package);
      method.outputType = resolve(method.outputType, file.package);
    }
    // No condition reads them, and what they extend, options most of all, is in none of these files.
    file.extension = [];
    file.dependency = [...needed];
  }
  return [...wellKnown, ...inOrder(own, new Set(wellKnown.map(({ name }) => name)))];
}

function wellKnownFiles(): readonly FileDescriptorProto[] {
  const { wkt } = bufbuild();
  return [
    wkt.file_google_protobuf_any,
    wkt.file_google_protobuf_duration,
    wkt.file_google_protobuf_empty,
    wkt.file_google_protobuf_field_mask,
    wkt.file_google_protobuf_struct,
    wkt.file_google_protobuf_timestamp,
    wkt.file_google_protobuf_wrappers,
  ].map(({ proto }) => bufbuild().protobuf.clone(wkt.FileDescriptorProtoSchema, proto));
}

interface Found {
  readonly type: DescriptorProto;
  readonly file: FileDescriptorProto;
  readonly homes: Map<string, FileDescriptorProto>;
}

function addTypes(name: string, { type, file, homes }: Found): void {
  homes.set(name, file);
  for (const each of type.enumType) homes.set(joined(name, each.name), file);
  for (const each of type.nestedType) addTypes(joined(name, each.name), { type: each, file, homes });
}

type Resolve = (name: string, scope: string) => string;

function completeMessage(message: DescriptorProto, scope: string, resolve: Resolve): void {
  for (const field of message.field) completeField(field, scope, resolve);
  message.extension = [];
  for (const nested of message.nestedType) completeMessage(nested, joined(scope, nested.name), resolve);
}

function completeField(field: FieldDescriptorProto, scope: string, resolve: Resolve): void {
  if (field.typeName !== "") field.typeName = resolve(field.typeName, scope);
}

/** What a name has in common with its scope was left out of it, so several types may bear what is left. */
function resolved(name: string, scope: string, homes: ReadonlyMap<string, unknown>): string {
  if (name.startsWith(".")) return name.slice(1);
  const found = [name, ...scopesAround(scope).map((within) => joined(within, name))].filter((each) =>
    homes.has(each),
  );
  if (found.length > 1) throw new Error(`${name} in ${scope} may be any of ${found.join(", ")}`);
  return found[0] ?? name;
}

function scopesAround(scope: string): readonly string[] {
  const parts = scope.split(".");
  return scope === "" ? [] : parts.map((_, index) => parts.slice(0, index + 1).join("."));
}

/** The type of a map's entries has the name of its field, which may be that of another type too. */
function nameMapEntries(message: DescriptorProto, scope: string): void {
  const name = joined(scope, message.name);
  for (const nested of message.nestedType) {
    if (nested.options?.mapEntry !== true) {
      nameMapEntries(nested, name);
      continue;
    }
    const fields = message.field.filter(({ typeName }) => typeName === nested.name);
    const [field] = fields.filter((each) => capitalized(each.name) === nested.name);
    if (field === undefined) throw new Error(`there is no field with the entries ${nested.name} in ${name}`);
    nested.name = `${nested.name}Entry`;
    field.typeName = `.${joined(name, nested.name)}`;
  }
}

function capitalized(name: string): string {
  return name.slice(0, 1).toUpperCase() + name.slice(1);
}

function inOrder(files: readonly FileDescriptorProto[], given: Set<string>): FileDescriptorProto[] {
  const ordered: FileDescriptorProto[] = [];
  let waiting = [...files];
  while (waiting.length > 0) {
    const ready = waiting.filter(({ dependency }) => dependency.every((name) => given.has(name)));
    if (ready.length === 0)
      throw new Error(`the packages ${waiting.map((file) => file.package).join(", ")} need one another`);
    for (const file of ready) given.add(file.name);
    ordered.push(...ready);
    waiting = waiting.filter((file) => !ready.includes(file));
  }
  return ordered;
}

function joined(scope: string, name: string): string {
  return scope === "" ? name : `${scope}.${name}`;
}
