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
}

export function methodInfo(path: string, kind: MethodKind, known: boolean): MethodInfo {
  const slash = path.indexOf("/", 1);
  const [service, name] = slash < 0 ? ["", path.slice(1)] : [path.slice(1, slash), path.slice(slash + 1)];
  return Object.freeze({ path, service, name, kind, known });
}

/** The parts of a service's definition that tell its methods. A `ServiceDefinition` of any kind has them. */
type MethodShapes = Readonly<
  Record<string, Pick<ServiceDefinition[string], "path" | "requestStream" | "responseStream">>
>;

/**
 * The methods of these services, in their order: for `comparePolicies`, or to `compile` a policy without a server.
 *
 * @example
 * rbac({ rules: { "/orders.v1.Orders/*": "authenticated" } }).compile(methodsOf(OrdersService));
 */
export function methodsOf(...services: readonly MethodShapes[]): readonly MethodInfo[] {
  return services
    .flatMap((service) => Object.values(service))
    .map(({ path, requestStream, responseStream }) =>
      methodInfo(path, kindOf(requestStream, responseStream), true),
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
