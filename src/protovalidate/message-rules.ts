/**
 * The rules of the types that a request is made of, read once when the server starts: is there any, is each of them one that the
 * library can use, and what do they cost.
 */
import type { DescField, DescMessage, Registry } from "@bufbuild/protobuf";
import type { DescriptorProto } from "@bufbuild/protobuf/wkt";
import type { FieldRules, MessageRules, Rule } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";
import {
  type ExpressionCost,
  readExpression,
  typeOfElement,
  typeOfField,
  typeOfMessage,
  typeOfScalar,
  type ValueType,
} from "./expression.ts";
import { packages } from "./packages.ts";
import { patternProblem, stepsPerCharacterOf } from "./pattern.ts";
import { costOf, type FieldWork, type MessageWork, type ValueWork } from "./work.ts";

type TypeRules = NonNullable<FieldRules["type"]["value"]>;

/** Rules that were made of oneofs and are none of the .proto: how many of a message. */
export type MadeRules = WeakMap<DescriptorProto, number>;

/** Of one value: what it is, where it stands in the .proto, and its own message. */
interface Ruled {
  readonly where: string;
  readonly type: ValueType;
  readonly message: DescMessage | undefined;
}

const free: ValueWork = { steps: 0, stepsPerCharacter: 0, expressions: [], message: undefined };

/** What the library evaluates natively takes less than two of these, with a violation. */
const stepsOfRules = 2;
/** Rules that the library evaluates in CEL. */
const stepsOfStandardCel = 20;
/** Addresses and names, which are parsed, some in several ways. */
const stepsPerParsedCharacter = 1;
/** Written and read again, rule or not. */
const stepsToReadElement = 1 / 5;
/** Made into a key by which it is compared. */
const stepsPerComparedCharacter = 1 / 4;
/** Counted or compared. */
const stepsPerReadCharacter = 1 / 64;

const nothing: ExpressionCost = { nodes: 0, loops: 0, matches: 0, perCharacter: 0, pairs: 0, splits: false };
/** A list of which each element is compared with all, by a set or one by one. */
const uniqueBySet: ExpressionCost = {
  ...nothing,
  nodes: 10,
  loops: 1,
  matches: 1,
  perCharacter: stepsPerComparedCharacter,
};
const uniqueByPairs: ExpressionCost = { ...nothing, nodes: 1, loops: 2 };

/** The types that are read so far; those that several requests hold are read once. */
export class MessageRulesReader {
  readonly #registry: Registry;
  readonly #made: MadeRules;
  readonly #works = new Map<DescMessage, MessageWork>();
  readonly #ruled = new Set<DescMessage>();
  readonly #problems = new Map<DescMessage, string[]>();
  readonly #least = new Map<DescMessage, { readonly steps: number | undefined }>();
  readonly #holds = new Map<DescMessage, Set<DescMessage>>();

  constructor(registry: Registry, made: MadeRules) {
    this.#registry = registry;
    this.#made = made;
  }

  workOf(message: DescMessage): MessageWork {
    const known = this.#works.get(message);
    if (known !== undefined) return known;
    // A type may hold itself.
    const work: MessageWork = { steps: 1, fields: [], expressions: [] };
    this.#works.set(message, work);
    const { protobuf, rules: schema } = packages();
    const rules = protobuf.getOption(message, schema.message);
    work.expressions = this.#messageExpressions(message, rules);
    work.fields = message.fields.map((field) => this.#field(message, field, work));
    return work;
  }

  /** It, and every type that it holds. */
  typesIn(message: DescMessage): ReadonlySet<DescMessage> {
    this.workOf(message);
    const found = new Set<DescMessage>([message]);
    for (const type of found) for (const held of this.#holds.get(type) ?? []) found.add(held);
    return found;
  }

  /**
   * The least that so many elements of lists and maps of numbers, texts or bytes take, wherever they are in the message: to refuse
   * a large one before it is written and read.
   */
  leastStepsOf(message: DescMessage, elements: number): number {
    const perElement = this.#leastPerElement(message);
    if (perElement === undefined) return 0;
    const looping = this.workOf(message).expressions.filter(({ loops }) => loops > 0);
    const size = { values: elements, characters: 0 };
    return Math.max(
      elements * Math.max(perElement, stepsToReadElement),
      ...looping.map((expression) => costOf(expression, size)),
    );
  }

  /** 0 where some have no rule. Undefined where decoders make such elements of other values. */
  #leastPerElement(message: DescMessage): number | undefined {
    const known = this.#least.get(message);
    if (known !== undefined) return known.steps;
    const types = [...this.typesIn(message)];
    const isSure = !types.some(({ fields }) => fields.some(mayBeLong));
    const steps = isSure ? this.#stepsPerElement(types) : undefined;
    this.#least.set(message, { steps });
    return steps;
  }

  #stepsPerElement(types: readonly DescMessage[]): number {
    const steps = types.flatMap((type) => {
      const { fields } = this.workOf(type);
      return type.fields.flatMap((field, index) => {
        const work = fields[index];
        if (work === undefined) return [];
        if (field.message !== undefined || (field.fieldKind !== "list" && field.fieldKind !== "map"))
          return [];
        return [work.value.steps + work.key.steps + stepsOfUniqueness(work)];
      });
    });
    return steps.length === 0 ? 0 : Math.min(...steps);
  }

  hasRules(message: DescMessage): boolean {
    return this.#ruled.has(message);
  }

  problemsOf(message: DescMessage): readonly string[] {
    return this.#problems.get(message) ?? [];
  }

  #tell(message: DescMessage, where: string, problem: string): void {
    const told = this.#problems.get(message) ?? [];
    told.push(`${message.file.proto.name}: ${where}: ${problem}`);
    this.#problems.set(message, told);
  }

  #messageExpressions(message: DescMessage, rules: MessageRules): readonly ExpressionCost[] {
    const where = `message ${message.typeName}`;
    this.#checkKnown(message, where, [rules, ...rules.oneof]);
    if (rules.oneof.length > (this.#made.get(message.proto) ?? 0)) this.#ruled.add(message);
    return this.#expressions(message, [...rules.cel, ...rules.celExpression], {
      where,
      type: typeOfMessage(message),
      message,
    });
  }

  #field(message: DescMessage, field: DescField, work: MessageWork): FieldWork {
    const { protobuf, rules: schema } = packages();
    const rules = protobuf.getOption(field, schema.field);
    const where = `field ${message.typeName}.${field.name}`;
    if (isRule(rules)) this.#ruled.add(message);
    if (rules.required) work.steps += stepsOfRules;
    const name = field.localName;
    if (field.fieldKind === "list") {
      const whole = { where, type: typeOfField(field), message: undefined };
      const items = rules.type.case === "repeated" ? rules.type.value.items : undefined;
      return {
        name,
        kind: "list",
        whole: this.#value(message, rules, whole),
        value: this.#value(message, items, elementOf(field, `${where} (items)`)),
        key: free,
      };
    }
    if (field.fieldKind === "map") {
      const whole = { where, type: typeOfField(field), message: undefined };
      const { keys, values } = rules.type.case === "map" ? rules.type.value : noRules;
      return {
        name,
        kind: "map",
        whole: this.#value(message, rules, whole),
        value: this.#value(message, values, elementOf(field, `${where} (values)`)),
        key: this.#value(message, keys, {
          where: `${where} (keys)`,
          type: typeOfScalar(field.mapKey),
          message: undefined,
        }),
      };
    }
    const one = { where, type: typeOfField(field), message: field.message };
    return { name, kind: "one", whole: free, value: this.#value(message, rules, one), key: free };
  }

  #value(holder: DescMessage, rules: FieldRules | undefined, ruled: Ruled): ValueWork {
    const message = this.#held(holder, ruled.message);
    if (rules === undefined) return message === undefined ? free : { ...free, message };
    this.#checkKnown(holder, ruled.where, [rules]);
    if (isRule(rules)) this.#ruled.add(holder);
    const expressions = this.#expressions(holder, [...rules.cel, ...rules.celExpression], ruled);
    const { value } = rules.type;
    if (value === undefined) return { ...free, expressions, message };
    const problem = "pattern" in value && value.pattern !== "" ? patternProblem(value.pattern) : undefined;
    if (problem !== undefined) this.#tell(holder, ruled.where, problem);
    return {
      steps:
        stepsOfRules + stepsOfLists(value) + (isOfCel(value) ? stepsOfStandardCel * setFields(value) : 0),
      stepsPerCharacter: stepsPerCharacter(value),
      expressions: [
        ...expressions,
        ...this.#uniqueness(holder, value, ruled),
        ...pathExpressions(value),
        ...this.#predefined(holder, value, ruled),
      ],
      message,
    };
  }

  /** Messages of google.protobuf have no rules of their own. */
  #held(holder: DescMessage, message: DescMessage | undefined): MessageWork | undefined {
    if (message === undefined || message.typeName.startsWith("google.protobuf.")) return undefined;
    const held = this.#holds.get(holder) ?? new Set();
    this.#holds.set(holder, held.add(message));
    return this.workOf(message);
  }

  #uniqueness(holder: DescMessage, value: TypeRules, { where, type }: Ruled): readonly ExpressionCost[] {
    if (value.$typeName !== "buf.validate.RepeatedRules" || !value.unique) return [];
    if (type.kind === "list" && type.of.kind === "message")
      this.#tell(
        holder,
        where,
        "repeated.unique cannot compare messages; write a rule in CEL that compares one of their fields",
      );
    return [(value.$unknown ?? []).length > 0 ? uniqueByPairs : uniqueBySet];
  }

  /** Rules that extend the standard ones: each is an expression, with the value that the field gives it. */
  #predefined(holder: DescMessage, value: TypeRules, ruled: Ruled): readonly ExpressionCost[] {
    const { protobuf, rules: schema } = packages();
    const extended = schema.FieldRulesSchema.fields.find(
      ({ message }) => message?.typeName === value.$typeName,
    )?.message;
    if (extended === undefined) return [];
    return (value.$unknown ?? []).flatMap(({ no }) => {
      const extension = this.#registry.getExtensionFor(extended, no);
      // The library says what is wrong where there is none.
      if (extension === undefined) return [];
      const where = `${ruled.where} (predefined rule ${extension.typeName})`;
      return this.#expressions(holder, protobuf.getOption(extension, schema.predefined).cel, {
        ...ruled,
        where,
      });
    });
  }

  #expressions(
    holder: DescMessage,
    rules: readonly (Rule | string)[],
    { where, type }: Ruled,
  ): readonly ExpressionCost[] {
    if (rules.length > 0) this.#ruled.add(holder);
    return rules.flatMap((rule) => {
      const text = typeof rule === "string" ? rule : rule.expression;
      const id = typeof rule === "string" ? JSON.stringify(rule) : rule.id;
      if (typeof rule !== "string") this.#checkKnown(holder, where, [rule]);
      try {
        const { cost, problems } = readExpression(text, type, this.#registry);
        for (const problem of problems) this.#tell(holder, where, `the rule ${id} in CEL: ${problem}`);
        return [cost];
      } catch (error) {
        const why = error instanceof Error ? error.message.replace(/^<input>:/, "") : String(error);
        this.#tell(holder, where, `the rule ${id} is no expression of CEL: ${why}`);
        return [];
      }
    });
  }

  /** The library would not see a rule that it does not know, and the message would pass. */
  #checkKnown(
    holder: DescMessage,
    where: string,
    messages: readonly {
      readonly $typeName: string;
      readonly $unknown?: readonly { readonly no: number }[] | undefined;
    }[],
  ): void {
    for (const { $typeName, $unknown = [] } of messages)
      for (const { no } of $unknown)
        this.#tell(
          holder,
          where,
          `this release of @bufbuild/protovalidate does not know the field ${no} of ${$typeName}; ` +
            "install the release that belongs to your validate.proto",
        );
  }
}

const withLists: ReadonlySet<string> = new Set(
  ["FieldMask", "ListValue", "Struct", "Value"].map((name) => `google.protobuf.${name}`),
);

/** A list that no field of the message tells of: bytes, which some decoders make lists of numbers, and what is in other types. */
function mayBeLong({ scalar, message }: DescField): boolean {
  if (message !== undefined) return withLists.has(message.typeName);
  return scalar === packages().protobuf.ScalarType.BYTES;
}

function stepsOfUniqueness({ whole }: FieldWork): number {
  return whole.expressions.includes(uniqueBySet) ? 1 : 0;
}

const noRules: { readonly keys?: FieldRules; readonly values?: FieldRules } = {};

function elementOf(field: DescField & { readonly fieldKind: "list" | "map" }, where: string): Ruled {
  return { where, type: typeOfElement(field), message: field.message };
}

function isRule({ required, type, cel, celExpression }: FieldRules): boolean {
  return required || type.case !== undefined || cel.length > 0 || celExpression.length > 0;
}

const ofCel: ReadonlySet<string> = new Set([
  "buf.validate.DurationRules",
  "buf.validate.FieldMaskRules",
  "buf.validate.TimestampRules",
]);

/** Where rules are extended, all of a field are evaluated in CEL. */
function isOfCel({ $typeName, $unknown = [] }: TypeRules): boolean {
  return ofCel.has($typeName) || $unknown.length > 0;
}

/** Each value of `in` and `not_in` is compared, one after the other. */
function stepsOfLists(value: TypeRules): number {
  const listed = Object.entries(value).reduce(
    (sum, [name, each]) =>
      sum + ((name === "in" || name === "notIn") && Array.isArray(each) ? each.length : 0),
    0,
  );
  return isOfCel(value) ? listed : listed / 50;
}

function setFields(value: TypeRules): number {
  return Object.entries(value).filter(([name, each]) => !name.startsWith("$") && isSet(each)).length;
}

function isSet(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0;
  if (typeof value === "object" && value !== null && "case" in value) return value.case !== undefined;
  return value !== undefined;
}

/** Each path of a field mask is compared with each one of the rule. */
function pathExpressions(value: TypeRules): readonly ExpressionCost[] {
  if (value.$typeName !== "buf.validate.FieldMaskRules") return [];
  return [{ ...nothing, nodes: 40 * (1 + value.in.length + value.notIn.length), loops: 1 }];
}

function stepsPerCharacter(value: TypeRules): number {
  switch (value.$typeName) {
    case "buf.validate.StringRules":
      return (
        stepsPerReadCharacter +
        (value.pattern === "" ? 0 : stepsPerCharacterOf(value.pattern)) +
        (value.wellKnown.case === undefined ? 0 : stepsPerParsedCharacter)
      );
    case "buf.validate.BytesRules":
      return stepsPerReadCharacter + (value.pattern === "" ? 0 : stepsPerCharacterOf(value.pattern));
    default:
      return 0;
  }
}
