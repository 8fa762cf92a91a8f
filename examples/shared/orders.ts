// What the small examples share: a service with its handlers as they are without Palisade, two callers, and what they ask.
import { fileURLToPath } from "node:url";
import {
  type ChannelCredentials,
  type Client,
  type ClientOptions,
  type ClientUnaryCall,
  loadPackageDefinition,
  type requestCallback,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import {
  type ApiKeyStore,
  apiKeyCredentials,
  createSecureClient,
  issueApiKey,
  memoryApiKeyStore,
  type RbacAuthorizer,
  rbac,
  requirePrincipal,
} from "grpc-palisade";
import type { CertificatePaths } from "./certificates.ts";

export interface ById {
  readonly id: string;
}

export interface Order {
  readonly id: string;
  readonly owner: string;
}

type Unary = (request: ById, callback: requestCallback<Order>) => ClientUnaryCall;

interface OrdersClient extends Client {
  readonly getOrder: Unary;
  readonly cancelOrder: Unary;
}

interface LoadedService {
  new (address: string, credentials: ChannelCredentials, options?: ClientOptions): OrdersClient;
  readonly service: ServiceDefinition;
}

const proto = fileURLToPath(new URL("orders.proto", import.meta.url));
// What proto-loader returns has no types of its own.
const loaded = loadPackageDefinition(loadSync(proto)) as unknown as {
  readonly orders: { readonly v1: { readonly Orders: LoadedService } };
};

const { Orders } = loaded.orders.v1;
export const OrdersService: ServiceDefinition = Orders.service;

const answer = (call: { readonly request: ById }): Order => ({
  id: call.request.id,
  owner: requirePrincipal(call).subject,
});

/** Plain grpc-js handlers. */
export const handlers: UntypedServiceImplementation = {
  getOrder: (call: { readonly request: ById }, callback: requestCallback<Order>) =>
    callback(null, answer(call)),
  cancelOrder: (call: { readonly request: ById }, callback: requestCallback<Order>) =>
    callback(null, answer(call)),
};

/** A viewer may read; nobody here may cancel. */
export const policy: RbacAuthorizer = rbac({
  roles: { viewer: { permissions: ["order:read"] }, admin: { permissions: ["*"] } },
  rules: {
    "/orders.v1.Orders/GetOrder": { permissions: ["order:read"] },
    "/orders.v1.Orders/CancelOrder": { roles: ["admin"] },
  },
});

const shop = issueApiKey({ owner: "shop", roles: ["viewer"] });
export const keys: ApiKeyStore = memoryApiKeyStore([shop.record]);

/** Calls as the shop and as a stranger, and prints what they are told. */
export async function callAll(port: number, tls: CertificatePaths["clientTls"]): Promise<void> {
  const target = `localhost:${port}`;
  const viewer = createSecureClient(Orders, target, { tls, credentials: apiKeyCredentials(shop.key) });
  const stranger = createSecureClient(Orders, target, { tls });
  await print("shop reads", (done) => viewer.getOrder({ id: "7" }, done));
  await print("shop cancels", (done) => viewer.cancelOrder({ id: "7" }, done));
  await print("a stranger reads", (done) => stranger.getOrder({ id: "7" }, done));
  viewer.close();
  stranger.close();
}

function print(what: string, call: (done: requestCallback<Order>) => void): Promise<void> {
  return new Promise((settle) => {
    call((error, order) => {
      console.log(`${what}:`, error?.message ?? order);
      settle();
    });
  });
}
