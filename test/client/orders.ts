// A bare grpc-js server of the orders service that remembers what its calls brought, and one way to make a call of each
// kind and see how it ended.
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
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
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceDefinition,
  type ServiceError,
  type sendUnaryData,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import type { MethodKind } from "../../src/grpc/method.ts";
import type { CertificateAuthority } from "../../src/testing/certificate-authority.ts";

export interface Order {
  id: string;
}

interface Answer {
  order: Order;
}

export interface OrdersClient extends Client {
  getOrder(
    request: { id: string },
    metadata: Metadata,
    options: CallOptions,
    callback: requestCallback<{ order: Order }>,
  ): ClientUnaryCall;
  uploadOrders(
    metadata: Metadata,
    options: CallOptions,
    callback: requestCallback<{ accepted: number }>,
  ): ClientWritableStream<{ order: Order }>;
  listOrders(
    request: object,
    metadata: Metadata,
    options: CallOptions,
  ): ClientReadableStream<{ order: Order }>;
  watchOrders(metadata: Metadata, options: CallOptions): ClientDuplexStream<{ id: string }, { order: Order }>;
}

interface Loaded {
  orders: {
    v1: {
      Orders: {
        new (address: string, credentials: ChannelCredentials, options?: ClientOptions): OrdersClient;
        service: ServiceDefinition;
      };
    };
  };
}

const loaded = loadPackageDefinition(
  loadSync(new URL("../../protos/orders/v1/orders.proto", import.meta.url).pathname),
) as unknown as Loaded;

export const OrdersClient: Loaded["orders"]["v1"]["Orders"] = loaded.orders.v1.Orders;

/** What a call brought to its handler. */
export interface Arrival {
  readonly path: string;
  readonly metadata: Metadata;
  readonly deadline: number;
}

export interface OrdersServer {
  readonly port: number;
  readonly arrivals: Arrival[];
  close(): void;
}

interface ArrivingCall {
  metadata: Metadata;
  getPath(): string;
  getDeadline(): Date | number;
}

/** Serves on 127.0.0.1. With `answers: false` no handler ever answers. */
export async function startOrders(
  credentials: ServerCredentials,
  { answers }: { answers: boolean } = { answers: true },
): Promise<OrdersServer> {
  const arrivals: Arrival[] = [];
  const arrive = (call: ArrivingCall): boolean => {
    arrivals.push({ path: call.getPath(), metadata: call.metadata, deadline: Number(call.getDeadline()) });
    return answers;
  };
  const order: Order = { id: "7" };
  const handlers: UntypedServiceImplementation = {
    getOrder(call: ServerUnaryCall<{ id: string }, Answer>, callback: sendUnaryData<Answer>) {
      if (arrive(call)) callback(null, { order });
    },
    uploadOrders(
      call: ServerReadableStream<Answer, { accepted: number }>,
      callback: sendUnaryData<{ accepted: number }>,
    ) {
      if (arrive(call)) call.on("data", () => {}).on("end", () => callback(null, { accepted: 1 }));
    },
    listOrders(call: ServerWritableStream<object, Answer>) {
      if (!arrive(call)) return;
      call.write({ order });
      call.end();
    },
    watchOrders(call: ServerDuplexStream<{ id: string }, Answer>) {
      if (arrive(call)) call.on("data", () => call.write({ order })).on("end", () => call.end());
    },
  };
  const server = new Server();
  server.addService(OrdersClient.service, handlers);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", credentials, (error, bound) => (error ? reject(error) : resolve(bound)));
  });
  return { port, arrivals, close: () => server.forceShutdown() };
}

/** Credentials of a TLS server whose certificate `ca` issued for 127.0.0.1 and these names. */
export async function tlsFor(
  ca: CertificateAuthority,
  dnsNames: readonly string[] = [],
  ipAddresses: readonly string[] = ["127.0.0.1"],
): Promise<ServerCredentials> {
  const { cert, key } = await ca.issue({ dnsNames, ipAddresses, usage: "server" });
  return ServerCredentials.createSsl(null, [
    { cert_chain: Buffer.from(cert), private_key: Buffer.from(key) },
  ]);
}

export interface Ended {
  readonly code: status;
  readonly details: string;
  readonly error: ServiceError | undefined;
}

const ok: Ended = { code: status.OK, details: "", error: undefined };

function ended(error: ServiceError): Ended {
  return { code: error.code, details: error.details, error };
}

type MakeCall = (client: OrdersClient, metadata: Metadata, options: CallOptions) => Promise<Ended>;

/** A call of each kind, to its end. */
export const calls: Readonly<Record<MethodKind, MakeCall>> = {
  unary: (client, metadata, options) =>
    new Promise((resolve) => {
      client.getOrder({ id: "7" }, metadata, options, (error) => resolve(error ? ended(error) : ok));
    }),
  client_stream: (client, metadata, options) =>
    new Promise((resolve) => {
      const call = client.uploadOrders(metadata, options, (error) => resolve(error ? ended(error) : ok));
      call.on("error", () => {});
      call.write({ order: { id: "7" } });
      call.end();
    }),
  server_stream: (client, metadata, options) =>
    new Promise((resolve) => {
      const call = client.listOrders({}, metadata, options);
      call.on("data", () => {});
      call.on("error", (error: ServiceError) => resolve(ended(error)));
      call.on("end", () => resolve(ok));
    }),
  bidi_stream: (client, metadata, options) =>
    new Promise((resolve) => {
      const call = client.watchOrders(metadata, options);
      call.on("data", () => {});
      call.on("error", (error: ServiceError) => resolve(ended(error)));
      call.on("end", () => resolve(ok));
      call.write({ id: "7" });
      call.end();
    }),
};

export const kinds: readonly MethodKind[] = ["unary", "client_stream", "server_stream", "bidi_stream"];

export interface ByteCounter {
  readonly port: number;
  /** What arrived until now, whatever of it is still on its way in this machine included. */
  seen(): Promise<{ connections: number; bytes: number }>;
  close(): Promise<void>;
}

/** A listener that answers nothing and counts what arrives. */
export async function countBytes(): Promise<ByteCounter> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on("data", () => {});
    socket.on("error", () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("expected a TCP address");
  const { port } = address;
  return {
    port,
    async seen() {
      // Connections are accepted in order: when this one is here, so are all that were opened before it.
      const last = once(server, "connection");
      const probe = connect(port, "127.0.0.1");
      await last;
      sockets.pop()?.destroy();
      probe.destroy();
      return {
        connections: sockets.length,
        bytes: sockets.reduce((sum, { bytesRead }) => sum + bytesRead, 0),
      };
    },
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
