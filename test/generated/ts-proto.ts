// shop.proto in the shape that ts-proto writes with `outputServices=grpc-js`.
import { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";
import type {
  handleBidiStreamingCall,
  handleClientStreamingCall,
  handleServerStreamingCall,
  handleUnaryCall,
  UntypedServiceImplementation,
} from "@grpc/grpc-js";

export interface ById {
  id: string;
}

export interface Order {
  id: string;
  owner: string;
}

export const ById = {
  encode(message: ById, writer: BinaryWriter = new BinaryWriter()): BinaryWriter {
    if (message.id !== "") writer.uint32(10).string(message.id);
    return writer;
  },
  decode(input: Uint8Array): ById {
    const reader = new BinaryReader(input);
    const message: ById = { id: "" };
    while (reader.pos < reader.len) {
      const tag = reader.uint32();
      if (tag === 10) message.id = reader.string();
      else reader.skip(tag & 7);
    }
    return message;
  },
};

export const Order = {
  encode(message: Order, writer: BinaryWriter = new BinaryWriter()): BinaryWriter {
    if (message.id !== "") writer.uint32(10).string(message.id);
    if (message.owner !== "") writer.uint32(18).string(message.owner);
    return writer;
  },
  decode(input: Uint8Array): Order {
    const reader = new BinaryReader(input);
    const message: Order = { id: "", owner: "" };
    while (reader.pos < reader.len) {
      const tag = reader.uint32();
      if (tag === 10) message.id = reader.string();
      else if (tag === 18) message.owner = reader.string();
      else reader.skip(tag & 7);
    }
    return message;
  },
};

export type ShopService = typeof ShopService;
export const ShopService = {
  getOrder: {
    path: "/shop.v1.Shop/GetOrder" as const,
    requestStream: false as const,
    responseStream: false as const,
    requestSerialize: (value: ById): Buffer => Buffer.from(ById.encode(value).finish()),
    requestDeserialize: (value: Buffer): ById => ById.decode(value),
    responseSerialize: (value: Order): Buffer => Buffer.from(Order.encode(value).finish()),
    responseDeserialize: (value: Buffer): Order => Order.decode(value),
  },
  uploadOrders: {
    path: "/shop.v1.Shop/UploadOrders" as const,
    requestStream: true as const,
    responseStream: false as const,
    requestSerialize: (value: Order): Buffer => Buffer.from(Order.encode(value).finish()),
    requestDeserialize: (value: Buffer): Order => Order.decode(value),
    responseSerialize: (value: Order): Buffer => Buffer.from(Order.encode(value).finish()),
    responseDeserialize: (value: Buffer): Order => Order.decode(value),
  },
  listOrders: {
    path: "/shop.v1.Shop/ListOrders" as const,
    requestStream: false as const,
    responseStream: true as const,
    requestSerialize: (value: ById): Buffer => Buffer.from(ById.encode(value).finish()),
    requestDeserialize: (value: Buffer): ById => ById.decode(value),
    responseSerialize: (value: Order): Buffer => Buffer.from(Order.encode(value).finish()),
    responseDeserialize: (value: Buffer): Order => Order.decode(value),
  },
  trackOrders: {
    path: "/shop.v1.Shop/TrackOrders" as const,
    requestStream: true as const,
    responseStream: true as const,
    requestSerialize: (value: ById): Buffer => Buffer.from(ById.encode(value).finish()),
    requestDeserialize: (value: Buffer): ById => ById.decode(value),
    responseSerialize: (value: Order): Buffer => Buffer.from(Order.encode(value).finish()),
    responseDeserialize: (value: Buffer): Order => Order.decode(value),
  },
} as const;

export interface ShopServer extends UntypedServiceImplementation {
  getOrder: handleUnaryCall<ById, Order>;
  uploadOrders: handleClientStreamingCall<Order, Order>;
  listOrders: handleServerStreamingCall<ById, Order>;
  trackOrders: handleBidiStreamingCall<ById, Order>;
}
