// API keys on calls: `x-api-key`.
import { ConfigError } from "../grpc/errors.ts";
import type { CredentialSource } from "./credential-source.ts";
import { secretProblem } from "./secret-text.ts";

/**
 * Sends an API key with every call, in `x-api-key`.
 *
 * @throws ConfigError where the key is empty or cannot be sent; the key itself is never shown
 * @example
 * createSecureClient(OrdersClient, "orders.internal:50051", { credentials: apiKeyCredentials(config.ordersKey) });
 */
export function apiKeyCredentials(key: string): CredentialSource {
  const problem = secretProblem(key);
  if (problem !== undefined) throw new ConfigError(`apiKeyCredentials: the key ${problem}`);
  const headers: Readonly<Record<string, string>> = { "x-api-key": key };
  return { name: "api-key", getCredentials: () => headers };
}
