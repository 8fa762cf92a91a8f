/**
 * The other roads in (C6): the whole chain, or single layers, as plain grpc-js interceptors for a `grpc.Server` that
 * somebody else made.
 */
import type { ServerInterceptor, ServiceDefinition } from "@grpc/grpc-js";
import { type Logger, pino } from "pino";
import { Chain } from "../chain/chain.ts";
import type { Middleware } from "../chain/middleware.ts";
import { parseOptions } from "../config/options.ts";
import { ConfigError } from "../grpc/errors.ts";
import { kindOf, type MethodInfo, methodInfo } from "../grpc/method.ts";
import { audit } from "../middleware/audit/audit.ts";
import { closeAuthenticator } from "../middleware/authentication/authenticator.ts";
import { PolicyHolder } from "../middleware/authorization/authorization.ts";
import { deadline } from "../middleware/deadline/deadline.ts";
import { logging } from "../middleware/logging/logging.ts";
import { closeRateLimitStore } from "../middleware/rate-limit/rate-limit.ts";
import { recover } from "../middleware/recovery/recovery.ts";
import { peerCertificateOf } from "../tls/peer-certificate.ts";
import { compilePolicy } from "./application-policy.ts";
import { warnOfShadow } from "./enforce.ts";
import { peerOfCalls } from "./forwarded-peer.ts";
import { isApplications, withHealthPolicy } from "./health-policy.ts";
import { layersOf } from "./layers.ts";
import { MethodOverrides } from "./method-overrides.ts";
import { layersSchema } from "./own-layers.ts";
import { interceptorsSchema, type SecureInterceptorsOptions } from "./server-options.ts";
import { checkValidatedMethods } from "./validated-methods.ts";

/**
 * Layers as one interceptor for anybody's `grpc.Server`, for all four call kinds, with the guard round every handler
 * (C3) and safe errors (C5). Give the layers in the order in which they run. It must be the first of the server's
 * `interceptors`, or follow `secureInterceptors(…)`; another `toInterceptor(…)` may follow it, an interceptor of other code
 * only after those. The shortest `checkTimeoutMs` of them holds.
 *
 * What `secureInterceptors` cannot have on a server of others, this cannot have either. Failures of layers are logged by
 * pino to standard output.
 *
 * @throws {ConfigError} for what is no layer, and for two of one name.
 * @example
 * const server = new Server({
 *   interceptors: [toInterceptor(logging({ logger }), authentication(jwt({ … })))],
 * });
 */
export function toInterceptor(...layers: readonly Middleware[]): ServerInterceptor {
  const parsed = parseOptions(layersSchema, layers, "toInterceptor");
  if (parsed.length === 0) throw new ConfigError("toInterceptor: expected at least one layer");
  const chain = new Chain({
    // As they were handed in: a layer is an object with a life of its own.
    layers,
    recovery: recover,
    checkTimeoutMs: checkTimeoutOf(layers),
    logger: pino(),
  });
  return chain.attached({ certificateOf: peerCertificateOf, unprepared: "known" });
}

function checkTimeoutOf(layers: readonly Middleware[]): number {
  for (const layer of layers) {
    const own: unknown = Reflect.get(layer, "checkTimeoutMs");
    if (typeof own === "number") return own;
  }
  return deadline().checkTimeoutMs;
}

/** The interceptors for `new grpc.Server({ interceptors })`. */
export interface SecureInterceptors extends Array<ServerInterceptor> {
  /**
   * Flushes and closes the audit sinks, and closes the authenticators and the rate limit store: call it when the server has
   * shut down.
   */
  close(): Promise<void>;
}

/** What is said once at start: it holds on `createSecureServer` and not here. */
const notOnThisRoad = [
  "unknown methods are answered by grpc-js, before authentication",
  "TLS, HTTP/2 and content-type refusals are not seen",
  "requests that are no POST, and any content type that begins with application/grpc, are calls for grpc-js",
  "HTTP/2 limits (streams, header size, connections) and message sizes are the server's own",
  "grpc-timeout is read by grpc-js, which counts it in 32 bits",
  "messages are framed and decompressed by grpc-js, all that arrive at once; before 1.14.4 one malformed compressed message ends the process",
  "what grpc-js answers by itself (its limits, its deadline) has grpc-js's own text",
  "of two authorization headers grpc-js shows the first alone",
  "a header field whose value begins or ends with white space is dropped by Node, a credential too",
  "a connection whose client certificate does not verify is kept, without an identity",
  "shutdown is the server's own",
];

/**
 * The whole chain as interceptors, for a `grpc.Server` that somebody else made: a framework, or code that cannot change.
 * The policy is checked here, against `services`. Put them first in the server's `interceptors`; with anything before
 * them, `toInterceptor(…)` too, every call is refused, and logged.
 *
 * Layers, guard, safe errors, audit and the four call kinds are as on `createSecureServer`. What an interceptor cannot
 * have, this road cannot have, and a line in the log says so at start:
 * - calls of unknown methods, which grpc-js answers UNIMPLEMENTED to strangers too (C8), and whatever TLS, HTTP/2 or the
 *   content type refuse;
 * - the refusal of what is no gRPC call: for grpc-js a GET, or `application/grpc-web`, is a call, and passes the chain;
 * - limits of HTTP/2, connections and message sizes: options of your server (`grpc.max_concurrent_streams`,
 *   `grpc.max_receive_message_length`, …);
 * - header fields as they arrived: metadata is counted as grpc-js hands it on, a second `authorization` and fields whose
 *   value begins or ends with white space are lost before they get here, and `grpc-timeout` is as grpc-js reads it:
 *   2592000S overflows and is over at once, and a malformed one is INTERNAL;
 * - messages as they arrived: grpc-js puts them together and decompresses them, with its own limits and texts; before
 *   1.14.4 one that says it is compressed and is not ends the process;
 * - the end of a connection whose client certificate does not verify (with `clientAuth: "request"`): it carries no
 *   identity, but it is kept.
 *
 * A method of the server that is not in `services` is refused, and logged.
 *
 * @throws {ConfigError} for options that are wrong, {PolicyError} where the policy does not fit the services.
 * @example
 * const interceptors = secureInterceptors({
 *   authentication: jwt({ … }),
 *   authorization: rbac({ … }),
 *   services: [OrdersService],
 * });
 * const server = new Server({ interceptors });
 */
export function secureInterceptors(options: SecureInterceptorsOptions): SecureInterceptors {
  const { services, ...settings } = parseOptions(interceptorsSchema, options, "");
  const ownLogger: Logger | undefined = settings.logger === false ? undefined : (settings.logger ?? pino());
  const logger = ownLogger ?? pino({ enabled: false });
  const methods = services.flatMap(methodsOf);
  const applications = methods.filter(isApplications);
  checkValidatedMethods(settings.validation, methods);
  const overrides = new MethodOverrides(settings);
  overrides.check(methods);
  const policy = new PolicyHolder(
    withHealthPolicy(
      compilePolicy(settings.authorization, {
        methods: applications,
        authentication: settings.authentication,
        logger,
      }),
    ),
  );
  const auditing = settings.audit === undefined ? undefined : audit({ ...settings.audit, logger });
  const lines = ownLogger === undefined ? undefined : logging({ logger: ownLogger });
  const chain = new Chain({
    layers: layersOf({
      settings,
      logging: lines,
      audit: auditing,
      policy,
      isApplications,
      overrides,
      behindMesh: false,
    }),
    recovery: recover,
    checkTimeoutMs: settings.deadline.checkTimeoutMs,
    logger,
    peerOf: peerOfCalls(undefined, settings.peer),
    maxReceiveMessageBytes: (method) => overrides.valueOf(method, "maxReceiveMessageBytes"),
  });
  warnOfShadow(logger, settings.enforce);
  chain.prepare(methods);
  logger.warn(
    { not_on_this_road: notOnThisRoad },
    "secureInterceptors: this server was made elsewhere; some protections hold only on createSecureServer",
  );
  return Object.assign([chain.attached({ certificateOf: peerCertificateOf, unprepared: "unknown" })], {
    close: async () => {
      lines?.flush();
      await auditing?.close();
      await closeAuthenticator(settings.authentication);
      await closeRateLimitStore(settings.rateLimit);
    },
  });
}

function methodsOf(service: ServiceDefinition): readonly MethodInfo[] {
  return Object.values(service).map(({ path, requestStream, responseStream }) =>
    methodInfo(path, kindOf(requestStream, responseStream), true),
  );
}
