// What is known of a method before any call: its path, its parts, its kind.
import type { ServiceDefinition } from "@grpc/grpc-js";

export type MethodKind = "unary" | "client_stream" | "server_stream" | "bidi_stream";

export interface MethodInfo {
  /** `/package.Service/Method`. For an unknown method: what the caller sent. */
  readonly path: string;
  /** `package.Service` */
  readonly service: string;
  /** `Method` */
  readonly name: string;
  readonly kind: MethodKind;
  /** Is a handler registered for it? An unknown method passes the chain too. */
  readonly known: boolean;
  /** Absent where the method was registered without a service definition. */
  readonly request?: RequestDefinition;
}

/** What a service definition says of a method's request message, for whoever reads messages by their type. */
export interface RequestDefinition {
  /** The bytes of a message as the method's deserializer made it. */
  serialize(message: unknown): Uint8Array;
  /**
   * The service's files, each a serialized `google.protobuf.FileDescriptorProto`, where the definition carries them, as those
   * of `@grpc/proto-loader` do.
   */
  readonly fileDescriptors?: readonly Uint8Array[];
}

export function methodInfo(
  path: string,
  kind: MethodKind,
  known: boolean,
  request?: RequestDefinition,
): MethodInfo {
  const slash = path.indexOf("/", 1);
  const [service, name] = slash < 0 ? ["", path.slice(1)] : [path.slice(1, slash), path.slice(slash + 1)];
  return Object.freeze({ path, service, name, kind, known, ...(request === undefined ? {} : { request }) });
}

/** A method of a service definition, of grpc-js's shape; `requestType` is what proto-loader adds. */
interface DefinedMethod {
  readonly requestSerialize: (message: never) => Uint8Array;
  readonly requestType?: { readonly fileDescriptorProtos?: unknown };
}

export function requestDefinition(method: DefinedMethod): RequestDefinition {
  const files = method.requestType?.fileDescriptorProtos;
  const serialize: RequestDefinition["serialize"] = method.requestSerialize;
  return Object.freeze({
    serialize,
    ...(Array.isArray(files) ? { fileDescriptors: files } : {}),
  });
}

/** The parts of a service's definition that tell its methods. A `ServiceDefinition` of any kind has them. */
export type MethodShapes = Readonly<
  Record<
    string,
    Pick<ServiceDefinition[string], "path" | "requestStream" | "responseStream"> & Partial<DefinedMethod>
  >
>;

/** What anybody may have handed in: an object of methods, as generated code has it. */
export function isServiceDefinition(value: unknown): value is MethodShapes {
  if (typeof value !== "object" || value === null) return false;
  const methods: unknown[] = Object.values(value);
  return (
    methods.length > 0 &&
    methods.every(
      (method) =>
        typeof method === "object" &&
        method !== null &&
        typeof Reflect.get(method, "path") === "string" &&
        typeof Reflect.get(method, "requestStream") === "boolean" &&
        typeof Reflect.get(method, "responseStream") === "boolean",
    )
  );
}

/**
 * The methods of these services, in their order: for `comparePolicies`, or to `compile` a policy without a server.
 *
 * @example
 * rbac({ rules: { "/orders.v1.Orders/*": "authenticated" } }).compile(methodsOf(OrdersService));
 */
export function methodsOf(...services: readonly MethodShapes[]): readonly MethodInfo[] {
  return services
    .flatMap((service) => Object.values(service))
    .map(({ path, requestStream, responseStream, requestSerialize, requestType }) =>
      methodInfo(
        path,
        kindOf(requestStream, responseStream),
        true,
        requestSerialize && requestDefinition({ requestSerialize, ...(requestType && { requestType }) }),
      ),
    );
}

/** The standard health service, which brings its own rules. */
export const healthServiceName = "grpc.health.v1.Health";

/** The methods a health probe calls: exactly these need no credentials and skip the limits. */
const probes: ReadonlySet<string> = new Set(["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"]);

export function isHealthProbe(method: MethodInfo): boolean {
  return /* protection: health-exactly */ method.known && probes.has(method.path);
}

/** The kind of a method by what a service's definition says of its streams. */
export function kindOf(requestStream: boolean, responseStream: boolean): MethodKind {
  if (requestStream) return responseStream ? "bidi_stream" : "client_stream";
  return responseStream ? "server_stream" : "unary";
}

/** Does the caller send a stream of messages? */
export function streamsRequests(kind: MethodKind): boolean {
  return kind === "client_stream" || kind === "bidi_stream";
}

/** Does the server send a stream of messages? */
export function streamsResponses(kind: MethodKind): boolean {
  return kind === "server_stream" || kind === "bidi_stream";
}
