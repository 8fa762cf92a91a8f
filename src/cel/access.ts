/**
 * How an expression reads lists, maps and messages of which the checker does not know everything: `a[b]`, `a.b`, `has(a.b)`
 * and `a in b`. The library takes null and texts for places in a list, finds no key whose value is null, does not find every key
 * that equals a number of another kind, and reads the parts of times as fields.
 */
import type { CelFunc, CelMap, CelValue } from "@bufbuild/cel";
import { bufbuild } from "./bufbuild.ts";

/** Names that no expression can have: the checker puts these calls in. */
export const accessCalls: Readonly<Record<"element" | "fields" | "has" | "unpacked", string>> = {
  element: "@element",
  fields: "@fields",
  has: "@has",
  unpacked: "@unpacked",
};

/** `charge` takes the steps of reading the request once: whoever reads a field of an Any unpacks it, each time. */
export function accessFunctions(charge: () => void): readonly CelFunc[] {
  const { cel } = bufbuild();
  const { BOOL, DYN, STRING } = cel.CelScalar;
  return [
    cel.celFunc(accessCalls.element, [DYN, DYN], DYN, elementOf),
    cel.celFunc(accessCalls.fields, [DYN], DYN, withFields),
    cel.celFunc(accessCalls.has, [DYN, STRING], BOOL, has),
    cel.celFunc(accessCalls.unpacked, [DYN], DYN, (of) => {
      charge();
      return of;
    }),
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

function has(of: CelValue, name: string): boolean {
  const { cel, reflection } = bufbuild();
  if (cel.isCelMap(of)) return valueAt(of, name) !== undefined;
  if (cel.isCelList(of)) throw new Error("no such overload: a list has no fields");
  if (!reflection.isReflectMessage(of) || isTime(of)) return false;
  const field = of.desc.fields.find((each) => each.name === name);
  if (field === undefined) throw new Error("field not found");
  return of.isSet(field);
}

/** What `a` of `a.b` is: a time is no message in an expression. */
function withFields(of: CelValue): CelValue {
  if (isTime(of)) throw new Error("no such overload: a time has no fields");
  return of;
}

function isTime(value: CelValue): boolean {
  return (
    bufbuild().reflection.isReflectMessage(value) &&
    ["google.protobuf.Timestamp", "google.protobuf.Duration"].includes(value.desc.typeName)
  );
}
