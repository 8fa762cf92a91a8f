// The service behind the whole chain: what a user of the library writes.
import {
  type ApiKeyRecord,
  anyOf,
  apiKey,
  createSecureServer,
  type DeadlineOptions,
  jsonLinesSink,
  jwt,
  memoryApiKeyStore,
  rbac,
  type SecureServer,
  type SecureServerOptions,
} from "grpc-palisade";
import { serverTls } from "./certificates.ts";
import { ordersHandlers } from "./handlers.ts";
import { exampleOrders } from "./order-book.ts";
import { OrdersService } from "./service.ts";

export const audience = "orders";

/** How often one principal may call: little, so that a flood is soon over. */
export const callsPerMinute = 100;

/** Who may do what. `listen()` refuses to start where this and the registered methods do not agree. */
const policy = rbac({
  roles: {
    customer: { permissions: ["order:read", "order:write"] },
    admin: { inherits: ["customer"] },
  },
  rules: {
    "/orders.v1.Orders/Ping": "public",
    "/orders.v1.Orders/GetOrder": { permissions: ["order:read"] },
    "/orders.v1.Orders/ListOrders": { permissions: ["order:read"] },
    "/orders.v1.Orders/WatchOrders": { permissions: ["order:read"] },
    // An API key alone cannot write, whatever it was granted.
    "/orders.v1.Orders/UploadOrders": { permissions: ["order:write"], schemes: ["jwt"] },
    "/orders.v1.Orders/CancelOrder": { roles: ["admin"], schemes: ["jwt"] },
    "/orders.v1.Orders/*": "authenticated",
  },
});

export interface OrdersServerOptions {
  readonly issuer: { readonly issuer: string; readonly jwksUri: string };
  readonly apiKeys: readonly ApiKeyRecord[];
  readonly auditFile: string;
  readonly deadline?: DeadlineOptions;
  readonly logger?: SecureServerOptions["logger"];
}

export function createOrdersServer(options: OrdersServerOptions): SecureServer {
  const { issuer, apiKeys, auditFile, deadline, logger } = options;
  const server = createSecureServer({
    tls: serverTls,
    authentication: anyOf(
      jwt({ issuer: issuer.issuer, audience, jwksUri: issuer.jwksUri }),
      apiKey({ store: memoryApiKeyStore(apiKeys) }),
    ),
    authorization: policy,
    rateLimit: { perPrincipal: { points: callsPerMinute, durationSec: 60 } },
    deadline,
    audit: { sinks: [jsonLinesSink({ path: auditFile })] },
    ...(logger === undefined ? {} : { logger }),
  });
  server.addService(OrdersService, ordersHandlers(exampleOrders()));
  return server;
}
