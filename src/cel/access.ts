/**
 * How an expression reads lists, maps and messages of which the checker does not know everything: `a[b]`, `a.b`, `has(a.b)`
 * and `a in b`. The library takes null and texts for places in a list, finds no key whose value is null, does not find every key
 * that equals a number of another kind, and reads the parts of times as fields.
 */
import type { CelFunc, CelMap, CelValue } from "@bufbuild/cel";
import type { Registry } from "@bufbuild/protobuf";
import type { ReflectMessage } from "@bufbuild/protobuf/reflect";
import { bufbuild } from "./bufbuild.ts";

/** Names that no expression can have: the checker puts these calls in. */
export const accessCalls: { readonly element: string; readonly fields: string; readonly has: string } = {
  element: "@element",
  fields: "@fields",
  has: "@has",
};

export function accessFunctions(registry: Registry): readonly CelFunc[] {
  const { cel } = bufbuild();
  const { BOOL, DYN, STRING } = cel.CelScalar;
  return [
    cel.celFunc(accessCalls.element, [DYN, DYN], DYN, elementOf),
    cel.celFunc(accessCalls.fields, [DYN], DYN, withFields),
    cel.celFunc(accessCalls.has, [DYN, STRING], BOOL, (of, name) => has(of, name, registry)),
  ];
}

/** `in` for maps. What can be no key is in no map. */
export function membershipFunctions(): readonly CelFunc[] {
  const { cel } = bufbuild();
  const { BOOL, BYTES, DOUBLE, DYN, INT, NULL, STRING, UINT } = cel.CelScalar;
  const map = cel.mapType(DYN, DYN);
  return [BOOL, INT, UINT, DOUBLE, STRING, BYTES, NULL, cel.listType(DYN), map].map((key) =>
    cel.celFunc("@in", [key, map], BOOL, (value, within) => valueAt(within, value) !== undefined),
  );
}

function elementOf(of: CelValue, index: CelValue): CelValue {
  const { cel } = bufbuild();
  if (cel.isCelList(of)) {
    const element = of.get(placeIn(index));
    if (element === undefined) throw new Error("index out of bounds");
    return element;
  }
  if (!cel.isCelMap(of)) throw new Error("no such overload: […] reads lists and maps");
  const value = valueAt(of, index);
  if (value === undefined) throw new Error("field not found");
  return value;
}

function placeIn(index: CelValue): number {
  const key = keyOf(index);
  if (typeof key !== "bigint") throw new Error("no such overload: a list is read by whole numbers");
  return Number(key);
}

type Key = bigint | string | boolean;

/** Numbers of different kinds are one key. Undefined: it can be none. */
function keyOf(value: CelValue): Key | undefined {
  const { cel } = bufbuild();
  if (cel.isCelUint(value)) return value.value;
  switch (typeof value) {
    case "bigint":
    case "string":
    case "boolean":
      return value;
    case "number":
      return Number.isInteger(value) ? BigInt(value) : undefined;
    default:
      return undefined;
  }
}

/** Undefined where there is no such key. */
function valueAt(map: CelMap, index: CelValue): CelValue | undefined {
  const key = keyOf(index);
  return key === undefined ? undefined : map.get(key);
}

function has(of: CelValue, name: string, registry: Registry): boolean {
  const { cel, reflection } = bufbuild();
  if (cel.isCelMap(of)) return valueAt(of, name) !== undefined;
  if (cel.isCelList(of)) throw new Error("no such overload: a list has no fields");
  if (!reflection.isReflectMessage(of)) return false;
  const message = unpacked(of, registry);
  if (isTime(message.desc.typeName)) return false;
  const field = message.desc.fields.find((each) => each.name === name);
  if (field === undefined) throw new Error("field not found");
  return message.isSet(field);
}

function unpacked(message: ReflectMessage, registry: Registry): ReflectMessage {
  const { protobuf, reflection, wkt } = bufbuild();
  if (!protobuf.isMessage(message.message, wkt.AnySchema)) return message;
  const held = wkt.anyUnpack(message.message, registry);
  const type = held === undefined ? undefined : registry.getMessage(held.$typeName);
  if (held === undefined || type === undefined) throw new Error("an Any holds a message of an unknown type");
  return reflection.reflect(type, held);
}

/** What `a` of `a.b` is: a time is no message in an expression. */
function withFields(of: CelValue): CelValue {
  if (bufbuild().reflection.isReflectMessage(of) && isTime(of.desc.typeName))
    throw new Error("no such overload: a time has no fields");
  return of;
}

function isTime(name: string): boolean {
  return name === "google.protobuf.Timestamp" || name === "google.protobuf.Duration";
}
