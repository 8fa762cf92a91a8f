// What the .proto files say, for TypeScript: the service's definition, its messages, and clients.
import { fileURLToPath } from "node:url";
import {
  type CallOptions,
  type ChannelCredentials,
  type Client,
  type ClientDuplexStream,
  type ClientOptions,
  type ClientReadableStream,
  type ClientUnaryCall,
  type ClientWritableStream,
  loadPackageDefinition,
  type Metadata,
  type requestCallback,
  type ServiceDefinition,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

export interface Order {
  readonly id: string;
  readonly customer: string;
  readonly tenant: string;
  readonly item: string;
  readonly quantity: number;
  readonly status: OrderStatus;
}

export type OrderStatus =
  | "ORDER_STATUS_UNSPECIFIED"
  | "ORDER_STATUS_PLACED"
  | "ORDER_STATUS_SHIPPED"
  | "ORDER_STATUS_DELIVERED"
  | "ORDER_STATUS_CANCELLED";

export interface OrderAnswer {
  readonly order: Order;
}

export interface Text {
  readonly text: string;
}

export interface ById {
  readonly id: string;
}

/** A unary method, with metadata and options or without. */
interface Unary<Request, Response> {
  (request: Request, callback: requestCallback<Response>): ClientUnaryCall;
  (
    request: Request,
    metadata: Metadata,
    options: CallOptions,
    callback: requestCallback<Response>,
  ): ClientUnaryCall;
}

export interface UploadMessage {
  readonly order: Order | null;
  /** In the last message: everything was sent. */
  readonly complete: boolean;
}

export interface OrdersClient extends Client {
  readonly ping: Unary<Text, Text>;
  readonly getOrder: Unary<ById, OrderAnswer>;
  readonly cancelOrder: Unary<ById, OrderAnswer>;
  readonly reject: Unary<Text, unknown>;
  listOrders(request: { readonly status?: OrderStatus }): ClientReadableStream<OrderAnswer>;
  uploadOrders(
    metadata: Metadata,
    callback: requestCallback<{ readonly accepted: number }>,
  ): ClientWritableStream<{ readonly order?: Partial<Order>; readonly complete?: boolean }>;
  watchOrders(metadata?: Metadata, options?: CallOptions): ClientDuplexStream<ById, OrderAnswer>;
  throwInListener(): ClientDuplexStream<Text, unknown>;
}

export interface HealthClient extends Client {
  readonly check: Unary<{ readonly service?: string }, { readonly status: string }>;
}

interface Loaded<C> {
  new (address: string, credentials: ChannelCredentials, options?: ClientOptions): C;
  readonly service: ServiceDefinition;
}

function load(proto: string): ReturnType<typeof loadPackageDefinition> {
  const path = fileURLToPath(new URL(proto, import.meta.url));
  return loadPackageDefinition(loadSync(path, { enums: String, defaults: true }));
}

// What proto-loader returns has no types of its own.
const orders = load("../../protos/orders/v1/orders.proto") as unknown as {
  readonly orders: { readonly v1: { readonly Orders: Loaded<OrdersClient> } };
};
const health = load("health.proto") as unknown as {
  readonly grpc: { readonly health: { readonly v1: { readonly Health: Loaded<HealthClient> } } };
};

export const OrdersClient: Loaded<OrdersClient> = orders.orders.v1.Orders;
export const OrdersService: ServiceDefinition = OrdersClient.service;
export const HealthClient: Loaded<HealthClient> = health.grpc.health.v1.Health;
