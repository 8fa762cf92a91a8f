/**
 * Integrations: the whole chain, or single middleware, as plain grpc-js interceptors for a `grpc.Server` that
 * somebody else made.
 */
import type { ServerInterceptor } from "@grpc/grpc-js";
import { type Logger, pino } from "pino";
import { Chain } from "../chain/chain.ts";
import type { Middleware } from "../chain/middleware.ts";
import { parseOptions } from "../config/options.ts";
import { ConfigError } from "../grpc/errors.ts";
import { methodsOf } from "../grpc/method.ts";
import { audit } from "../middleware/audit/audit.ts";
import { closeAuthenticator } from "../middleware/authentication/authenticator.ts";
import { PolicyHolder } from "../middleware/authorization/authorization.ts";
import { deadline } from "../middleware/deadline/deadline.ts";
import { logging } from "../middleware/logging/logging.ts";
import { closeRateLimitStore } from "../middleware/rate-limit/rate-limit.ts";
import { recover } from "../middleware/recovery/recovery.ts";
import { peerCertificateOf } from "../tls/peer-certificate.ts";
import { compilePolicy } from "./application-policy.ts";
import { ChangingPolicy } from "./changing-policy.ts";
import { warnOfDryRun } from "./enforce.ts";
import { peerOfCalls } from "./forwarded-peer.ts";
import { isApplications, withHealthPolicy } from "./health-policy.ts";
import { MethodOverrides } from "./method-overrides.ts";
import { middlewareInOrder } from "./middleware-order.ts";
import { middlewareListSchema } from "./own-middleware.ts";
import { interceptorsSchema, type SecureInterceptorsOptions } from "./server-options.ts";
import { ValidatedMethods } from "./validated-methods.ts";

/**
 * Middleware as one interceptor for anybody's `grpc.Server`, for all four call kinds, with the guard round every handler
 * and safe errors. Give the middleware in the order in which they run. It must be the first of the server's
 * `interceptors`, or follow `secureInterceptors(…)`; another `toInterceptor(…)` may follow it, an interceptor of other code
 * only after those. The shortest `checkTimeoutMs` of them holds.
 *
 * What `secureInterceptors` cannot have on a server of others, this cannot have either. Failures of middleware are logged by
 * pino to standard output.
 *
 * @throws {ConfigError} for what is no middleware, and for two of one name.
 * @example
 * const server = new Server({
 *   interceptors: [toInterceptor(logging({ logger }), authentication(jwt({ … })))],
 * });
 */
export function toInterceptor(...middleware: readonly Middleware[]): ServerInterceptor {
  const parsed = parseOptions(middlewareListSchema, middleware, "toInterceptor");
  if (parsed.length === 0) throw new ConfigError("toInterceptor: expected at least one middleware");
  const chain = new Chain({
    // As it was handed in: a middleware may be an object with state.
    middleware,
    recovery: recover,
    checkTimeoutMs: checkTimeoutOf(middleware),
    logger: pino(),
  });
  return chain.attached({ certificateOf: peerCertificateOf, unprepared: "known" });
}

function checkTimeoutOf(middleware: readonly Middleware[]): number {
  for (const one of middleware) {
    const own: unknown = Reflect.get(one, "checkTimeoutMs");
    if (typeof own === "number") return own;
  }
  return deadline().checkTimeoutMs;
}

/** The interceptors for `new grpc.Server({ interceptors })`. */
export interface SecureInterceptors extends Array<ServerInterceptor> {
  /**
   * Flushes and closes the audit sinks, closes the authenticators and the rate limit store, and follows the policy no more: call
   * it when the server has shut down.
   */
  close(): Promise<void>;
}

/** What is said once at start: it holds on `createSecureServer` and not here. */
const notAvailable = [
  "unknown methods: grpc-js answers them, before authentication",
  "TLS, HTTP/2 and content-type refusals are not seen",
  "requests other than POST, and every content type that begins with application/grpc, are calls for grpc-js",
  "limits of HTTP/2 (streams, header size, connections) and message sizes: set them on your server",
  "grpc-timeout is read by grpc-js, which counts it in 32 bits",
  "messages are framed and decompressed by grpc-js, all that arrive at once; before 1.14.4 one malformed compressed message ends the process",
  "statuses of grpc-js (its limits, its deadline) have the text of grpc-js",
  "of two authorization headers grpc-js shows only the first",
  "a header field whose value begins or ends with white space is dropped by Node, a credential too",
  "a connection whose client certificate does not verify is kept, without an identity",
  "shutdown is the server's own",
];

/**
 * The whole chain as interceptors, for a `grpc.Server` that somebody else made: a framework, or code that cannot change.
 * The policy is checked here, against `services`. Put them first in the server's `interceptors`; with anything before
 * them, `toInterceptor(…)` too, every call is refused, and logged.
 *
 * Middleware, guard, safe errors, audit and the four call kinds are as on `createSecureServer`. What an interceptor cannot
 * have does not hold here, and a line in the log says so at start:
 * - calls of unknown methods, which grpc-js answers UNIMPLEMENTED to unauthenticated callers too, and whatever TLS, HTTP/2 or the
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
  const methods = methodsOf(...services);
  const applications = methods.filter(isApplications);
  const validated = new ValidatedMethods(settings.validation);
  validated.check(methods);
  const overrides = new MethodOverrides(settings);
  overrides.check(methods);
  const policy = new PolicyHolder();
  const changingPolicy = new ChangingPolicy({
    holder: policy,
    compile: (authorizer) =>
      withHealthPolicy(
        compilePolicy(authorizer, {
          methods: applications,
          authentication: settings.authentication,
          trustedActors: settings.trustedActors,
          logger,
        }),
      ),
    logger,
  });
  changingPolicy.use(settings.authorization);
  const auditing = settings.audit === undefined ? undefined : audit({ ...settings.audit, logger });
  const lines = ownLogger === undefined ? undefined : logging({ logger: ownLogger });
  const chain = new Chain({
    middleware: middlewareInOrder({
      settings,
      logging: lines,
      audit: auditing,
      policy,
      isApplications,
      overrides,
      validated,
      behindMesh: false,
    }),
    recovery: recover,
    checkTimeoutMs: settings.deadline.checkTimeoutMs,
    logger,
    peerOf: peerOfCalls(undefined, settings.peer),
    maxReceiveMessageBytes: (method) => overrides.valueOf(method, "maxReceiveMessageBytes"),
  });
  warnOfDryRun(logger, settings.enforce);
  chain.prepare(methods);
  logger.warn(
    { not_available: notAvailable },
    "secureInterceptors: these protections are not available on a server that other code made; createSecureServer has them",
  );
  return Object.assign([chain.attached({ certificateOf: peerCertificateOf, unprepared: "unknown" })], {
    close: async () => {
      changingPolicy.close();
      lines?.flush();
      await auditing?.close();
      await closeAuthenticator(settings.authentication);
      await closeRateLimitStore(settings.rateLimit);
    },
  });
}
