// Rules that stand in the .proto, as options of methods and services (protos/palisade/v1/access.proto).
import type { Buffer } from "node:buffer";
import type { ServiceDefinition } from "@grpc/grpc-js";
import { z } from "zod";
import { descriptorSetBytes, FileProblem } from "../../config/bounded-file.ts";
import { parseOptions } from "../../config/options.ts";
import { servicesIn } from "../../grpc/descriptor-set.ts";
import { ConfigError } from "../../grpc/errors.ts";
import { WireError, wireFields } from "../../grpc/wire-format.ts";
import { type ConditionOfText, conditionOfText, conditionOfTextSchema } from "./condition-of-text.ts";
import type { Requirement, Rule } from "./method-rule.ts";

/** A FileDescriptorSet, as `protoc --include_imports --descriptor_set_out=FILE` or `buf build -o FILE` writes it. */
export interface DescriptorSet {
  /** A path, which starts at the working directory where it is relative; or what is in the file. */
  readonly descriptorSet: string | Uint8Array;
}

export interface RulesFromProtoOptions {
  /**
   * Makes a condition of the text of `when`, such as `cel` of `grpc-palisade/cel`. Default: none, and a `when` in the .proto is an
   * error.
   */
  readonly condition?: ConditionOfText | undefined;
}

/** Rules by what they are about, for the option `protoRules` of `rbac`. */
export type ProtoRules = Readonly<Record<string, Rule>>;

/** The field number of both options in access.proto. */
const optionNumber = 50_817;
const methodOption = "(palisade.v1.access)";
const serviceOption = "(palisade.v1.service_access)";

/** As text or as list: protobufjs makes a list of two or more. */
const names = z.union([z.string().transform((name) => [name]), z.array(z.string())]);

const accessSchema = z.strictObject({
  public: z.boolean().default(false),
  authenticated: z.boolean().default(false),
  roles: names.optional(),
  permissions: names.optional(),
  schemes: names.optional(),
  when: z.string().optional(),
});

type Access = z.output<typeof accessSchema>;

const optionsSchema = z.strictObject({ condition: conditionOfTextSchema.optional() });

/**
 * Reads the rules that stand in the .proto. From a service that `@grpc/proto-loader` loaded: those of its methods. From a
 * descriptor set: those of the methods and those of the services, which proto-loader does not keep; use one where the .proto has
 * `service_access`.
 *
 * Write the option's name in full, `(palisade.v1.access)`, and texts within `when` in single quotes: the parser of proto-loader
 * drops quotes that are escaped. A method without one has no rule, and without another rule that covers
 * it the server does not start.
 *
 * @throws {ConfigError} for an option that says nothing, says two things, or has a field that this version does not know; where
 * `when` is used without `condition`, or `condition` refuses its text; for a descriptor set that cannot be read.
 *
 * @example
 * rbac({ roles, protoRules: rulesFromProto(OrdersService), rules: {} })
 */
export function rulesFromProto(
  definition: ServiceDefinition | DescriptorSet | readonly (ServiceDefinition | DescriptorSet)[],
  options: RulesFromProtoOptions = {},
): ProtoRules {
  const { condition } = parseOptions(optionsSchema, options, "rulesFromProto");
  const sources = Array.isArray(definition) ? definition : [definition];
  const rules = new Map<string, Rule>();
  const problems: string[] = [];
  for (const { path, access } of sources.flatMap((source) => accessesOf(source))) {
    try {
      rules.set(path, ruleOf(path, access, condition));
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      problems.push(...error.problems);
    }
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return Object.freeze(Object.fromEntries(rules));
}

/** One option, as it was found. */
interface FoundAccess {
  /** The rule's. */
  readonly path: string;
  readonly access: unknown;
}

/** A method of a service definition; `options` is what proto-loader adds. */
interface LoadedMethod {
  readonly path: string;
  readonly options?: unknown;
}

function accessesOf(source: ServiceDefinition | DescriptorSet): readonly FoundAccess[] {
  if (isDescriptorSet(source)) return accessesInSet(source.descriptorSet);
  if (typeof source !== "object" || source === null)
    throw new ConfigError(
      "rulesFromProto: expected a service definition of @grpc/proto-loader, or { descriptorSet }",
    );
  const methods: readonly LoadedMethod[] = Object.values(source);
  return methods.flatMap((method) => {
    const { options } = method;
    if (typeof options !== "object" || options === null)
      throw new ConfigError(
        `rulesFromProto: ${method.path}: this definition does not have the options of its methods, which only those of ` +
          "@grpc/proto-loader have; use { descriptorSet }",
      );
    const relative = Object.keys(options).find((name) => /^\((?:v1\.)?access\)/.test(name));
    if (relative !== undefined)
      throw new ConfigError(
        `rulesFromProto: ${method.path}: the option ${relative} may be ${methodOption}; write that in full`,
      );
    const given = [methodOption, "(.palisade.v1.access)"].flatMap((name) =>
      Object.hasOwn(options, name) ? [Reflect.get(options, name)] : [],
    );
    return given.map((access: unknown) => ({ path: method.path, access }));
  });
}

function isDescriptorSet(source: ServiceDefinition | DescriptorSet): source is DescriptorSet {
  if (typeof source !== "object" || source === null) return false;
  const given: unknown = Reflect.get(source, "descriptorSet");
  return typeof given === "string" || given instanceof Uint8Array;
}

function accessesInSet(descriptorSet: string | Uint8Array): readonly FoundAccess[] {
  const where = `rulesFromProto: descriptorSet${typeof descriptorSet === "string" ? ` ${descriptorSet}` : ""}`;
  let bytes: Uint8Array;
  try {
    bytes = descriptorSetBytes(descriptorSet);
  } catch (cause) {
    if (!(cause instanceof FileProblem)) throw cause;
    throw new ConfigError(`${where} ${cause.message}`, { cause });
  }
  try {
    const services = servicesIn(bytes, optionNumber);
    if (services.length === 0)
      throw new ConfigError(
        `${where}: describes no service; write it with protoc --include_imports --descriptor_set_out`,
      );
    return services.flatMap(({ name, option, methods }) => [
      ...(option === undefined ? [] : [{ path: `/${name}/*`, access: accessIn(option) }]),
      ...methods.flatMap((method) =>
        method.option === undefined
          ? []
          : [{ path: `/${name}/${method.name}`, access: accessIn(method.option) }],
      ),
    ]);
  } catch (error) {
    if (error instanceof WireError)
      throw new ConfigError(`${where}: is no FileDescriptorSet: it ${error.message}`);
    throw error;
  }
}

/** Field numbers of the message Access. */
const flags: Readonly<Record<number, "public" | "authenticated">> = { 1: "public", 2: "authenticated" };
const lists: Readonly<Record<number, "roles" | "permissions" | "schemes">> = {
  3: "roles",
  4: "permissions",
  5: "schemes",
};
const whenNumber = 6;

/** What protobufjs makes of the same option. */
function accessIn(option: Buffer): Readonly<Record<string, unknown>> {
  const access: Record<string, unknown> = {};
  for (const field of wireFields(option)) {
    const flag = flags[field.number];
    const list = lists[field.number];
    if (flag !== undefined && "value" in field) access[flag] = field.value !== 0n;
    else if (list !== undefined && "bytes" in field) {
      const before: unknown = access[list];
      access[list] = [...(Array.isArray(before) ? before : []), field.bytes.toString("utf8")];
    } else if (field.number === whenNumber && "bytes" in field) access["when"] = field.bytes.toString("utf8");
    else access[`field ${field.number}`] = true;
  }
  return access;
}

function ruleOf(path: string, given: unknown, condition: RulesFromProtoOptions["condition"]): Rule {
  const where = `rulesFromProto: ${path}: ${path.endsWith("/*") ? serviceOption : methodOption}`;
  const access = parseOptions(accessSchema, given, where);
  const demands = demandsOf(access, where, condition);
  const said = [access.public, access.authenticated, Object.keys(demands).length > 0].filter(Boolean).length;
  if (said !== 1)
    throw new ConfigError(
      `${where}: ${said === 0 ? "demands nothing" : "says two things"}; write public: true, authenticated: true, or at least one of ` +
        "roles, permissions, schemes, when",
    );
  if (access.public) return "public";
  return access.authenticated ? "authenticated" : demands;
}

function demandsOf(
  { roles, permissions, schemes, when }: Access,
  where: string,
  condition: RulesFromProtoOptions["condition"],
): Requirement {
  return {
    ...(roles === undefined ? {} : { roles }),
    ...(permissions === undefined ? {} : { permissions }),
    ...(schemes === undefined ? {} : { schemes }),
    ...(when === undefined || when === ""
      ? {}
      : {
          when: conditionOfText(when, {
            where: `${where}.when`,
            condition,
            option: "rulesFromProto(definition, { condition: cel })",
          }),
        }),
  };
}
