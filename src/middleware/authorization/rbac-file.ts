// The policy of `rbac` in a JSON file that is watched.
import { z } from "zod";
import { parseOptions } from "../../config/options.ts";
import { repeatedNames } from "../../config/strict-json.ts";
import { ConfigError, PolicyError } from "../../grpc/errors.ts";
import type { MethodInfo } from "../../grpc/method.ts";
import type { CallerSchemes } from "./authorizer.ts";
import { type ConditionOfText, conditionOfText, conditionOfTextSchema } from "./condition-of-text.ts";
import type { Rule } from "./method-rule.ts";
import { PolicyFile } from "./policy-file.ts";
import {
  type RbacAuthorizer,
  type RbacOptions,
  type RbacPolicy,
  type RuleInFile,
  rbac,
  rbacFileSchema,
  refusePrototypeKey,
} from "./rbac.ts";
import { type RoleLookup, roleLookupSchema } from "./role-lookup.ts";

export interface RbacFileOptions {
  /** The file; a relative path starts at the working directory. */
  readonly path: string;
  /**
   * Makes a condition of the text of `when`, such as `cel` of `grpc-palisade/cel`. Without it a `when` in the file is an error.
   * Default: none.
   */
  readonly condition?: ConditionOfText | undefined;
  /** As for `rbac`. Default: the credential's roles are all. */
  readonly roleLookup?: RoleLookup | undefined;
}

/** The shape of `rbacFile`'s options. */
export const rbacFileOptionsSchema: z.ZodType<{
  readonly path: string;
  readonly condition?: ConditionOfText | undefined;
}> = z.strictObject({
  path: z.string().refine((path) => path.trim() !== "", { error: "the path is empty" }),
  condition: conditionOfTextSchema.optional(),
  roleLookup: roleLookupSchema.optional(),
});

/**
 * The same as `rbac`, with `roles` and `rules` from a JSON file: `{ "roles": { … }, "rules": { … } }`. A
 * `when` in the file is text, of which the option `condition` makes a condition. With
 * `"$schema": "node_modules/grpc-palisade/dist/rbac.schema.json"` editors complete the file and mark mistakes.
 *
 * The server takes a changed file over within moments: written in place, renamed over or swapped by a symbolic link. One that
 * cannot be used, because it is no JSON, does not fit the methods or has a condition with a mistake, is said once in the log, and
 * the last good policy stays in force. `palisade policy check` finds the same mistakes before the file is deployed.
 *
 * @throws {ConfigError} for options that are wrong, at once.
 * @throws {PolicyError} from `compile`, so when the server starts, where the file cannot be read, is not of this form, has a name
 * twice in one object, or does not fit the methods. Every problem begins with the file's path.
 *
 * @example
 * authorization: rbacFile({ path: "/etc/orders/policy.json" })
 *
 * @example
 * import { cel } from "grpc-palisade/cel";
 *
 * // "rules": { "/orders.v1.Orders/CancelOrder": { "when": "request.owner == principal.subject" } }
 * authorization: rbacFile({ path: "/etc/orders/policy.json", condition: cel })
 */
export function rbacFile(options: RbacFileOptions): RbacAuthorizer {
  const { path, condition } = parseOptions(rbacFileOptionsSchema, options, "rbacFile");
  const { roleLookup } = options;
  const file = new PolicyFile(path);
  return Object.freeze({
    name: "rbac",
    compile: (methods: readonly MethodInfo[], callers?: CallerSchemes): RbacPolicy => {
      const text = file.read();
      try {
        return rbac({ ...policyIn(text, condition), roleLookup }).compile(methods, callers);
      } catch (error) {
        if (error instanceof PolicyError || error instanceof ConfigError)
          throw new PolicyError(error.problems.map((problem) => `${path}: ${problem}`));
        throw error;
      }
    },
    onChange: (listener: () => void) => file.onChange(listener),
  });
}

/** @throws {ConfigError} where it is of another form, or has a condition with a mistake. */
function policyIn(
  text: string,
  condition: ConditionOfText | undefined,
): Pick<RbacOptions, "roles" | "rules"> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw new ConfigError(`not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  const repeated = repeatedNames(text);
  if (repeated.length > 0)
    throw new ConfigError(
      repeated.map((name) => `${name}: stands twice, and only one of the two would count; keep one`),
    );
  const { roles, rules } = parseOptions(rbacFileSchema, parsed, "");
  if (typeof parsed === "object" && parsed !== null)
    for (const name of ["roles", "rules"]) refusePrototypeKey(Reflect.get(parsed, name), name);
  return { roles, rules: withConditions(rules, condition) };
}

function withConditions(
  rules: Readonly<Record<string, RuleInFile>>,
  condition: ConditionOfText | undefined,
): Readonly<Record<string, Rule>> {
  const problems: string[] = [];
  const made = new Map<string, Rule>();
  for (const [path, rule] of Object.entries(rules)) {
    try {
      made.set(path, withCondition(path, rule, condition));
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      problems.push(...error.problems);
    }
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return Object.fromEntries(made);
}

function withCondition(path: string, rule: RuleInFile, condition: ConditionOfText | undefined): Rule {
  if (typeof rule === "string") return rule;
  const { when, ...demands } = rule;
  if (when === undefined) return demands;
  const where = `rules.${path}.when`;
  const option = "rbacFile({ path, condition: cel })";
  return { ...demands, when: conditionOfText(when, { where, condition, option }) };
}
