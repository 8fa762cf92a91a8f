// The types of CEL expressions, as the CEL language definition has them ("Values"), and those of protobuf's fields.
import type { DescField, DescMessage, ScalarType } from "@bufbuild/protobuf";
import { bufbuild } from "./bufbuild.ts";

type PlainKind =
  | "bool"
  | "int"
  | "uint"
  | "double"
  | "string"
  | "bytes"
  | "null"
  | "timestamp"
  | "duration"
  /** Known only when it is evaluated. */
  | "dyn";

export type Type =
  | { readonly kind: PlainKind }
  /** A scalar that may be null: a field of google.protobuf.StringValue, say. */
  | { readonly kind: "wrapper"; readonly of: Type }
  | { readonly kind: "list"; readonly element: Type }
  /** `keys`: no others can be in it. */
  | {
      readonly kind: "map";
      readonly key: Type;
      readonly value: Type;
      readonly keys?: readonly string[] | undefined;
    }
  | { readonly kind: "message"; readonly message: DescMessage }
  /** A variable of ours with fields of its own. */
  | { readonly kind: "object"; readonly name: string; readonly fields: ReadonlyMap<string, Type> };

export const types: { readonly [Kind in PlainKind]: { readonly kind: Kind } } = {
  bool: { kind: "bool" },
  int: { kind: "int" },
  uint: { kind: "uint" },
  double: { kind: "double" },
  string: { kind: "string" },
  bytes: { kind: "bytes" },
  null: { kind: "null" },
  timestamp: { kind: "timestamp" },
  duration: { kind: "duration" },
  dyn: { kind: "dyn" },
};

/** Of a `google.protobuf.Any`, which the library unpacks whenever it is read. */
export const anyMessage: Type = { kind: "dyn" };

export function listOf(element: Type): Type {
  return { kind: "list", element };
}

export function mapOf(key: Type, value: Type): Type {
  return { kind: "map", key, value };
}

export function nameOf(type: Type): string {
  switch (type.kind) {
    case "wrapper":
      return `${nameOf(type.of)} or null`;
    case "list":
      return `list(${nameOf(type.element)})`;
    case "map":
      return `map(${nameOf(type.key)}, ${nameOf(type.value)})`;
    case "message":
      return type.message.typeName;
    case "object":
      return type.name;
    default:
      return type.kind;
  }
}

/** May a value of one be where the other is expected? */
export function fits(a: Type, b: Type): boolean {
  if (a.kind === "dyn" || b.kind === "dyn") return true;
  if (a.kind === "wrapper") return b.kind === "null" || fits(a.of, b);
  if (b.kind === "wrapper") return fits(b, a);
  if (a.kind === "null" || b.kind === "null") return isNullable(a) && isNullable(b);
  if (a.kind === "list" && b.kind === "list") return fits(a.element, b.element);
  if (a.kind === "map" && b.kind === "map") return fits(a.key, b.key) && fits(a.value, b.value);
  if (a.kind === "message" && b.kind === "message") return a.message.typeName === b.message.typeName;
  if (a.kind === "object" || b.kind === "object") return false;
  return a.kind === b.kind;
}

function isNullable({ kind }: Type): boolean {
  return kind === "null" || kind === "message" || kind === "timestamp" || kind === "duration";
}

/** Of two values of which there will be one. Undefined where they have nothing in common. */
export function common(a: Type, b: Type): Type | undefined {
  if (a === b) return a;
  if (!fits(a, b)) return undefined;
  if (a.kind === "dyn" || b.kind === "dyn") return types.dyn;
  return a.kind === "null" || b.kind === "wrapper" ? b : a;
}

/** The type that a field has in an expression. */
export function typeOfField(field: DescField): Type {
  switch (field.fieldKind) {
    case "scalar":
      return typeOfScalar(field.scalar);
    case "enum":
      return typeOfEnum(field.enum.typeName);
    case "message":
      return typeOfMessage(field.message);
    case "list":
      return listOf(typeOfElement(field));
    case "map":
      return mapOf(typeOfScalar(field.mapKey), typeOfMapValue(field));
  }
}

function typeOfElement(field: DescField & { readonly fieldKind: "list" }): Type {
  switch (field.listKind) {
    case "scalar":
      return typeOfScalar(field.scalar);
    case "enum":
      return typeOfEnum(field.enum.typeName);
    case "message":
      return typeOfMessage(field.message);
  }
}

function typeOfMapValue(field: DescField & { readonly fieldKind: "map" }): Type {
  switch (field.mapKind) {
    case "scalar":
      return typeOfScalar(field.scalar);
    case "enum":
      return typeOfEnum(field.enum.typeName);
    case "message":
      return typeOfMessage(field.message);
  }
}

/** Enumerations are ints. */
function typeOfEnum(name: string): Type {
  return name === "google.protobuf.NullValue" ? types.dyn : types.int;
}

const wellKnown: ReadonlyMap<string, Type> = new Map<string, Type>([
  ["Timestamp", types.timestamp],
  ["Duration", types.duration],
  ["Struct", mapOf(types.string, types.dyn)],
  ["ListValue", listOf(types.dyn)],
  ["Value", types.dyn],
  ["Any", anyMessage],
  ["BoolValue", { kind: "wrapper", of: types.bool }],
  ["StringValue", { kind: "wrapper", of: types.string }],
  ["BytesValue", { kind: "wrapper", of: types.bytes }],
  ["FloatValue", { kind: "wrapper", of: types.double }],
  ["DoubleValue", { kind: "wrapper", of: types.double }],
  ["Int32Value", { kind: "wrapper", of: types.int }],
  ["Int64Value", { kind: "wrapper", of: types.int }],
  ["UInt32Value", { kind: "wrapper", of: types.uint }],
  ["UInt64Value", { kind: "wrapper", of: types.uint }],
]);

const wellKnownPackage = "google.protobuf.";

export function typeOfMessage(message: DescMessage): Type {
  const { typeName } = message;
  const special = typeName.startsWith(wellKnownPackage)
    ? wellKnown.get(typeName.slice(wellKnownPackage.length))
    : undefined;
  return special ?? { kind: "message", message };
}

function typeOfScalar(scalar: ScalarType): Type {
  const { ScalarType: each } = bufbuild().protobuf;
  switch (scalar) {
    case each.BOOL:
      return types.bool;
    case each.STRING:
      return types.string;
    case each.BYTES:
      return types.bytes;
    case each.FLOAT:
    case each.DOUBLE:
      return types.double;
    case each.UINT32:
    case each.UINT64:
    case each.FIXED32:
    case each.FIXED64:
      return types.uint;
    default:
      return types.int;
  }
}
