// Which check the messages of a method have, from schemas by method or from a validator.
import { ConfigError } from "../../grpc/errors.ts";
import type { MethodInfo } from "../../grpc/method.ts";
import { type MessageSchema, schemaCheck } from "./message-schema.ts";
import { isValidator, type MessageCheck, type Validator } from "./validator.ts";

/** Schemas by method: `/pkg.Service/Method`. */
export type ValidationOptions = Readonly<Record<string, MessageSchema>>;

export class MessageChecks {
  readonly #compile: (method: MethodInfo) => MessageCheck | undefined;
  /** Of a validator each method is compiled once. */
  readonly #checks = new Map<string, MessageCheck | undefined>();
  readonly #validator: Validator | undefined;

  constructor(rules: ValidationOptions | Validator) {
    if (isValidator(rules)) {
      this.#validator = rules;
      this.#compile = (method) => (isOfGrpc(method) ? undefined : rules.compile(method));
      return;
    }
    this.#validator = undefined;
    const schemas = new Map(Object.entries(rules));
    this.#compile = ({ path }) => {
      const schema = schemas.get(path);
      return schema === undefined ? undefined : schemaCheck(schema, path);
    };
  }

  /** Undefined where nothing is checked. @throws {ConfigError} where a validator cannot check the method. */
  for(method: MethodInfo): MessageCheck | undefined {
    const { path } = method;
    if (!this.#checks.has(path)) this.#checks.set(path, this.#compile(method));
    return this.#checks.get(path);
  }

  /**
   * @throws {ConfigError} with what is wrong with all of them, and for a validator that checks none of them: it would protect
   * nothing.
   */
  prepare(methods: readonly MethodInfo[]): void {
    const problems = new Set<string>();
    for (const method of methods) {
      try {
        this.for(method);
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        for (const problem of error.problems) problems.add(problem);
      }
    }
    if (problems.size > 0) throw new ConfigError([...problems]);
    const own = methods.filter((method) => !isOfGrpc(method));
    if (this.#validator === undefined || own.length === 0) return;
    if (own.every((method) => this.for(method) === undefined))
      throw new ConfigError(
        `validation: ${this.#validator.name} has no rule for a request message of any registered method, so it would check nothing`,
      );
  }
}

/** Services that gRPC defines, whose messages have no rules of an application. */
function isOfGrpc({ service }: MethodInfo): boolean {
  return service.startsWith("grpc.health.") || service.startsWith("grpc.reflection.");
}
