// createSecureClient: a client whose channel is encrypted, whose calls carry credentials and always end.
import { Channel, type ChannelCredentials, type ChannelOptions, type ClientOptions } from "@grpc/grpc-js";
import type { Logger } from "pino";
import { z } from "zod";
import { currentCall } from "../chain/current-context.ts";
import { loggerSchema } from "../config/logger-option.ts";
import { parseOptions } from "../config/options.ts";
import { ConfigError } from "../grpc/errors.ts";
import { type CertificateReporting, sayWarning } from "../tls/certificate-reporting.ts";
import { type ClientTlsOptions, clientChannelOptions, clientCredentials } from "../tls/client-credentials.ts";
import { ReloadingCredentials } from "../tls/reloading-credentials.ts";
import { checkChannelCredentials } from "../transport/grpc-js.ts";
import { callCredentials } from "./call-credentials.ts";
import { type ChannelCall, ContextKeepingCall } from "./channel-call.ts";
import {
  type ClientChannelOptions,
  type ClientChannelSettings,
  clientChannelOptionsSchema,
} from "./client-channel-options.ts";
import { clientMetrics } from "./client-metrics.ts";
import { clientTracing } from "./client-tracing.ts";
import { credentialFailures, type OnCredentialFailure } from "./credential-failures.ts";
import { type CredentialSource, isCredentialSource } from "./credential-source.ts";
import { CredentialedCall } from "./credentialed-call.ts";
import { defaultDeadline } from "./default-deadline.ts";
import { ForwardIdentity } from "./forward-identity.ts";
import { forwards, identityForwarding } from "./identity-forwarding.ts";
import { PlaintextChannel } from "./plaintext-channel.ts";
import { RenewableCall, type Renewals, renewalsOf } from "./renewal.ts";
import { type RetryOptions, type RetrySettings, retryChannelOptions, retrySchema } from "./retry.ts";

export interface SecureClientOptions {
  /**
   * How the connection is encrypted and the server verified; or `{ plaintext: "loopback" }` for this machine, or
   * `{ plaintext: "mesh" }` where a sidecar encrypts what goes to this target. Left out, it is TLS all the same.
   */
  readonly tls?: ClientTlsOptions | undefined;
  /**
   * What puts the caller's credentials on each call. They only ever go over TLS. A call that a server refuses with
   * UNAUTHENTICATED `expired credentials` before it was handled is made once more with renewed ones, where a source can renew
   * them and all that was sent can be sent again. Default: none.
   */
  readonly credentials?: CredentialSource | readonly CredentialSource[] | undefined;
  /**
   * When a call ends that brings no deadline of its own, in milliseconds from its start, 1 to 2,147,483,647; streams
   * too. A call's own `deadline` wins, and `Infinity` is one. Default: 5,000.
   */
  readonly deadlineMs?: number | undefined;
  /**
   * Make calls again that failed, by grpc-js's own retries (gRFC A6): within the call's deadline, only where nothing was
   * answered yet, and as the server's `grpc-retry-pushback-ms` says. `retry-after` and `google.rpc.RetryInfo` are not read. A
   * call that was lost on its way may have been handled: for methods that may run twice. `{}`: 3 attempts on UNAVAILABLE.
   * Default: `false`.
   */
  readonly retry?: RetryOptions | false | undefined;
  /**
   * A client span for each call, whose trace context is sent with it, so that the called service joins the trace (W3C
   * `traceparent` and `tracestate`, through the OpenTelemetry API). It tells the target a trace id, and nothing else: baggage
   * is not sent. `false` for a target outside of your organization. Nothing is done where no OpenTelemetry SDK is
   * registered. Default: true.
   */
  readonly tracing?: boolean | undefined;
  /**
   * Measure calls through the OpenTelemetry API: `grpc.client.call.duration` (gRFC A66), and the client's certificate
   * (`palisade.certificate.days_left`, `palisade.certificate.reloads`). Nothing is done where no OpenTelemetry SDK is
   * registered. Default: true.
   */
  readonly metrics?: boolean | undefined;
  /**
   * A pino logger for what happens to the channel (certificates that change or end, credential sources that fail), or
   * `false` for none. Default: process warnings (`PalisadeWarning`) of problems.
   */
  readonly logger?: Logger | false | undefined;
  /**
   * grpc-js options that no option above covers. A service config in DNS (retries, hedging, timeouts), which nobody authenticates,
   * is read only with `"grpc.service_config_disable_resolution": 0`, and not beside `retry`. Default: none.
   */
  readonly channelOptions?: ClientChannelOptions | undefined;
}

/** What a generated or loaded grpc-js client class is, as far as it matters here. */
export type SecureClientConstructor<C> = new (
  address: string,
  credentials: ChannelCredentials,
  options?: ClientOptions,
) => C;

/** What every grpc-js client can do, as far as it matters here. */
export interface GrpcClient {
  getChannel(): unknown;
  close(): void;
}

interface SecureClientSettings {
  readonly tls: ClientTlsOptions;
  readonly credentials: readonly CredentialSource[];
  readonly deadlineMs: number;
  readonly retry: RetrySettings | false;
  readonly tracing: boolean;
  readonly metrics: boolean;
  readonly logger?: Logger | false | undefined;
  readonly channelOptions: ClientChannelSettings;
}

/** The shape of the client's options; the only place where their defaults stand. */
export const clientSchema: z.ZodType<SecureClientSettings> = z.strictObject({
  // Checked in whole by the functions of src/tls, which also read the files it names.
  tls: z
    .custom<ClientTlsOptions>((value) => typeof value === "object" && value !== null, {
      error: "expected an object",
    })
    .default({}),
  credentials: z
    .custom<CredentialSource | readonly CredentialSource[]>(
      (value) => (Array.isArray(value) ? value.every(isCredentialSource) : isCredentialSource(value)),
      { error: "expected a credential source, such as bearerToken(…), or a list of them" },
    )
    .transform((value) => (isCredentialSource(value) ? [value] : value))
    .refine((sources) => sources.filter((source) => source instanceof ForwardIdentity).length < 2, {
      error: "forwardIdentity() is given twice; remove one",
    })
    .default([]),
  deadlineMs: z.number().int().min(1).max(2_147_483_647).default(5_000),
  retry: retrySchema,
  tracing: z.boolean().default(true),
  metrics: z.boolean().default(true),
  logger: z.union([loggerSchema, z.literal(false)]).optional(),
  channelOptions: clientChannelOptionsSchema.default({}),
});

const targetSchema = z
  .string()
  .regex(/^[\x21-\x7e]+$/, { error: 'expected host and port, as in "orders.internal:50051"' })
  .refine((target) => !/^https?:/i.test(target), {
    error: 'a gRPC target has no http:// prefix; expected host and port, as in "orders.internal:50051"',
  });

/**
 * Makes a client of `ClientConstructor`, a class that a generator made or that `loadPackageDefinition` loaded.
 *
 * - The server's certificate chain and host name are always verified; nothing turns that off, `NODE_TLS_REJECT_UNAUTHORIZED`
 *   neither. With `{ plaintext: "loopback" }` the target must be this machine.
 * - Credentials go over TLS alone, or to a target that `{ plaintext: "mesh" }` names, with a warning. On a `"loopback"`
 *   channel, `credentials` is an error here; a call that brings call
 *   credentials, or metadata that carries them (`authorization`, `proxy-authorization`, `x-api-key`, `cookie`), ends
 *   UNAUTHENTICATED before a byte is sent, whoever added them: the caller, an interceptor, a transformer.
 * - Every call has a deadline.
 *
 * grpc-js reaches TLS targets through the proxy that `grpc_proxy`, `https_proxy` or `http_proxy` names, unless
 * `no_grpc_proxy` or `no_proxy` names the target: the proxy learns host and port, TLS ends at the server.
 * `channelOptions: { "grpc.enable_http_proxy": 0 }` turns it off. Plaintext never goes to a proxy.
 *
 * @param target host and port, or any other name that grpc-js resolves: `dns:///orders.internal:50051`, `unix:/run/orders`
 * @throws ConfigError with the path of each option that is wrong
 * @example
 * const orders = createSecureClient(OrdersClient, "orders.internal:50051", {
 *   tls: { ca: "certs/ca.crt" },
 *   credentials: bearerToken({ file: "/var/run/secrets/tokens/orders" }),
 * });
 */
export function createSecureClient<C extends GrpcClient>(
  ClientConstructor: SecureClientConstructor<C>,
  target: string,
  options: SecureClientOptions = {},
): C {
  checkChannelCredentials();
  if (typeof ClientConstructor !== "function")
    throw new ConfigError(
      "ClientConstructor: expected the class of a client, such as Orders of loadPackageDefinition(…) or a generated " +
        "OrdersClient; Orders.service, the definition, is for addService",
    );
  parseOptions(targetSchema, target, "target");
  const settings = parseOptions(clientSchema, options, "");
  const { tls, deadlineMs, tracing, metrics, channelOptions } = settings;
  const { interceptors, interceptor_providers, callInvocationTransformer, ...own } = channelOptions;

  const reporting = { logger: settings.logger, metrics };
  const channelCredentials = clientCredentials(tls, target, reporting);
  // Channelz keeps a history of every channel, which nobody reads who did not ask for it.
  const merged = {
    "grpc.enable_channelz": 0,
    ...own,
    ...retryChannelOptions(settings.retry, own),
    ...clientChannelOptions(tls),
  };
  const sources = settings.credentials;
  const onFailure = credentialFailures(settings.logger);
  const isForwarding = forwards(sources);
  const channel = channelFor({
    target,
    tls,
    channelCredentials,
    options: merged,
    sources,
    // What is forwarded is each call's own, and what goes with it is checked together with it.
    channelSources: isForwarding ? [] : sources,
    onFailure,
    renewals: renewalsOf(sources, { target, logger: settings.logger, metrics, onFailure }),
    asked: own,
  });
  if ("plaintext" in tls && tls.plaintext === "mesh") warnOfMesh(target, reporting);

  const withDeadline = defaultDeadline(deadlineMs, callInvocationTransformer);
  const forwarding = isForwarding
    ? identityForwarding({ channel, sources, onFailure }, withDeadline)
    : withDeadline;
  const traced = tracing ? clientTracing(forwarding) : forwarding;
  const client = new ClientConstructor(target, channelCredentials, {
    ...merged,
    ...(interceptors === undefined ? {} : { interceptors }),
    ...(interceptor_providers === undefined ? {} : { interceptor_providers }),
    callInvocationTransformer: metrics ? clientMetrics(target, traced) : traced,
    channelOverride: channel,
  });
  if (client.getChannel() !== channel) {
    client.close();
    channel.close();
    throw new ConfigError(
      "ClientConstructor: does not pass its options on to grpc-js, so that its calls cannot be secured; " +
        "expected the class of a generated or loaded client",
    );
  }
  return client;
}

interface ChannelParts {
  readonly target: string;
  readonly tls: ClientTlsOptions;
  readonly channelCredentials: ChannelCredentials;
  readonly options: ChannelOptions;
  readonly sources: readonly CredentialSource[];
  /** Those whose credentials every call of the channel brings. */
  readonly channelSources: readonly CredentialSource[];
  readonly onFailure: OnCredentialFailure;
  readonly renewals: Renewals | undefined;
  readonly asked: ClientChannelSettings;
}

function channelFor(parts: ChannelParts): Channel {
  const { target, tls, options, sources, asked } = parts;
  if (!("plaintext" in tls)) return new SecuredChannel(parts);
  refuseProxy(asked);
  if (tls.plaintext === "mesh") return new SecuredChannel(parts);
  return plaintextChannel(target, options, sources);
}

/** The targets that were warned about: chosen by the program, and bounded all the same. */
const warnedMeshes: Set<string> = new Set();

function warnOfMesh(target: string, reporting: CertificateReporting): void {
  if (warnedMeshes.has(target) || warnedMeshes.size >= 1_000) return;
  warnedMeshes.add(target);
  const message =
    'tls.plaintext is "mesh": credentials leave this process unencrypted, for a sidecar to encrypt';
  sayWarning(reporting, { target }, message, target);
}

/** A channel over TLS, or to a mesh: its certificate files are watched no longer than it is open. */
class SecuredChannel extends Channel {
  readonly #tls: ChannelCredentials;
  readonly #sources: readonly CredentialSource[];
  readonly #onFailure: OnCredentialFailure;
  readonly #renewals: Renewals | undefined;

  constructor(parts: ChannelParts) {
    const { target, channelCredentials, channelSources, onFailure, options, renewals } = parts;
    super(target, channelCredentials, options);
    this.#sources = channelSources;
    this.#onFailure = onFailure;
    this.#tls = channelCredentials;
    this.#renewals = renewals;
  }

  override createCall(...call: Parameters<Channel["createCall"]>): ChannelCall {
    // Now: a second attempt is made in the context of the first one's answer.
    const caller = currentCall();
    const sources = this.#sources;
    const create = (): ChannelCall => {
      const created = super.createCall(...call);
      if (sources.length === 0) return created;
      return new CredentialedCall(created, callCredentials(sources, this.#onFailure, caller));
    };
    return new ContextKeepingCall(
      this.#renewals === undefined ? create() : new RenewableCall(create, this.#renewals),
    );
  }

  override close(): void {
    super.close();
    if (this.#tls instanceof ReloadingCredentials) this.#tls.stopWatching();
  }
}

function refuseProxy(asked: ClientChannelSettings): void {
  if (asked["grpc.enable_http_proxy"] !== 1) return;
  throw new ConfigError(
    "channelOptions.grpc.enable_http_proxy: plaintext is not sent to a proxy; remove this option",
  );
}

function plaintextChannel(
  target: string,
  options: ChannelOptions,
  sources: readonly CredentialSource[],
): PlaintextChannel {
  if (sources.length > 0) {
    throw new ConfigError("credentials: not sent without encryption; use TLS, or remove them");
  }
  return new PlaintextChannel(target, options);
}
