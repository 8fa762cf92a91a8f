// Channel credentials that carry call credentials, for clients that other code makes.
import type { ChannelCredentials } from "@grpc/grpc-js";
import { ConfigError } from "../grpc/errors.ts";
import { type ClientTlsFiles, clientCredentials } from "../tls/client-credentials.ts";
import { checkChannelCredentials } from "../transport/grpc-js.ts";
import { callCredentials } from "./call-credentials.ts";
import { credentialFailures, type OnCredentialFailure } from "./credential-failures.ts";
import { type CredentialSource, isCredentialSource } from "./credential-source.ts";
import { ForwardIdentity } from "./forward-identity.ts";

/**
 * TLS channel credentials with the credentials of `sources` on every call, for a client that you make yourself.
 * Plaintext cannot be asked for. What `createSecureClient` adds beyond that is missing: the default deadline, a second
 * attempt with renewed credentials, `forwardIdentity()`, and a `logger`; why a source failed becomes a process warning.
 *
 * @throws ConfigError where an option is wrong; `tls.serverName` among them, because channel credentials cannot carry it
 * @example
 * new OrdersClient("orders.internal:50051", compositeCredentials({ ca: "ca.crt" }, bearerToken({ file: "token" })));
 */
export function compositeCredentials(
  tls: ClientTlsFiles,
  ...sources: CredentialSource[]
): ChannelCredentials {
  checkChannelCredentials();
  if (typeof tls !== "object" || tls === null)
    throw new ConfigError("tls: expected an object; {} means the system's roots");
  if (isCredentialSource(tls))
    throw new ConfigError("tls: must be the first argument, before the sources; {} means the system's roots");
  if ("plaintext" in tls)
    throw new ConfigError("tls.plaintext: credentials are not sent without encryption; use TLS");
  if (tls.serverName !== undefined) {
    throw new ConfigError(
      "tls.serverName: channel credentials cannot carry it; use createSecureClient, or give the client " +
        'the channel option "grpc.ssl_target_name_override"',
    );
  }
  for (const [index, source] of sources.entries()) {
    if (!isCredentialSource(source)) {
      throw new ConfigError(`sources.${index}: expected a credential source, such as bearerToken(…)`);
    }
    if (source instanceof ForwardIdentity) {
      throw new ConfigError(
        `sources.${index}: forwardIdentity() works in createSecureClient alone: channel credentials cannot see which call is being handled`,
      );
    }
  }
  return withSources(clientCredentials(tls), sources, credentialFailures(undefined));
}

/** `channel` must be encrypted: grpc-js throws where it is not. */
export function withSources(
  channel: ChannelCredentials,
  sources: readonly CredentialSource[],
  onFailure: OnCredentialFailure,
): ChannelCredentials {
  if (sources.length === 0) return channel;
  return channel.compose(callCredentials(sources, onFailure));
}
