// clientCredentials: a service calls another as itself (RFC 6749 section 4.4).
import { z } from "zod";
import type { CredentialSource } from "../client/credential-source.ts";
import { tokenSource } from "../client/token-source.ts";
import { parseOptions } from "../config/options.ts";
import {
  endpointShape,
  type TokenEndpointOptions,
  type TokenEndpointSettings,
  tokenEndpoint,
} from "./token-endpoint.ts";

export interface ClientCredentialsOptions extends TokenEndpointOptions {}

export const clientCredentialsSchema: z.ZodType<TokenEndpointSettings> = z.strictObject(endpointShape);

/**
 * Sends an access token that this client gets for itself with its own credentials. It is fetched with the first call, once for
 * all calls that wait, renewed at 80 percent of its life, and sent until 30 seconds before it expires. Without
 * `expires_in` it is renewed within five minutes.
 *
 * While the server does not give one, calls end UNAVAILABLE, and the next request waits for 1 s, then longer, up to 2 minutes or
 * what `Retry-After` says, within that. Why is told by the error and the log, without anything that the server wrote.
 *
 * @throws ConfigError where an option is wrong or oauth4webapi is not installed; secrets and keys are never shown
 * @example
 * clientCredentials({
 *   issuer: "https://id.example",
 *   client: { id: "billing", secret: process.env.CLIENT_SECRET },
 *   audience: "orders",
 * });
 */
export function clientCredentials(options: ClientCredentialsOptions): CredentialSource {
  const where = "clientCredentials";
  const settings = parseOptions(clientCredentialsSchema, options, where);
  const request = tokenEndpoint(where, settings);
  const { timeoutMs, logger } = settings;
  return tokenSource({ name: "client-credentials", timeoutMs, logger }, (signal) =>
    request({ grantType: "client_credentials", parameters: {}, signal }),
  );
}
