// The methods of services that stand in .proto files or in a descriptor set.
import { readFileSync } from "node:fs";
import {
  type AnyDefinition,
  loadFileDescriptorSetFromBuffer,
  loadSync,
  type PackageDefinition,
  type ServiceDefinition,
} from "@grpc/proto-loader";
import { didYouMean } from "../config/nearest-name.ts";
import { ConfigError } from "../grpc/errors.ts";
import { type MethodInfo, methodsOf } from "../grpc/method.ts";
import { isApplications } from "../server/health-policy.ts";
import { ArgumentError } from "./argument-error.ts";

export interface ServiceFiles {
  readonly protos: readonly string[];
  readonly includeDirs: readonly string[];
  readonly descriptorSet: string | undefined;
  /** The services that the server registers. Undefined: all of them. */
  readonly services: readonly string[] | undefined;
}

/**
 * As a server has them: without the health service, which brings its own rules.
 * @throws {ConfigError} where a file cannot be read, or there is no such service. It names the file.
 */
export function methodsIn(files: ServiceFiles): readonly MethodInfo[] {
  const { protos, descriptorSet, services } = files;
  if ((protos.length === 0) === (descriptorSet === undefined))
    throw new ArgumentError("give the services, by --proto FILE or by --descriptor-set FILE");
  const where = descriptorSet ?? protos.join(", ");
  const found = new Map(Object.entries(load(files, where)).filter(isService));
  if (found.size === 0) throw new ConfigError(`${where}: no service is in it`);
  const missing = (services ?? []).filter((name) => !found.has(name));
  if (missing.length > 0)
    throw new ConfigError(
      missing.map((name) => `${where}: no service ${name}${didYouMean(name, found.keys())}`),
    );
  const chosen = [...found].filter(([name]) => services?.includes(name) ?? true);
  return methodsOf(...chosen.map(([, service]) => service)).filter(isApplications);
}

function load({ protos, includeDirs, descriptorSet }: ServiceFiles, where: string): PackageDefinition {
  try {
    return descriptorSet === undefined
      ? loadSync([...protos], includeDirs.length === 0 ? {} : { includeDirs: [...includeDirs, "."] })
      : loadFileDescriptorSetFromBuffer(readFileSync(descriptorSet));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ConfigError(`${where}: cannot be read: ${reason}`, { cause: error });
  }
}

/** Messages and enumerations say their format; a method of that name is an object. */
function isService(entry: [string, AnyDefinition]): entry is [string, ServiceDefinition] {
  return typeof entry[1]["format"] !== "string";
}
