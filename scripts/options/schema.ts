// What a zod schema says of an option: its shape in words, its default, its members.
import { z } from "zod";

/** What an option is when it is not given. */
export type Presence =
  | { readonly kind: "required" }
  | { readonly kind: "default"; readonly value: unknown }
  /** Its members have defaults of their own. */
  | { readonly kind: "members" }
  | { readonly kind: "absent" };

export interface Unwrapped {
  readonly inner: z.ZodType;
  readonly presence: Presence;
}

/** Takes off what stands around the schema of the value itself. */
export function unwrap(schema: z.ZodType): Unwrapped {
  if (schema instanceof z.ZodDefault) {
    return { inner: bare(schema), presence: { kind: "default", value: schema.def.defaultValue } };
  }
  if (schema instanceof z.ZodPrefault) return { inner: bare(schema), presence: { kind: "members" } };
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodExactOptional)
    return { inner: bare(schema), presence: { kind: "absent" } };
  return { inner: bare(schema), presence: { kind: "required" } };
}

function bare(schema: z.ZodType): z.ZodType {
  if (
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault ||
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodExactOptional ||
    schema instanceof z.ZodNullable
  ) {
    return bare(asSchema(schema.def.innerType));
  }
  if (schema instanceof z.ZodPipe) return bare(asSchema(schema.def.in));
  return schema;
}

/** zod's own types name a part of a schema by its core. */
function asSchema(part: unknown): z.ZodType {
  if (part instanceof z.ZodType) return part;
  throw new TypeError("no schema of zod's: the walk does not know it");
}

/** The schemas that the value may fit. */
export function alternatives(schema: z.ZodType): readonly z.ZodType[] {
  return schema instanceof z.ZodUnion ? schema.def.options.map((option) => bare(asSchema(option))) : [schema];
}

/** The object's options, in their order, without those that are known only to be refused. */
export function membersOf(schema: z.ZodType): readonly (readonly [name: string, schema: z.ZodType])[] {
  const object = alternatives(schema).find((one) => one instanceof z.ZodObject);
  if (object === undefined) return [];
  return Object.entries(object.shape).flatMap(([name, part]) => {
    const member = asSchema(part);
    return bare(member) instanceof z.ZodNever ? [] : [[name, member] as const];
  });
}

/** What stands under each name of a record, where that has options. */
export function entryOf(schema: z.ZodType): z.ZodType | undefined {
  if (!(schema instanceof z.ZodRecord)) return undefined;
  const entry = bare(asSchema(schema.def.valueType));
  return membersOf(entry).length > 0 ? entry : undefined;
}

/** The shape in words, or undefined where the schema cannot tell, because it checks with a function. */
export function shapeOf(schema: z.ZodType): string | undefined {
  const shapes = alternatives(schema).map(singleShape);
  if (shapes.some((shape) => shape === undefined)) return undefined;
  return shapes.join(" or ");
}

function singleShape(schema: z.ZodType): string | undefined {
  if (schema instanceof z.ZodBoolean) return "`true` or `false`";
  if (schema instanceof z.ZodString) return "text";
  if (schema instanceof z.ZodDate) return "`Date`";
  if (schema instanceof z.ZodNumber) return numberShape(schema);
  if (schema instanceof z.ZodEnum) return schema.options.map(code).join(" or ");
  if (schema instanceof z.ZodLiteral) return [...schema.values].map(code).join(" or ");
  if (schema instanceof z.ZodObject) return "`{ … }`";
  if (schema instanceof z.ZodArray) return listShape(bare(asSchema(schema.element)));
  if (schema instanceof z.ZodRecord) {
    const entry = shapeOf(bare(asSchema(schema.def.valueType)));
    return entry === undefined ? undefined : `by name: ${entry}`;
  }
  return undefined;
}

function listShape(element: z.ZodType): string | undefined {
  if (element instanceof z.ZodEnum) return `list of ${element.options.map(code).join(", ")}`;
  const shape = shapeOf(element);
  return shape === "text" ? "list of texts" : undefined;
}

function numberShape(schema: z.ZodNumber): string {
  const whole = schema.isInt === true || schema.format === "safeint";
  const name = whole ? "whole number" : "number";
  const { minValue, maxValue } = schema;
  // JavaScript's own bounds are none of the option's.
  const least = minValue !== null && minValue > Number.MIN_SAFE_INTEGER ? minValue : undefined;
  const most = maxValue !== null && maxValue < Number.MAX_SAFE_INTEGER ? maxValue : undefined;
  if (least === undefined) return name;
  const isLeast = schema.safeParse(least).success;
  if (most === undefined)
    return isLeast ? `${name}, ${number(least)} or more` : `${name}, more than ${number(least)}`;
  return `${name}, ${isLeast ? "" : "more than "}${number(least)} to ${number(most)}`;
}

export function number(value: number): string {
  return value.toLocaleString("en-US");
}

export function code(value: unknown): string {
  return `\`${JSON.stringify(value)}\``;
}
