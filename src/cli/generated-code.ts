// The service definitions of generated code, held against those of the .proto files: the same methods, of the same kinds.
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { ConfigError } from "../grpc/errors.ts";
import { isServiceDefinition, type MethodInfo, type MethodShapes, methodsOf } from "../grpc/method.ts";

/**
 * What differs, one line each. `modules` are JavaScript files that export definitions as grpc-js takes them, or clients.
 * Methods of services that `methods` does not have are not looked at.
 * @throws {ConfigError} where a file cannot be loaded, or exports no definition.
 */
export function disagreementsOf(
  modules: readonly string[],
  methods: readonly MethodInfo[],
): readonly string[] {
  const where = modules.join(", ");
  const services = new Set(methods.map(({ service }) => service));
  const generated = new Map(
    methodsOf(...modules.flatMap(definitionsIn))
      .filter(({ service }) => services.has(service))
      .map((method) => [method.path, method]),
  );
  const declared = new Map(methods.map((method) => [method.path, method]));
  return [
    ...methods.flatMap(({ path, kind }) => {
      const found = generated.get(path);
      if (found === undefined) return [`${where}: ${path} is missing; generate the code again`];
      if (found.kind === kind) return [];
      return [`${where}: ${path} is ${found.kind}, and ${kind} in the .proto file; generate the code again`];
    }),
    ...[...generated.keys()]
      .filter((path) => !declared.has(path))
      .map((path) => `${where}: ${path} is not in the .proto file; generate the code again`),
  ];
}

function definitionsIn(path: string): readonly MethodShapes[] {
  let exported: unknown;
  try {
    exported = createRequire(import.meta.url)(resolve(path));
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ConfigError(`${path}: cannot be loaded: ${reason}`, { cause });
  }
  const found = membersOf(exported)
    .flatMap((one) => [one, typeof one === "function" ? Reflect.get(one, "service") : undefined])
    .filter(isServiceDefinition);
  if (found.length === 0) throw new ConfigError(`${path}: exports no service definition`);
  return found;
}

function membersOf(value: unknown): readonly unknown[] {
  return typeof value === "object" && value !== null ? Object.values(value) : [];
}
