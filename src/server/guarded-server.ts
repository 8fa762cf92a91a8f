// The grpc.Server inside: every registration is recorded and guarded, whoever makes it, and it is bound by `listen()`
// alone, after the policy was checked against what is registered.
import type {
  Server,
  ServerCredentials,
  ServiceDefinition,
  UntypedHandleCall,
  UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { guardHandler } from "../chain/handlers.ts";
import { ConfigError } from "../grpc/errors.ts";
import {
  type MethodInfo,
  type MethodKind,
  methodInfo,
  type RequestDefinition,
  requestDefinition,
} from "../grpc/method.ts";
import { TransportServer } from "../transport/server.ts";

type Serialize<T> = (value: T) => Buffer;
type Deserialize<T> = (bytes: Buffer) => T;

export class GuardedServer extends TransportServer {
  readonly #methods: Map<string, MethodInfo> = new Map();
  readonly #services: Map<string, ServiceDefinition> = new Map();
  readonly #requests: Map<string, RequestDefinition> = new Map();
  #binding = false;
  #sealed = false;

  /** What is registered, in the order of registration. */
  get methods(): readonly MethodInfo[] {
    return [...this.#methods.values()];
  }

  /** What was registered, by the service's full name. */
  get services(): ReadonlyMap<string, ServiceDefinition> {
    return this.#services;
  }

  /** The path of a method of this service that has a handler already: grpc-js takes each path once. */
  registered(definition: ServiceDefinition): string | undefined {
    const taken = new Set([...this.#services.values()].flatMap(pathsOf));
    return pathsOf(definition).find((path) => taken.has(path));
  }

  override addService(definition: ServiceDefinition, handlers: UntypedServiceImplementation): void {
    // For `register`, which is called for each of them.
    for (const method of Object.values(definition))
      this.#requests.set(method.path, requestDefinition(method));
    super.addService(definition, handlers);
    const [method] = Object.values(definition);
    if (method !== undefined) this.#services.set(methodInfo(method.path, "unary", true).service, definition);
  }

  /** From now on nothing can be registered: the policy has been checked against what there is. */
  seal(): void {
    this.#sealed = true;
  }

  override register<Request, Response>(
    path: string,
    handler: UntypedHandleCall,
    serialize: Serialize<Response>,
    deserialize: Deserialize<Request>,
    type: string,
  ): boolean {
    if (this.#sealed) {
      throw new ConfigError(
        `${path}: registered after listen(); add services before listen(), so that the policy is checked against them`,
      );
    }
    const kind = handlerKinds[type];
    if (kind === undefined) throw new ConfigError(`${path}: unknown handler type "${type}"`);
    if (!super.register(path, guardHandler(handler, kind), serialize, deserialize, type)) return false;
    this.#methods.set(path, methodInfo(path, kind, true, this.#requests.get(path)));
    return true;
  }

  override unregister(path: string): boolean {
    if (this.#sealed) throw new ConfigError(`${path}: methods cannot be removed after listen()`);
    this.#methods.delete(path);
    return super.unregister(path);
  }

  /** For `listen()`. */
  bindChecked(address: string, credentials: ServerCredentials): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#binding = true;
      try {
        super.bindAsync(address, credentials, (error, port) =>
          error === null ? resolve(port) : reject(error),
        );
      } catch (error) {
        reject(error);
      } finally {
        this.#binding = false;
      }
    });
  }

  override bindAsync(...args: Parameters<Server["bindAsync"]>): void {
    if (!this.#binding) throw boundByHand("bindAsync");
    super.bindAsync(...args);
  }

  override createConnectionInjector(): never {
    throw boundByHand("createConnectionInjector");
  }

  override experimentalCreateConnectionInjectorWithChannelzRef(): never {
    throw boundByHand("experimentalCreateConnectionInjectorWithChannelzRef");
  }
}

/** By grpc-js's word for it. */
const handlerKinds: Readonly<Record<string, MethodKind>> = {
  unary: "unary",
  clientStream: "client_stream",
  serverStream: "server_stream",
  bidi: "bidi_stream",
};

function boundByHand(method: string): ConfigError {
  return new ConfigError(`grpcServer.${method}: binds the server without the policy check; use listen()`);
}

function pathsOf(definition: ServiceDefinition): readonly string[] {
  return Object.values(definition).map(({ path }) => path);
}
