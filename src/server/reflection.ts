/**
 * Server reflection: off by default, because it tells an unauthenticated caller everything that can be called; on only for verified
 * callers with one of the named roles. The protocol itself is `@grpc/reflection`'s, an optional peer dependency.
 * Source: the gRPC server reflection protocol.
 */
import type { MessageTypeDefinition, PackageDefinition } from "@grpc/proto-loader";
import type { Logger } from "pino";
import { z } from "zod";
import { loadOptional } from "../config/optional-package.ts";
import { healthServiceName, type MethodInfo } from "../grpc/method.ts";
import type { Decision, MethodPolicy, Policy } from "../middleware/authorization/authorizer.ts";
import type { GuardedServer } from "./guarded-server.ts";

export interface ReflectionOptions {
  /** A verified caller with any of these roles may ask; nobody else. */
  readonly roles: readonly string[];
}

/** The shape of `reflection`. */
export const reflectionSchema: z.ZodType<ReflectionOptions> = z.strictObject({
  roles: z.array(z.string().min(1)).min(1, "name at least one role"),
});

const serviceNames: ReadonlySet<string> = new Set([
  "grpc.reflection.v1.ServerReflection",
  "grpc.reflection.v1alpha.ServerReflection",
]);

const allowed: Decision = Object.freeze({ effect: "allow", rule: "reflection" });
const denied: Decision = Object.freeze({
  effect: "deny",
  rule: "reflection",
  reason: "none of the caller's roles is among reflection.roles",
});

/** What is used of `@grpc/reflection`. Its own types are not there where it is not installed, and ours must compile. */
type ReflectionServiceClass = new (
  described: PackageDefinition,
  options: { readonly services: string[] },
) => { addToServer(server: Pick<GuardedServer, "addService">): void };

/**
 * The optional peer, loaded at once so that a server without it does not start.
 * @throws {ConfigError} where it is not installed.
 */
export function loadReflection(load?: (name: string) => unknown): ReflectionServiceClass {
  const needed = { neededBy: "reflection", install: "@grpc/reflection" };
  const { ReflectionService } = loadOptional("@grpc/reflection", needed, load) as {
    readonly ReflectionService: ReflectionServiceClass;
  };
  return ReflectionService;
}

/** The reflection service of one server: of its registered services and of no other. */
export class Reflection {
  readonly #roles: readonly string[];
  readonly #service: ReflectionServiceClass;
  #added = false;

  /** @throws {ConfigError} where `@grpc/reflection` is not installed. */
  constructor({ roles }: ReflectionOptions) {
    this.#roles = roles;
    this.#service = loadReflection();
  }

  /** Registers it, when everything that it is to describe is there. */
  addTo(server: GuardedServer, logger: Logger): void {
    if (this.#added) return;
    this.#added = true;
    const described: Record<string, MessageTypeDefinition<object, object>> = {};
    const without: string[] = [];
    for (const [name, definition] of server.services) {
      if (name === healthServiceName) continue;
      const type = Object.values(definition).map(descriptorsOf).find(isDescribed);
      if (type === undefined) without.push(name);
      else described[name] = type;
    }
    if (without.length > 0) {
      logger.warn(
        { services: without },
        "reflection: these services are not described, because their generator keeps no descriptors; load them with @grpc/proto-loader",
      );
    }
    const definition: PackageDefinition = described;
    new this.#service(definition, { services: Object.keys(described) }).addToServer(server);
  }

  /** Is this a method of the reflection service, whose rule is not the application's? */
  isOwn({ service }: Pick<MethodInfo, "service">): boolean {
    return this.#added && serviceNames.has(service);
  }

  /** The application's policy, with the reflection service's own rule beside it. */
  withPolicy(policy: Policy): Policy {
    return {
      roles: policy.roles,
      forMethod: (path) =>
        this.isOwn({ service: path.slice(1, path.lastIndexOf("/")) }) ? this.#policy : policy.forMethod(path),
    };
  }

  readonly #policy: MethodPolicy = Object.freeze({
    access: "checked",
    decide: ({ principal }) =>
      principal !== undefined &&
      principal.kind !== "anonymous" &&
      /* protection: reflection-roles */ this.#roles.some((role) => principal.roles.has(role))
        ? allowed
        : denied,
    describe: () => ({ rule: "reflection", roles: this.#roles }),
  } satisfies MethodPolicy);
}

/** proto-loader keeps the descriptors of all files beside each method's types. */
function descriptorsOf(method: object): unknown {
  return "requestType" in method ? method.requestType : undefined;
}

function isDescribed(type: unknown): type is MessageTypeDefinition<object, object> {
  return (
    typeof type === "object" &&
    type !== null &&
    "fileDescriptorProtos" in type &&
    Array.isArray(type.fileDescriptorProtos)
  );
}
