// The grpc.Server inside: every registration is recorded and guarded, whoever makes it, and it is bound by `listen()`
// alone, after the policy was checked against what is registered.
import {
  Server,
  type ServerCredentials,
  type ServerOptions,
  type ServiceDefinition,
  type UntypedHandleCall,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { ConfigError } from "../call/errors.ts";
import { type MethodInfo, methodInfo } from "../call/method.ts";
import { guardHandler } from "../chain/handlers.ts";
import type { GrpcHandlerType, RegisteredHandler } from "../chain/seam/inside.ts";
import { keepHandler, methodKind } from "../chain/seam/registered.ts";

type Serialize<T> = (value: T) => Buffer;
type Deserialize<T> = (bytes: Buffer) => T;
/** Told why a message could not be encoded or decoded, and what it was. */
type CodecFailureListener = (error: unknown, value: unknown) => void;

export class GuardedServer extends Server {
  readonly #methods: Map<string, MethodInfo> = new Map();
  readonly #services: Map<string, ServiceDefinition> = new Map();
  readonly #onCodecFailure: CodecFailureListener;
  /** The handlers of the service that is being added, by path, as they were written: grpc-js registers bound ones. */
  #written: ReadonlyMap<string, UntypedHandleCall> = new Map();
  #binding = false;
  #sealed = false;

  constructor(options: ServerOptions, onCodecFailure: CodecFailureListener) {
    super(options);
    this.#onCodecFailure = onCodecFailure;
  }

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
    this.#written = writtenHandlers(definition, handlers);
    try {
      super.addService(definition, handlers);
    } finally {
      this.#written = new Map();
    }
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
        `${path}: registered after listen(); add every service before, so that the policy covers it`,
      );
    }
    const kind = methodKind(type as GrpcHandlerType);
    if (kind === undefined) throw new ConfigError(`${path}: unknown handler type "${type}"`);
    const guarded = guardHandler(handler, kind, this.#written.get(path));
    const registered = super.register(
      path,
      guarded,
      this.#watchCodec(serialize),
      this.#watchCodec(deserialize),
      type,
    );
    if (!registered) return false;
    keepHandler(this, path, guarded);
    this.#methods.set(path, methodInfo(path, kind, true));
    return true;
  }

  override unregister(path: string): boolean {
    if (this.#sealed) throw new ConfigError(`${path}: methods cannot be taken away after listen()`);
    this.#methods.delete(path);
    return super.unregister(path);
  }

  /** grpc-js says only that a message could not be encoded or decoded; the log should say why. */
  #watchCodec<In, Out>(codec: (value: In) => Out): (value: In) => Out {
    return (value) => {
      try {
        return codec(value);
      } catch (error) {
        this.#onCodecFailure(error, value);
        throw error;
      }
    };
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

function writtenHandlers(
  definition: ServiceDefinition,
  handlers: UntypedServiceImplementation,
): ReadonlyMap<string, UntypedHandleCall> {
  const written = new Map<string, UntypedHandleCall>();
  for (const [name, { path, originalName }] of Object.entries(definition)) {
    const handler = handlers[name] ?? (originalName === undefined ? undefined : handlers[originalName]);
    if (handler !== undefined) written.set(path, handler);
  }
  return written;
}

function boundByHand(method: string): ConfigError {
  return new ConfigError(`grpcServer.${method}: bound by hand; use listen(), which checks the policy first`);
}

/** Stands in for methods that nobody registered, so that they pass the chain, which answers for them (C8). */
export function unknownMethodHandler(path: string): RegisteredHandler {
  return {
    path,
    type: "bidi",
    func: neverCalled,
    serialize: neverCalled,
    deserialize: (bytes) => bytes,
  };
}

function neverCalled(): never {
  throw new Error("an unknown method has no handler");
}

function pathsOf(definition: ServiceDefinition): readonly string[] {
  return Object.values(definition).map(({ path }) => path);
}
