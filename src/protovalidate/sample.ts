// A message of a type in which every field has a value, to see at start whether its rules can be evaluated at all.
import type { DescField, DescMessage, ScalarType } from "@bufbuild/protobuf";
import type { ReflectMessage } from "@bufbuild/protobuf/reflect";
import { packages } from "./packages.ts";

/** How many messages stand within one another. */
const maxDepth = 3;

export function sampleOf(message: DescMessage): ReflectMessage {
  return sampleAt(message, 1);
}

function sampleAt(message: DescMessage, depth: number): ReflectMessage {
  const { reflection } = packages();
  const sample = reflection.reflect(message);
  if (message.typeName.startsWith("google.protobuf.")) return sample;
  for (const field of message.fields) {
    if (field.message !== undefined && depth === maxDepth) continue;
    setIn(sample, field, depth);
  }
  return sample;
}

function setIn(sample: ReflectMessage, field: DescField, depth: number): void {
  switch (field.fieldKind) {
    case "list":
      sample.get(field).add(sampleValue(field, depth));
      return;
    case "map":
      sample.get(field).set(scalarOf(field.mapKey), sampleValue(field, depth));
      return;
    default:
      sample.set(field, sampleValue(field, depth));
  }
}

function sampleValue(
  { message, enum: enumeration, scalar }: DescField,
  depth: number,
): ReflectMessage | ScalarSample {
  if (message !== undefined) return sampleAt(message, depth + 1);
  if (enumeration !== undefined) return (enumeration.values[1] ?? enumeration.values[0])?.number ?? 0;
  return scalarOf(scalar);
}

type ScalarSample = string | number | bigint | boolean | Uint8Array;

/** None is the zero value, of which rules may be told to take no notice. */
function scalarOf(scalar: ScalarType | undefined): ScalarSample {
  const { protobuf, reflection } = packages();
  const zero = reflection.scalarZeroValue(scalar ?? protobuf.ScalarType.STRING, false);
  switch (typeof zero) {
    case "string":
      return "a";
    case "number":
      return 1;
    case "bigint":
      return 1n;
    case "boolean":
      return true;
    default:
      return new Uint8Array([1]);
  }
}
