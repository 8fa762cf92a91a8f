/**
 * The types of handlers: what `call`, `callback` and the answer of each method are, read from the definition that a
 * generator wrote. A handler may answer by callback, by promise, or with an async generator; see handlers.ts for how
 * they run.
 */
import type {
  ServerDuplexStream,
  ServerReadableStream,
  ServerUnaryCall,
  ServerWritableStream,
  ServiceDefinition,
  sendUnaryData,
  UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { didYouMean } from "../config/nearest-name.ts";
import { ConfigError } from "../grpc/errors.ts";

// biome-ignore lint/suspicious/noConfusingVoidType: who answers by callback or by writing returns nothing
type Answer<Returned> = void | Returned;

/** One request, one answer: by callback, or by a promise of it. */
export type UnaryHandler<Request, Response> = (
  call: ServerUnaryCall<Request, Response>,
  callback: sendUnaryData<Response>,
) => Answer<Promise<Response>>;

/** Requests as `for await (const request of call)` or `call.on("data", …)`; one answer, by callback or promise. */
export type ClientStreamHandler<Request, Response> = (
  call: ServerReadableStream<Request, Response>,
  callback: sendUnaryData<Response>,
) => Answer<Promise<Response>>;

/**
 * Answers yielded by an async generator, no faster than the caller reads; or written with `call.write` and ended with
 * `call.end`.
 */
export type ServerStreamHandler<Request, Response> = (
  call: ServerWritableStream<Request, Response>,
) => Answer<Promise<void> | AsyncGenerator<Response, unknown, undefined>>;

/** Requests as in a client stream, answers as in a server stream. */
export type BidiStreamHandler<Request, Response> = (
  call: ServerDuplexStream<Request, Response>,
) => Answer<Promise<void> | AsyncGenerator<Response, unknown, undefined>>;

// biome-ignore lint/suspicious/noExplicitAny: what a definition without types says of its messages, in grpc-js's own words
type Untyped = any;

/** For a method of which neither kind nor messages are known: everything that a call may have. */
type UntypedHandler = (
  call: ServerUnaryCall<Untyped, Untyped> & ServerDuplexStream<Untyped, Untyped>,
  callback: sendUnaryData<Untyped>,
) => unknown;

/** For a method whose definition types its messages and does not say its kind: the same, with those messages. */
type KindlessHandler<Request, Response> = (
  call: ServerUnaryCall<Request, Response> & ServerDuplexStream<Request, Response>,
  callback: sendUnaryData<Response>,
  // biome-ignore lint/suspicious/noConfusingVoidType: a promise that a stream's handler settles when it has ended its call
) => Answer<Promise<Response | void> | AsyncGenerator<Response, unknown, undefined>>;

/** The names that stand in a type, without an index signature that says every name is there. */
type Named<T> = keyof {
  [Name in keyof T as string extends Name ? never : number extends Name ? never : Name]: T[Name];
};

type KindsOf<Request, Response> = {
  readonly false: {
    readonly false: UnaryHandler<Request, Response>;
    readonly true: ServerStreamHandler<Request, Response>;
  };
  readonly true: {
    readonly false: ClientStreamHandler<Request, Response>;
    readonly true: BidiStreamHandler<Request, Response>;
  };
};

interface TypedMethod<RequestStream extends boolean, ResponseStream extends boolean, Request, Response> {
  readonly requestStream: RequestStream;
  readonly responseStream: ResponseStream;
  // As methods, so that a definition's functions fit whatever they take.
  requestDeserialize(bytes: Buffer): Request;
  responseSerialize(value: Response): Buffer;
}

/** ts-proto and grpc-tools write `requestStream: false`; proto-loader's types say only `boolean`. */
type HandlerOfMethod<Method> =
  Method extends TypedMethod<infer RequestStream, infer ResponseStream, infer Request, infer Response>
    ? boolean extends RequestStream
      ? KindlessHandler<Request, Response>
      : boolean extends ResponseStream
        ? KindlessHandler<Request, Response>
        : KindsOf<Request, Response>[`${RequestStream}`][`${ResponseStream}`]
    : UntypedHandler;

/** A handler as grpc-js types it, with the ways to answer that the chain adds. */
type Widened<Handler> = Handler extends (...args: infer Args) => unknown
  ? Args extends [call: ServerDuplexStream<infer Request, infer Response>]
    ? BidiStreamHandler<Request, Response>
    : Args extends [call: ServerWritableStream<infer Request, infer Response>]
      ? ServerStreamHandler<Request, Response>
      : Args extends [call: ServerUnaryCall<infer Request, infer Response>, callback: unknown]
        ? UnaryHandler<Request, Response>
        : Args extends [call: ServerReadableStream<infer Request, infer Response>, callback: unknown]
          ? ClientStreamHandler<Request, Response>
          : UntypedHandler
  : never;

/**
 * The handlers of a service that is given as a type of handlers: proto-loader's `OrdersHandlers`. Its names are those of
 * the `.proto`; grpc-js accepts them with a small first letter too.
 */
export type HandlersFrom<Handlers> =
  | { [Name in Named<Handlers>]: Widened<Handlers[Name]> }
  | { [Name in Named<Handlers> as Uncapitalize<Name & string>]: Widened<Handlers[Name]> };

/** The handlers that a service's definition asks for, one for each method. */
export type HandlersOf<Definition> =
  // protobuf-ts says nothing of its methods in the definition, but names the implementation's type.
  Definition extends ServiceDefinition<infer Implementation>
    ? ServiceDefinition<Implementation> extends Definition
      ? HandlersByName<Definition, Implementation>
      : HandlersByMethod<Definition>
    : HandlersByMethod<Definition>;

/** One type for both: overloads would tell a mistake in the handlers as one of types that nobody named. */
type HandlersFor<Service> =
  Service extends ServiceDefinition<Untyped> ? HandlersOf<Service> : HandlersFrom<Service>;

type HandlersByName<Definition, Implementation> = [Named<Implementation>] extends [never]
  ? HandlersByMethod<Definition>
  : HandlersFrom<Implementation>;

type HandlersByMethod<Definition> = [Named<Definition>] extends [never]
  ? { readonly [name: string]: UntypedHandler }
  : string extends keyof Definition
    ? // proto-loader's, whose names are those of the `.proto`.
        | { [Name in Named<Definition>]: HandlerOfMethod<Definition[Name]> }
        | { [Name in Named<Definition> as Uncapitalize<Name & string>]: HandlerOfMethod<Definition[Name]> }
    : { [Name in Named<Definition>]: HandlerOfMethod<Definition[Name]> };

/**
 * Types a service's handlers: `call`, `callback` and the answer of each method follow from the definition, and a method
 * without a handler is an error. It returns the handlers as they are, for `addService`. Handlers may answer by callback,
 * by promise or, for response streams, as async generators, and not in two ways at once: a handler that is `async`
 * returns its answer.
 *
 * It reads the definitions of ts-proto, grpc-tools with `grpc_tools_node_protoc_ts`, and protobuf-ts as they are. Those of
 * `proto-loader-gen-types` type the messages and not the kinds: with the type of the handlers, which it writes too, as
 * `defineHandlers<OrdersHandlers>(…)`, a handler is checked against its kind as well. Without either, nothing is typed.
 *
 * @throws {ConfigError} where a method has no handler.
 * @example
 * const handlers = defineHandlers(OrdersService, {
 *   async getOrder(call) {
 *     return orders.get(call.request.id);
 *   },
 *   async *listOrders(call) {
 *     yield* orders.of(requirePrincipal(call).tenant);
 *   },
 * });
 */
export function defineHandlers<const Service extends object = ServiceDefinition>(
  service: Service | ServiceDefinition,
  handlers: NoInfer<HandlersFor<Service>>,
): UntypedServiceImplementation {
  checkHandlers(service as ServiceDefinition, handlers);
  return handlers;
}

/**
 * Every method needs a handler, under its own name or under `originalName`.
 * @throws {ConfigError} with every method that has none, and the handlers whose names are near.
 */
export function checkHandlers(
  service: ServiceDefinition,
  handlers: object,
): asserts handlers is UntypedServiceImplementation {
  if (typeof service !== "object" || service === null)
    throw new ConfigError("service: expected a service definition, such as OrdersService");
  if (typeof handlers !== "object" || handlers === null)
    throw new ConfigError("handlers: expected an object with a function for each method");
  const missing = Object.entries(service).filter(
    ([name, { originalName }]) => !hasHandler(handlers, name) && !hasHandler(handlers, originalName),
  );
  if (missing.length === 0) return;
  const names = missing.map(([name, { originalName }]) => originalName ?? name);
  throw new ConfigError([
    ...missing.map(
      ([, { path }], index) => `${path}: no handler; add ${names[index]}(call, …) to the handlers`,
    ),
    ...misspelt(service, handlers, names),
  ]);
}

/** Functions that are near the name of a missing handler. Others may be there: a class has methods of its own. */
function misspelt(
  service: ServiceDefinition,
  handlers: object,
  missing: readonly string[],
): readonly string[] {
  const known = new Set(
    Object.entries(service).flatMap(([name, { originalName }]) => [name, originalName ?? name]),
  );
  return namesOf(handlers)
    .filter((name) => !known.has(name) && hasHandler(handlers, name))
    .map((name) => [name, didYouMean(name, missing)] as const)
    .filter(([, hint]) => hint !== "")
    .map(([name, hint]) => `handlers.${name}: no such method${hint}`);
}

/** With those of its classes. */
function namesOf(handlers: object): readonly string[] {
  const names: string[] = [];
  for (
    let owner = handlers;
    owner !== Object.prototype && owner !== null;
    owner = Object.getPrototypeOf(owner)
  )
    names.push(...Object.getOwnPropertyNames(owner));
  return [...new Set(names)].filter((name) => name !== "constructor");
}

function hasHandler(handlers: object, name: string | undefined): boolean {
  return name !== undefined && typeof Reflect.get(handlers, name) === "function";
}
