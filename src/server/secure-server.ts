// createSecureServer: options become middleware, middleware a chain, the chain the only way into a grpc.Server.
import { isIP } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import type { Server, ServerOptions, ServiceDefinition, UntypedServiceImplementation } from "@grpc/grpc-js";
import { type Logger, pino } from "pino";
import { z } from "zod";
import { Chain } from "../chain/chain.ts";
import { checkHandlers } from "../chain/define-handlers.ts";
import { addressSet } from "../config/address-set.ts";
import { parseOptions } from "../config/options.ts";
import { maxTimerMs } from "../config/timer.ts";
import { ConfigError } from "../grpc/errors.ts";
import type { MethodInfo } from "../grpc/method.ts";
import { addressKey } from "../grpc/peer-key.ts";
import { type AuditMiddleware, audit } from "../middleware/audit/audit.ts";
import { LostCertificates } from "../middleware/authentication/authentication.ts";
import {
  closeAuthenticator,
  wantsWarmUp,
  warmUpAuthenticator,
} from "../middleware/authentication/authenticator.ts";
import { type AccessMatrix, accessMatrix, summaryOf } from "../middleware/authorization/access-matrix.ts";
import { PolicyHolder } from "../middleware/authorization/authorization.ts";
import type { Authorizer, Policy } from "../middleware/authorization/authorizer.ts";
import { type LoggingMiddleware, logging } from "../middleware/logging/logging.ts";
import { closeRateLimitStore } from "../middleware/rate-limit/rate-limit.ts";
import { recover } from "../middleware/recovery/recovery.ts";
import { describeError } from "../observability/error-description.ts";
import { peerCertificateOf } from "../tls/peer-certificate.ts";
import { ConnectionGate } from "../transport/connection-gate.ts";
import { PingPolicy } from "../transport/ping-policy.ts";
import { compilePolicy } from "./application-policy.ts";
import { ChangingPolicy } from "./changing-policy.ts";
import { warnOfDryRun } from "./enforce.ts";
import { FloodingAddresses } from "./flooding-addresses.ts";
import { peerOfCalls } from "./forwarded-peer.ts";
import { GuardedServer } from "./guarded-server.ts";
import { type Health, HealthService, healthDefinition } from "./health.ts";
import { isApplications, withHealthPolicy } from "./health-policy.ts";
import { HealthPorts } from "./health-ports.ts";
import { checkFree, isListenAddress } from "./listen-address.ts";
import { type ListeningPort, listeningPort } from "./listening-port.ts";
import { MethodOverrides } from "./method-overrides.ts";
import { middlewareInOrder } from "./middleware-order.ts";
import { tellOfDroppedFields } from "./padded-fields.ts";
import { Reflection } from "./reflection.ts";
import { type RefusedBelowReporter, refusedBelowReporter } from "./refused-below-reporter.ts";
import {
  authorizerSchema,
  type SecureServerOptions,
  type SecureServerSettings,
  serverSchema,
} from "./server-options.ts";
import { ValidatedMethods } from "./validated-methods.ts";

export interface ShutdownOptions {
  /** How long calls in flight may take to finish before they are cut, in milliseconds. Default: 10,000. */
  readonly graceMs?: number | undefined;
  /**
   * How long the server goes on as before once its health is NOT_SERVING, in milliseconds: it takes connections and calls.
   * What sends it calls needs that time to notice: Kubernetes removes a pod from its endpoints while the pod already
   * ends. `graceMs` begins afterwards. Default: 0.
   */
  readonly drainDelayMs?: number | undefined;
}

/** A gRPC server with the whole chain in front of its handlers. */
export interface SecureServer {
  /**
   * Registers a service. Every method of the definition needs a handler.
   * @throws {ConfigError} where one is missing (with the handler whose name is near), where the service is registered
   * already, or after `listen()`.
   */
  addService(definition: ServiceDefinition, handlers: UntypedServiceImplementation): void;
  /**
   * Checks the policy against the registered methods, then binds. `address` is `host:port` (port 0: any free one) or
   * `unix:path`; with several, all are bound and the first one is returned. Where one of them cannot be bound the server is
   * shut down, audit sinks and authenticators too: make a new one to try again.
   * @throws {PolicyError} with every problem, {ConfigError} where an address cannot be bound.
   */
  listen(address: string | readonly string[]): Promise<{ readonly port: number; readonly address: string }>;
  /**
   * NOT_SERVING; after `drainDelayMs` no new connections, calls in flight may finish for `graceMs`, then the rest is cut;
   * audit sinks are flushed and closed, the rate limit store and the authenticators are closed. Safe to call twice: the
   * options of the first call count.
   */
  shutdown(options?: ShutdownOptions): Promise<void>;
  /**
   * The policy in force, to read: every registered method, who may call it, under which conditions; as data, text,
   * Markdown or HTML.
   * @throws {ConfigError} before `listen()`, which is when the policy is checked against the methods.
   * @example
   * await writeFile("access.html", server.accessMatrix().toHtml());
   */
  accessMatrix(): AccessMatrix;
  /**
   * Puts another policy in the place of the one in force: checked whole, then swapped at once. No handler starts that the
   * new policy has not allowed, and no message of a stream of requests reaches a handler before it has: a call that the old
   * policy allowed, or is still deciding, is decided again by the new one, with its message where that reads messages. A
   * denial by the old policy stays. A stream that the new policy denies ends PERMISSION_DENIED with its next request message;
   * a handler that runs already and gets no further message goes on. A call without a credential is refused where its method
   * is not public any more. A call whose policy is replaced five times in a row while it is decided is UNAVAILABLE.
   *
   * Before `listen()` it takes the place of the `authorization` option.
   * @throws {PolicyError} where it does not fit the registered methods, {ConfigError} for what is no authorizer; the old
   * policy stays.
   */
  setAuthorization(authorizer: Authorizer): void;
  /** What the health service says. */
  readonly health: Health;
  /** The grpc-js server inside, for libraries that register services on one. It cannot be bound by hand. */
  readonly grpcServer: Server;
}

/**
 * A `grpc.Server` behind the whole chain: TLS, limits, authentication, authorization, audit, safe errors, for all four
 * call kinds.
 *
 * @throws {ConfigError} for options that are wrong, with the path of each.
 * @example
 * const server = createSecureServer({
 *   tls: { cert: "server.crt", key: "server.key", clientCa: "ca.crt" },
 *   authentication: jwt({ issuer: "https://id.example", audience: "orders", jwksUri: "https://id.example/jwks" }),
 *   authorization: allowAuthenticated(),
 * });
 * server.addService(OrdersService, handlers);
 * await server.listen("0.0.0.0:50051");
 */
export function createSecureServer(options: SecureServerOptions): SecureServer {
  return new PalisadeServer(parseOptions(serverSchema, options, ""));
}

/** How long calls in flight may go on. */
export const graceMsSchema: z.ZodDefault<z.ZodInt> = z.int().min(0).max(maxTimerMs).default(10_000);

/** How long calls are taken after health says NOT_SERVING. */
export const drainDelayMsSchema: z.ZodDefault<z.ZodInt> = z.int().min(0).max(maxTimerMs).default(0);

interface ShutdownSettings {
  readonly graceMs: number;
  readonly drainDelayMs: number;
}

/** The shape of `shutdown`'s options. */
export const shutdownSchema: z.ZodType<ShutdownSettings> = z.strictObject({
  graceMs: graceMsSchema,
  drainDelayMs: drainDelayMsSchema,
});

class PalisadeServer implements SecureServer {
  readonly #settings: SecureServerSettings;
  readonly #port: ListeningPort;
  readonly #logger: Logger;
  readonly #policy: PolicyHolder = new PolicyHolder();
  readonly #changingPolicy: ChangingPolicy;
  readonly #overrides: MethodOverrides;
  readonly #validated: ValidatedMethods;
  readonly #healthPorts: HealthPorts | undefined;
  #authorizer: Authorizer;
  readonly #logging: LoggingMiddleware | undefined;
  readonly #audit: AuditMiddleware | undefined;
  readonly #chain: Chain;
  readonly #server: GuardedServer;
  readonly #refusedBelow: RefusedBelowReporter;
  readonly #health: HealthService | undefined;
  readonly #reflection: Reflection | undefined;
  #listening = false;
  /** Under way or done; what is bound can be shut down only then. */
  #binding: Promise<number> | undefined = undefined;
  #stopWarmUp: () => void = () => {};
  #shutdown: Promise<void> | undefined = undefined;
  /** Why an address could not be bound. */
  #failure: string | undefined = undefined;

  constructor(settings: SecureServerSettings) {
    this.#settings = settings;
    this.#authorizer = settings.authorization;
    this.#overrides = new MethodOverrides(settings);
    this.#validated = new ValidatedMethods(settings.validation);
    this.#reflection = settings.reflection === false ? undefined : new Reflection(settings.reflection);
    const logger = settings.logger === false ? undefined : (settings.logger ?? pino());
    this.#port = listeningPort(settings.tls, { logger: logger ?? false, metrics: settings.metrics });
    this.#logger = logger ?? pino({ enabled: false });
    this.#logging = logger === undefined ? undefined : logging({ logger });
    this.#audit =
      settings.audit === undefined ? undefined : audit({ ...settings.audit, logger: this.#logger });
    const gate = connectionGate(settings, (address) => flooding?.refuse(address));
    const flooding = floodingAddresses(settings, gate);
    const lostCertificates = settings.tls.plaintext === undefined ? new LostCertificates() : undefined;
    this.#changingPolicy = new ChangingPolicy({
      holder: this.#policy,
      compile: (authorizer) => this.#compile(authorizer),
      logger: this.#logger,
    });
    this.#chain = new Chain({
      middleware: middlewareInOrder({
        settings,
        logging: this.#logging,
        audit: this.#audit,
        flooding: flooding?.middleware,
        policy: this.#policy,
        isApplications: (method) => this.#isApplications(method),
        overrides: this.#overrides,
        validated: this.#validated,
        behindMesh: settings.tls.plaintext === "mesh",
        lostCertificates,
      }),
      recovery: recover,
      checkTimeoutMs: settings.deadline.checkTimeoutMs,
      logger: this.#logger,
      peerOf: peerOfCalls(this.#port.peerOf, settings.peer),
      maxReceiveMessageBytes: (method) => this.#overrides.valueOf(method, "maxReceiveMessageBytes"),
    });
    this.#refusedBelow = refusedBelowReporter(logger, { metrics: settings.metrics });
    const onRefusedBelow = this.#refusedBelow.report;
    const { limits } = settings;
    this.#server = new GuardedServer({
      maxConcurrentStreams: limits.maxConcurrentStreams,
      maxMetadataBytes: limits.maxMetadataBytes,
      maxReceivedBytes: /* protection: message-size */ limits.maxReceiveMessageBytes,
      maxSentBytes: limits.maxSendMessageBytes,
      grpcOptions: grpcOptions(settings),
      connections: {
        gate,
        pings: new PingPolicy({ minIntervalMs: limits.minPingIntervalMs }),
        certificateOf: peerCertificateOf,
        refuse: this.#port.refuse,
        refuseOpen: this.#port.refuseOpen,
        callsOutliveCertificates: settings.callsOutliveCredentials,
        onCertificateLost: (certificate) => lostCertificates?.tell(certificate),
        onRefusedBelow,
      },
      secure: (call, { path }) => this.#chain.secure(call, path),
      onRefused: (path, error) => this.#chain.reportRefused(path, error),
    });
    this.#port.onChange(() => {
      this.#server.connections.recheck().catch((error: unknown) => {
        this.#logger.error({ err: describeError(error) }, "open connections could not be looked at again");
      });
    });
    this.#health = settings.health === false ? undefined : new HealthService(settings.health);
    if (this.#health !== undefined) this.#server.addService(healthDefinition, { ...this.#health.handlers });
    this.#healthPorts =
      this.#health === undefined || settings.health === false
        ? undefined
        : new HealthPorts({
            settings: settings.health,
            health: this.#health,
            logger: this.#logger,
            onRefusedBelow,
          });
  }

  get grpcServer(): Server {
    return this.#server;
  }

  get health(): Health {
    if (this.#health !== undefined) return this.#health;
    throw new ConfigError("health: the health service is disabled (health: false), so no status can be set");
  }

  /** For whoever comes from grpc-js. Not in the interface: TypeScript says the same. */
  bindAsync(): never {
    throw new ConfigError(
      "bindAsync: use await server.listen(address), which takes its TLS from the option tls",
    );
  }

  addService(definition: ServiceDefinition, handlers: UntypedServiceImplementation): void {
    if (this.#listening)
      throw new ConfigError(
        "addService: called after listen(); add services before listen(), so that the policy is checked against them",
      );
    checkHandlers(definition, handlers);
    const taken = this.#server.registered(definition);
    if (taken !== undefined)
      throw new ConfigError(`${taken}: is already registered; call addService once for each service`);
    this.#server.addService(definition, handlers);
  }

  accessMatrix(): AccessMatrix {
    if (this.#listening) return accessMatrix(this.#server.methods, this.#policy);
    throw new ConfigError(
      "accessMatrix: called before listen(); call it afterwards, when the policy has been checked against the methods",
    );
  }

  async listen(
    address: string | readonly string[],
  ): Promise<{ readonly port: number; readonly address: string }> {
    const [first, ...others] =
      typeof address === "string" ? [address] : Array.isArray(address) ? address : [];
    if (first === undefined) throw new ConfigError('listen: expected an address such as "0.0.0.0:50051"');
    const wrong = [first, ...others].filter((each) => !isListenAddress(each));
    if (wrong.length > 0) {
      throw new ConfigError(
        wrong.map(
          (each) =>
            `listen: "${each}" is not an address with a port; expected host:port, [ipv6]:port or unix:path, with the port`,
        ),
      );
    }
    const forbidden = [first, ...others].filter((each) => !this.#port.mayListen(each));
    if (forbidden.length > 0) throw new ConfigError(forbidden.map(notLoopback));
    if (this.#failure !== undefined)
      throw new ConfigError(
        `listen: this server failed to listen before, and is closed; make a new one (before: ${this.#failure})`,
      );
    if (this.#shutdown !== undefined)
      throw new ConfigError("listen: this server was shut down; make a new one");
    if (this.#listening)
      throw new ConfigError("listen: this server already listens; give all addresses in one call");
    this.#reflection?.addTo(this.#server, this.#logger);
    const methods = this.#server.methods;
    this.#validated.check(methods);
    this.#overrides.check(methods);
    this.#changingPolicy.use(this.#authorizer);
    this.#chain.prepare(methods);
    warnOfDryRun(this.#logger, this.#settings.enforce);
    this.#listening = true;
    this.#server.seal();
    this.#logger.info({ access: summaryOf(this.accessMatrix()) }, "access policy");
    tellOfDroppedFields(this.#logger, process.version);
    this.#binding = this.#bindAll([first, ...others]);
    const port = await this.#binding.catch(async (error: unknown) => {
      await this.#giveUp(error);
      throw error;
    });
    this.#health?.serve(
      new Set(methods.filter((method) => this.#isApplications(method)).map(({ service }) => service)),
    );
    const bound = first.startsWith("unix:") ? first : first.replace(/:\d+$/, `:${port}`);
    this.#logger.info(
      {
        addresses: [bound, ...others],
        transport: this.#port.description,
        services: methods.length === 0 ? [] : [...new Set(methods.map(({ service }) => service))],
        methods: methods.length,
        callers: this.#settings.authentication.name,
      },
      "listening",
    );
    return { port, address: bound };
  }

  async #bindAll(addresses: readonly string[]): Promise<number> {
    await this.#warmUp();
    await this.#healthPorts?.open();
    let first: number | undefined;
    for (const address of addresses) {
      const port = await this.#bind(address);
      first ??= port;
    }
    return first ?? 0;
  }

  /** A shutdown that comes meanwhile ends it, however long it takes, and no port is opened. */
  async #warmUp(): Promise<void> {
    const { authentication } = this.#settings;
    if (!wantsWarmUp(authentication)) return;
    const stopped = new Promise<void>((resolve) => {
      this.#stopWarmUp = resolve;
    });
    await Promise.race([warmUpAuthenticator(authentication, this.#logger), stopped]);
    if (this.#shutdown !== undefined)
      throw new ConfigError("listen: the server was shut down before it listened");
  }

  /** What is open is closed, and nothing of grpc-js can be bound again. */
  async #giveUp(error: unknown): Promise<void> {
    this.#failure = error instanceof Error ? error.message : String(error);
    this.#server.forceShutdown();
    await this.shutdown({ graceMs: 0 });
  }

  #compile(authorizer: Authorizer): Policy {
    const methods = this.#server.methods.filter((method) => this.#isApplications(method));
    const policy = compilePolicy(authorizer, {
      methods,
      authentication: this.#settings.authentication,
      trustedActors: this.#settings.trustedActors,
      logger: this.#logger,
    });
    return withHealthPolicy(this.#reflection?.withPolicy(policy) ?? policy);
  }

  /** The policy speaks of the application's methods; health and reflection bring rules of their own. */
  #isApplications(method: MethodInfo): boolean {
    return isApplications(method) && this.#reflection?.isOwn(method) !== true;
  }

  setAuthorization(authorizer: Authorizer): void {
    const checked = parseOptions(authorizerSchema, authorizer, "setAuthorization");
    if (this.#listening) this.#changingPolicy.use(checked);
    this.#authorizer = checked;
    this.#logger.info({ authorizer: checked.name }, "the authorization policy was replaced");
  }

  async #bind(address: string): Promise<number> {
    try {
      await checkFree(address);
      const port = await this.#server.bindChecked(address, this.#port.credentials);
      // A name may resolve to anything.
      const bound = this.#server.connections.boundAddresses().filter((each) => !this.#port.mayBeBound(each));
      if (bound.length > 0) throw new ConfigError(bound.map(notLoopback));
      return port;
    } catch (cause) {
      if (cause instanceof ConfigError) throw cause;
      throw new ConfigError(
        `listen: cannot bind ${address}: ${cause instanceof Error ? cause.message : String(cause)}; ` +
          "is the address this machine's, and the port free?",
        { cause },
      );
    }
  }

  async shutdown(options: ShutdownOptions = {}): Promise<void> {
    const settings = parseOptions(shutdownSchema, options, "shutdown");
    this.#shutdown ??= this.#shutDown(settings);
    await this.#shutdown;
  }

  async #shutDown({ graceMs, drainDelayMs }: ShutdownSettings): Promise<void> {
    this.#server.seal();
    this.#stopWarmUp();
    this.#health?.close();
    // A shutdown may come while listen() is at work (SIGTERM at start): its failure is listen()'s to tell.
    const isBound = await this.#binding?.then(
      () => true,
      () => false,
    );
    if (isBound === true && drainDelayMs > 0) await delay(drainDelayMs);
    await this.#drain(graceMs);
    this.#changingPolicy.close();
    // Until here a certificate that is revoked ends its calls.
    this.#closePort();
    await this.#healthPorts?.close();
    this.#refusedBelow.close();
    this.#logging?.flush();
    await this.#audit?.close();
    await closeAuthenticator(this.#settings.authentication).catch((error: unknown) =>
      this.#logger.warn({ err: describeError(error) }, "shutdown: an authenticator could not be closed"),
    );
    await closeRateLimitStore(this.#settings.rateLimit).catch((error: unknown) =>
      this.#logger.warn({ err: describeError(error) }, "shutdown: the rate limit store could not be closed"),
    );
  }

  #closePort(): void {
    try {
      this.#port.close();
    } catch (error) {
      this.#logger.warn({ err: describeError(error) }, "shutdown: tls.crl could not be closed");
    }
  }

  #drain(graceMs: number): Promise<void> {
    return new Promise((resolve) => {
      const force = setTimeout(() => {
        this.#logger.warn({ graceMs }, "shutdown: calls were still open after graceMs, and were ended");
        this.#chain.cutCalls();
        void this.#server.connections.destroyAll().then(resolve);
      }, graceMs);
      this.#server.tryShutdown(() => {
        clearTimeout(force);
        resolve();
      });
    });
  }
}

function notLoopback(address: string): string {
  return (
    `listen: with tls.plaintext "loopback" only this machine may connect, so ${address} cannot be bound; ` +
    "use localhost, 127.0.0.1, [::1] or unix:path, or use TLS"
  );
}

/** Everybody who came through a balancer or a sidecar has its address: such an address is not limited by itself. */
function ownAddressKey({ peer, tls }: SecureServerSettings): (address: string) => string | undefined {
  const proxies = addressSet(peer?.trustedProxies ?? []);
  const isShared = (address: string): boolean =>
    tls.plaintext === "mesh" || isIP(address) === 0 || proxies.has(address);
  return (address) => (isShared(address) ? undefined : addressKey(address));
}

function connectionGate(
  settings: SecureServerSettings,
  refuseAddress: (address: string) => string | undefined,
): ConnectionGate {
  const { maxConnections, maxConnectionsPerPeer, handshakeTimeoutMs } = settings.limits;
  return new ConnectionGate({
    maxConnections,
    maxConnectionsPerPeer,
    handshakeTimeoutMs,
    keyOf: ownAddressKey(settings),
    refuseAddress,
  });
}

/** Undefined where no address is refused for what its callers do. */
function floodingAddresses(
  settings: SecureServerSettings,
  gate: ConnectionGate,
): FloodingAddresses | undefined {
  const { perPeer } = settings.rateLimit;
  if (perPeer === false || settings.tls.plaintext !== undefined) return undefined;
  return new FloodingAddresses({
    limit: perPeer,
    keyOf: ownAddressKey(settings),
    endConnection: (peer, detail) => gate.end(peer, detail),
  });
}

function grpcOptions({ limits, channelOptions }: SecureServerSettings): ServerOptions {
  return {
    ...channelOptions,
    "grpc.max_connection_idle_ms": limits.maxConnectionIdleMs,
    ...(limits.maxConnectionAgeMs === undefined
      ? {}
      : { "grpc.max_connection_age_ms": limits.maxConnectionAgeMs }),
  };
}
