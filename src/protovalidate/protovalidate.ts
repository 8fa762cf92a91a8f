// protovalidate: the rules that a service's .proto files give its messages (buf.validate), checked for every request message.
import type { DescMessage, FileRegistry, Message } from "@bufbuild/protobuf";
import type { Validator as LibraryValidator } from "@bufbuild/protovalidate";
import { z } from "zod";
import { parseOptions } from "../config/options.ts";
import { ConfigError } from "../grpc/errors.ts";
import type { MethodInfo, RequestDefinition } from "../grpc/method.ts";
import type { FieldViolation, MessageCheck, Validator } from "../middleware/validation/validator.ts";
import { describedMethod, describedTypes, type SeparatedOneof } from "../protobuf/descriptors.ts";
import { maxMessages, sizeOfRequest } from "../protobuf/request-size.ts";
import { CircularTypes, type FoundMessage } from "./circular-types.ts";
import { type MadeRules, MessageRulesReader } from "./message-rules.ts";
import { packages } from "./packages.ts";
import { sampleOf } from "./sample.ts";
import { fieldViolation } from "./violation.ts";
import { stepsFor, TooMuchWork } from "./work.ts";

export interface ProtovalidateOptions {
  /**
   * The types of the services with their rules: a serialized `google.protobuf.FileDescriptorSet` with its imports, or the path of
   * a file with one (`protoc --include_imports --descriptor_set_out=…`, `buf build -o ….binpb`). Make it together with the code
   * of the services.
   */
  readonly descriptorSet: string | Uint8Array;
  /**
   * How much work the rules may be for one message, in steps of about a microsecond: a value that has a rule is 2, a
   * character that a regular expression reads is 1, and a loop in CEL is counted for each element. A message that needs more is
   * refused before it is checked. Default: 100,000.
   */
  readonly maxSteps?: number | undefined;
}

interface ProtovalidateSettings {
  readonly descriptorSet: string | Uint8Array;
  readonly maxSteps: number;
}

export const protovalidateSchema: z.ZodType<ProtovalidateSettings> = z.strictObject({
  descriptorSet: z.union([z.string().min(1), z.instanceof(Uint8Array)]),
  maxSteps: z.int().min(1_000).max(100_000_000).default(100_000),
});

/**
 * A validator for the option `validation`: checks each request message by the rules of `buf/validate/validate.proto` in the
 * .proto files, with the library `@bufbuild/protovalidate`, whichever generator made the code of the services. A message that
 * breaks a rule is INVALID_ARGUMENT `invalid request` with `google.rpc.BadRequest`; a rule that fails to be evaluated refuses the
 * call as INTERNAL.
 *
 * When the server starts, each method must be described, and each rule must be one that the library can use.
 *
 * @throws {ConfigError} for options of the wrong shape, a descriptor set that cannot be read, and where
 * `@bufbuild/protovalidate`, `@bufbuild/protobuf` or `@bufbuild/cel` is not installed.
 *
 * @example
 * createSecureServer({
 *   // …
 *   validation: protovalidate({ descriptorSet: "build/orders.binpb" }),
 * });
 */
export function protovalidate(options: ProtovalidateOptions): Validator {
  const { descriptorSet, maxSteps } = parseOptions(protovalidateSchema, options, "protovalidate");
  const made: MadeRules = new WeakMap();
  const registry = describedTypes(
    descriptorSet,
    { of: "protovalidate", onOneof: (oneof) => keepOneof(oneof, made) },
    packages(),
  );
  const rules = new RulesOfMethods(registry, made, maxSteps);
  return Object.freeze<Validator>({
    name: "protovalidate",
    compile: (method) => rules.checkOf(method),
  });
}

/**
 * The members of a oneof are read as fields of their own, because some decoders keep several of them. That there may be only one,
 * and that there must be one, becomes a rule of the message.
 */
function keepOneof({ message, oneof, members }: SeparatedOneof, made: MadeRules): void {
  const { protobuf, wkt, rules: schema } = packages();
  const required = oneof.options !== undefined && protobuf.getExtension(oneof.options, schema.oneof).required;
  message.options ??= protobuf.create(wkt.MessageOptionsSchema);
  const rules = protobuf.getExtension(message.options, schema.message);
  rules.oneof.push(protobuf.create(schema.MessageOneofRuleSchema, { fields: [...members], required }));
  protobuf.setExtension(message.options, schema.message, rules);
  if (!required) made.set(message, (made.get(message) ?? 0) + 1);
}

const remedy = "correct it, and make the descriptor set anew";

class RulesOfMethods {
  readonly #registry: FileRegistry;
  readonly #reader: MessageRulesReader;
  readonly #validator: LibraryValidator;
  /** One for each type of request, and for each type that holds another that holds it. */
  readonly #validators = new Map<DescMessage, Validators>();
  readonly #maxSteps: number;
  readonly #samples = new Map<DescMessage, string | undefined>();

  constructor(registry: FileRegistry, made: MadeRules, maxSteps: number) {
    this.#registry = registry;
    this.#reader = new MessageRulesReader(registry, made);
    this.#validator = packages().protovalidate.createValidator({ registry });
    this.#maxSteps = maxSteps;
  }

  checkOf(method: MethodInfo): MessageCheck | undefined {
    const { path, request } = method;
    if (request === undefined)
      throw new ConfigError(
        `protovalidate: nothing tells how ${path} writes its request; register it with a service definition, or name its service: validation(protovalidate({ … }), { services: [OrdersService] })`,
      );
    const found = describedMethod(this.#registry, method);
    if (typeof found === "string")
      throw new ConfigError(
        `protovalidate.${found}; ${path} would not be checked: make the descriptor set of all .proto files that the services are made of`,
      );
    const types = [...this.#reader.typesIn(found.input)];
    if (!types.some((type) => this.#reader.hasRules(type))) return undefined;
    const problems = this.#problemsOf(types);
    if (problems.length > 0)
      throw new ConfigError(problems.map((problem) => `protovalidate: ${problem}; ${remedy}`));
    return this.#check(found.input, request);
  }

  #problemsOf(types: readonly DescMessage[]): readonly string[] {
    const read = types.flatMap((type) => this.#reader.problemsOf(type));
    if (read.length > 0) return read;
    const told = new Map<string, string>();
    // A problem shows in the types that hold the one that has it too: those that are held come first.
    for (const type of [...types].reverse()) {
      const problem = this.#problemOfSample(type);
      if (problem !== undefined && !told.has(problem))
        told.set(problem, `${type.file.proto.name}: message ${type.typeName}: ${problem}`);
    }
    return [...told.values()];
  }

  /** The library reads its rules when the first message comes, and finds types in CEL that do not fit when they are evaluated. */
  #problemOfSample(type: DescMessage): string | undefined {
    if (!this.#samples.has(type)) this.#samples.set(type, this.#judgeSample(type));
    return this.#samples.get(type);
  }

  #judgeSample(type: DescMessage): string | undefined {
    const { CompilationError } = packages().protovalidate;
    const result = this.#validator.validate(type, sampleOf(type).message);
    if (result.kind !== "error") return undefined;
    const { error } = result;
    if (error instanceof CompilationError) return error.message;
    return isOfTypes(error.message) && !this.#isDynamic(type)
      ? `a rule in CEL cannot be evaluated: ${error.message}`
      : undefined;
  }

  /** Of some values the type is known only with the message. */
  #isDynamic(type: DescMessage): boolean {
    return [...this.#reader.typesIn(type)].some(({ fields }) =>
      fields.some(({ message }) => message !== undefined && dynamic.has(message.typeName)),
    );
  }

  /** They begin with this type, whose rules are complete then. */
  #validatorsOf(type: DescMessage): Validators {
    const known = this.#validators.get(type);
    if (known !== undefined) return known;
    const { createValidator } = packages().protovalidate;
    const registry = this.#registry;
    const made = { first: createValidator({ registry, failFast: true }), all: createValidator({ registry }) };
    // They read the rules when the first message comes; that is now.
    const { message } = sampleOf(type);
    for (const each of [made.first, made.all]) each.validate(type, message);
    this.#validators.set(type, made);
    return made;
  }

  #check(type: DescMessage, request: RequestDefinition): MessageCheck {
    const { protobuf } = packages();
    const work = this.#reader.workOf(type);
    const maxSteps = this.#maxSteps;
    const reader = this.#reader;
    const circular = new CircularTypes(reader.typesIn(type), (held) => reader.typesIn(held));
    for (const each of [type, ...circular]) this.#validatorsOf(each);
    return (message): readonly FieldViolation[] => {
      // Before it is written: that takes longer than to count it.
      const { messages, elements } = sizeOfRequest(message);
      if (messages > maxMessages) return tooManyMessages;
      if (elements > 0 && reader.leastStepsOf(type, elements) > maxSteps) return tooMuchWork;
      // What the handler gets, not what was sent: decoders differ in what they make of the same bytes.
      const decoded = protobuf.fromBinary(type, request.serialize(message));
      const whole = { type, message: decoded, path: "" };
      const told = new Map<string, FieldViolation>();
      let steps = 0;
      try {
        steps = stepsFor(decoded, work, maxSteps);
        for (const found of [whole, ...circular.within(type, decoded)]) {
          if (found !== whole) steps += stepsFor(found.message, reader.workOf(found.type), maxSteps - steps);
          for (const violation of this.#violationsOf(found, steps))
            told.set(`${violation.field} ${violation.description}`, violation);
          if (told.size >= mostTold) break;
        }
      } catch (error) {
        if (error instanceof TooMuchWork) return tooMuchWork;
        throw error;
      }
      return [...told.values()];
    };
  }

  /** All of them where that takes little: a violation may write a whole list of values into its text. */
  #violationsOf({ type, message, path }: FoundMessage, steps: number): readonly FieldViolation[] {
    const { first, all } = this.#validatorsOf(type);
    const given = message as Message;
    const quick = first.validate(type, given);
    if (quick.kind === "valid") return fits;
    const result = quick.kind === "invalid" && steps <= stepsToTellAll ? all.validate(type, given) : quick;
    if (result.kind === "invalid")
      return result.violations.slice(0, mostTold).map((each) => fieldViolation(each, path));
    throw new Error(
      `protovalidate: a rule of ${type.typeName} cannot be evaluated for this message: ${reasonOf(result.error?.message ?? "")}`,
    );
  }
}

interface Validators {
  /** Stops at the first violation. */
  readonly first: LibraryValidator;
  readonly all: LibraryValidator;
}

/** Of larger messages the first violation is told. */
const stepsToTellAll = 1_000;

const dynamic: ReadonlySet<string> = new Set([
  "google.protobuf.Any",
  "google.protobuf.ListValue",
  "google.protobuf.Struct",
  "google.protobuf.Value",
]);

const fits: readonly FieldViolation[] = [];
/** The middleware tells no more. */
const mostTold = 20;

const tooManyMessages: readonly FieldViolation[] = [
  { field: "", description: `holds more than ${maxMessages} messages, lists and maps` },
];
const tooMuchWork: readonly FieldViolation[] = [
  { field: "", description: "holds more than can be checked; send fewer or shorter values" },
];

/** A rule that no message can satisfy, because its types do not fit one another. */
function isOfTypes(message: string): boolean {
  return /^(?:found no matching overload|unbound function|unresolved attribute|expression .* outputs )/s.test(
    message,
  );
}

/** The library shows values of the message in some of its texts, and what is thrown here is logged: only these are kept. */
const withoutValues =
  /^(?:found no matching overload for '\w+' applied to '[\w.(), ]*'|unbound function|unresolved attribute|field not found|index|u?int (?:divide by zero|modulus by zero|overflow)|(?:duration|timestamp|u?int32) out of range)/;

function reasonOf(message: string): string {
  return withoutValues.exec(message)?.[0] ?? "its values are not what the rule expects";
}
