/**
 * NestJS on the whole chain. NestJS makes its own `grpc.Server` and binds it before a single service is registered:
 * here the server is one of `createSecureServer`, which is bound after the controllers' handlers are in place and the
 * policy was checked against them.
 */
import type { MethodDefinition, ServiceDefinition } from "@grpc/grpc-js";
import type { CustomTransportStrategy, GrpcOptions } from "@nestjs/microservices";
import { ServerGrpc } from "@nestjs/microservices";
import { catchError, type Observable, throwError } from "rxjs";
import { z } from "zod";
import { didYouMean } from "../config/nearest-name.ts";
import { parseOptions, refused } from "../config/options.ts";
import { ConfigError } from "../grpc/errors.ts";
import {
  createSecureServer,
  drainDelayMsSchema,
  graceMsSchema,
  type SecureServer,
  type ShutdownOptions,
} from "../server/secure-server.ts";
import type { SecureServerOptions } from "../server/server-options.ts";
import { failureOf, watchExceptions } from "./exceptions.ts";

type NestGrpcOptions = GrpcOptions["options"];
type Definitions = Pick<
  NestGrpcOptions,
  "package" | "protoPath" | "packageDefinition" | "protoLoader" | "loader" | "onLoadPackageDefinition"
>;

/** The options of a secured server, and what NestJS has to know to find the services: as in its own gRPC options. */
export interface SecureStrategyOptions extends SecureServerOptions, Definitions {
  /** `host:port` or `unix:path`, one or several. */
  readonly url: string | readonly string[];
  /** How long calls in flight may go on after `app.close()`, in milliseconds. Default: 10,000. */
  readonly shutdownGraceMs?: number | undefined;
  /** How long `app.close()` goes on serving once health is NOT_SERVING, in milliseconds. Default: 0. */
  readonly shutdownDrainDelayMs?: number | undefined;
}

/** For `strategy` of a NestJS microservice. */
export interface SecureStrategy extends CustomTransportStrategy {
  /** The server inside: its health, its access matrix, `setAuthorization`. NestJS starts and stops it. */
  readonly secureServer: SecureServer;
}

function oneOrSeveral(error: string): z.ZodType<string | readonly string[]> {
  return z.custom<string | readonly string[]>((value) => {
    const several = Array.isArray(value) ? value : [value];
    return several.length > 0 && several.every((each) => typeof each === "string" && each !== "");
  }, error);
}

// NestJS reads the rest of its own, createSecureServer the rest of all.
const ownSchema = z.looseObject({
  url: oneOrSeveral('expected an address such as "0.0.0.0:50051", or several'),
  package: oneOrSeveral('expected the name of a protobuf package, such as "orders.v1", or several'),
  shutdownGraceMs: graceMsSchema,
  shutdownDrainDelayMs: drainDelayMsSchema,
  credentials: refused("say it in tls"),
  maxReceiveMessageLength: refused("use limits.maxReceiveMessageBytes"),
  maxSendMessageLength: refused("use limits.maxSendMessageBytes"),
  maxMetadataSize: refused("use limits.maxMetadataBytes"),
  keepalive: refused("limits.minPingIntervalMs says what clients may do"),
  gracefulShutdown: refused("app.close() is graceful; shutdownGraceMs says how long"),
});

/**
 * A transport strategy that serves a NestJS application's gRPC controllers behind the whole chain, as
 * `createSecureServer` does. Options that are wrong are told here; `app.listen()` tells what does not fit the controllers:
 * a method of a served service that no controller handles, a `@GrpcMethod` that is no method, a policy that does not fit.
 * A service of the package for which there is no controller is not served.
 *
 * Errors: an `RpcException` with an object `{ code, message }`, `code` 1 to 16, is told to the caller; so is a
 * `StatusError` with `StatusErrorFilter`. A guard that says no is PERMISSION_DENIED, as is a `ForbiddenException`; an
 * `UnauthorizedException` is UNAUTHENTICATED. Everything else is INTERNAL with an error id, and the log has the
 * exception. In a controller
 * `securityContext(call)` takes the third argument of a `@GrpcMethod`, and `currentContext()` works everywhere below,
 * guards and interceptors included.
 *
 * @throws {ConfigError} for options that are wrong, with the path of each.
 * @example
 * const app = await NestFactory.createMicroservice<CustomStrategy>(AppModule, {
 *   strategy: secureStrategy({
 *     url: "0.0.0.0:50051",
 *     package: "orders.v1",
 *     protoPath: "orders.proto",
 *     tls: { cert: "server.crt", key: "server.key" },
 *     authentication: jwt({ issuer: "https://id.example", audience: "orders", jwksUri: "https://id.example/jwks" }),
 *     authorization: allowAuthenticated(),
 *   }),
 * });
 * app.useGlobalFilters(new StatusErrorFilter());
 * await app.listen();
 */
export function secureStrategy(options: SecureStrategyOptions): SecureStrategy {
  const { shutdownGraceMs: graceMs, shutdownDrainDelayMs: drainDelayMs } = parseOptions(
    ownSchema,
    options,
    "",
  );
  const {
    url,
    package: packages,
    protoPath,
    packageDefinition,
    protoLoader,
    loader,
    onLoadPackageDefinition,
    shutdownGraceMs: _,
    shutdownDrainDelayMs: __,
    ...secured
  } = options;
  const definitions = Object.fromEntries(
    Object.entries({ protoPath, packageDefinition, protoLoader, loader, onLoadPackageDefinition }).filter(
      ([, value]) => value !== undefined,
    ),
  );
  return new PalisadeStrategy(
    { ...definitions, package: packages },
    { secureServer: createSecureServer(secured), addresses: url, shutdown: { graceMs, drainDelayMs } },
  );
}

interface Serving {
  readonly secureServer: SecureServer;
  readonly addresses: string | readonly string[];
  readonly shutdown: ShutdownOptions;
}

/** What `@GrpcMethod("Orders", "GetOrder")` said. */
interface Pattern {
  readonly service: string;
  readonly rpc: string;
  readonly streaming: keyof typeof decorators;
}

/** By the name that NestJS has for the kind. */
const decorators = {
  no_stream: "@GrpcMethod",
  rx_stream: "@GrpcStreamMethod",
  pt_stream: "@GrpcStreamCall",
} as const;

type CreateServiceMethod = ServerGrpc["createServiceMethod"];

class PalisadeStrategy extends ServerGrpc implements SecureStrategy {
  readonly #serving: Serving;
  readonly #packages: readonly string[];

  constructor(definitions: Definitions, serving: Serving) {
    super(definitions);
    watchExceptions();
    this.#serving = serving;
    this.#packages = [definitions.package].flat();
    // Where NestJS itself looks: `onLoadPackageDefinition` is given it.
    this.grpcClient = serving.secureServer.grpcServer;
  }

  get secureServer(): SecureServer {
    return this.#serving.secureServer;
  }

  override async listen(callback: (error?: unknown, ...info: unknown[]) => void): Promise<void> {
    let bound: { readonly port: number; readonly address: string };
    try {
      await this.bindEvents();
      bound = await this.secureServer.listen(this.#serving.addresses);
    } catch (error) {
      callback(error);
      return;
    }
    callback(undefined, bound);
  }

  override async bindEvents(): Promise<void> {
    const root: unknown = this.loadProto();
    const problems: string[] = [];
    let served = 0;
    let example = '"Service", "Method"';
    for (const name of this.#packages) {
      const found = packageIn(root, name);
      if (found === undefined) {
        problems.push(
          `package: "${name}" is not in the loaded definitions${didYouMean(name, packagesIn(root))}`,
        );
        continue;
      }
      for (const { name: within, service: client } of this.getServiceNames(found)) {
        const definition: ServiceDefinition = client.service;
        const handlers = await this.createService(client, within);
        const [method] = Object.values(definition);
        if (method !== undefined) example = `"${within}", "${method.path.split("/")[2]}"`;
        problems.push(...this.#strayPatterns(definition, within));
        if (Object.keys(handlers).length === 0) continue;
        served += 1;
        const missing = unhandled(definition, within, handlers);
        problems.push(...missing);
        if (missing.length === 0) this.secureServer.addService(definition, { ...handlers });
      }
    }
    if (served === 0 && problems.length === 0) {
      problems.push(
        `package: no controller handles a method of ${this.#packages.join(", ")}; ` +
          `one with @GrpcMethod(${example}) must be in a module that the application imports`,
      );
    }
    if (problems.length > 0) throw new ConfigError(problems);
  }

  /** NestJS passes over a pattern that fits no method, and the method is answered UNIMPLEMENTED. */
  #strayPatterns(definition: ServiceDefinition, within: string): readonly string[] {
    const methods = Object.entries(definition);
    const fullName = methods[0]?.[1].path.split("/")[1];
    return [...this.messageHandlers.keys()].flatMap((key) => {
      const pattern = patternOf(key);
      if (pattern === undefined || (pattern.service !== within && pattern.service !== fullName)) return [];
      const method = methods.find(
        ([name, { originalName }]) => pattern.rpc === name || pattern.rpc === originalName,
      )?.[1];
      const said = `${decorators[pattern.streaming]}("${pattern.service}", "${pattern.rpc}")`;
      if (method === undefined) return [`${said}: ${fullName} has no such method`];
      return method.requestStream === (pattern.streaming !== "no_stream")
        ? []
        : [`${said}: does not fit ${method.path}; use ${decoratorFor(method)}`];
    });
  }

  override createServiceMethod(
    ...[handler, method, streaming]: Parameters<CreateServiceMethod>
  ): ReturnType<CreateServiceMethod> {
    const translated = async (...args: unknown[]): Promise<Observable<unknown>> =>
      this.transformToObservable<unknown>(await handler(...args)).pipe(
        catchError((error: unknown) => throwError(() => failureOf(error))),
      );
    // NestJS names the operation by it.
    Object.defineProperty(translated, "name", { value: handler.name });
    return super.createServiceMethod(translated, method, streaming);
  }

  override async close(): Promise<void> {
    await this.secureServer.shutdown(this.#serving.shutdown);
  }
}

function packageIn(root: unknown, name: string): object | undefined {
  let found: unknown = root;
  for (const part of name.split(".")) {
    if (typeof found !== "object" || found === null) return undefined;
    found = Reflect.get(found, part);
  }
  return typeof found === "object" && found !== null ? found : undefined;
}

/** The full names of the packages that have a service. */
function packagesIn(root: unknown, within = ""): readonly string[] {
  if (typeof root !== "object" || root === null) return [];
  const inner = Object.entries(root).flatMap(([name, value]) =>
    packagesIn(value, within === "" ? name : `${within}.${name}`),
  );
  const serves = Object.values(root).some((value) => typeof value === "function" && "service" in value);
  return serves && within !== "" ? [within, ...inner] : inner;
}

function unhandled(definition: ServiceDefinition, within: string, handlers: object): readonly string[] {
  return Object.entries(definition)
    .filter(([name, { originalName }]) => !(name in handlers || (originalName ?? name) in handlers))
    .map(
      ([name, method]) =>
        `${method.path}: no controller handles it; add ${decoratorFor(method)}("${within}", "${name}")`,
    );
}

function decoratorFor({ requestStream }: Pick<MethodDefinition<unknown, unknown>, "requestStream">): string {
  return requestStream ? decorators.rx_stream : decorators.no_stream;
}

/** NestJS keeps patterns as JSON; those of other transports look otherwise. */
function patternOf(key: string): Pattern | undefined {
  const parsed = patternSchema.safeParse(jsonOf(key));
  return parsed.success ? parsed.data : undefined;
}

const patternSchema: z.ZodType<Pattern> = z.object({
  service: z.string(),
  rpc: z.string(),
  streaming: z.enum(["no_stream", "rx_stream", "pt_stream"]),
});

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
