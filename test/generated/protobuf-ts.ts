// shop.proto in the shape that protobuf-ts writes with `server_grpc1`.
import type * as grpc from "@grpc/grpc-js";
import { MessageType } from "@protobuf-ts/runtime";

export interface ById {
  id: string;
}

export interface Order {
  id: string;
  owner: string;
}

class ById$Type extends MessageType<ById> {
  constructor() {
    super("shop.v1.ById", [{ no: 1, name: "id", kind: "scalar", T: 9 }]);
  }
}
export const ById = new ById$Type();

class Order$Type extends MessageType<Order> {
  constructor() {
    super("shop.v1.Order", [
      { no: 1, name: "id", kind: "scalar", T: 9 },
      { no: 2, name: "owner", kind: "scalar", T: 9 },
    ]);
  }
}
export const Order = new Order$Type();

export interface IShop extends grpc.UntypedServiceImplementation {
  getOrder: grpc.handleUnaryCall<ById, Order>;
  uploadOrders: grpc.handleClientStreamingCall<Order, Order>;
  listOrders: grpc.handleServerStreamingCall<ById, Order>;
  trackOrders: grpc.handleBidiStreamingCall<ById, Order>;
}

export const shopDefinition: grpc.ServiceDefinition<IShop> = {
  getOrder: {
    path: "/shop.v1.Shop/GetOrder",
    originalName: "getOrder",
    requestStream: false,
    responseStream: false,
    responseDeserialize: (bytes) => Order.fromBinary(bytes),
    requestDeserialize: (bytes) => ById.fromBinary(bytes),
    responseSerialize: (value) => Buffer.from(Order.toBinary(value)),
    requestSerialize: (value) => Buffer.from(ById.toBinary(value)),
  },
  uploadOrders: {
    path: "/shop.v1.Shop/UploadOrders",
    originalName: "uploadOrders",
    requestStream: true,
    responseStream: false,
    responseDeserialize: (bytes) => Order.fromBinary(bytes),
    requestDeserialize: (bytes) => Order.fromBinary(bytes),
    responseSerialize: (value) => Buffer.from(Order.toBinary(value)),
    requestSerialize: (value) => Buffer.from(Order.toBinary(value)),
  },
  listOrders: {
    path: "/shop.v1.Shop/ListOrders",
    originalName: "listOrders",
    requestStream: false,
    responseStream: true,
    responseDeserialize: (bytes) => Order.fromBinary(bytes),
    requestDeserialize: (bytes) => ById.fromBinary(bytes),
    responseSerialize: (value) => Buffer.from(Order.toBinary(value)),
    requestSerialize: (value) => Buffer.from(ById.toBinary(value)),
  },
  trackOrders: {
    path: "/shop.v1.Shop/TrackOrders",
    originalName: "trackOrders",
    requestStream: true,
    responseStream: true,
    responseDeserialize: (bytes) => Order.fromBinary(bytes),
    requestDeserialize: (bytes) => ById.fromBinary(bytes),
    responseSerialize: (value) => Buffer.from(Order.toBinary(value)),
    requestSerialize: (value) => Buffer.from(ById.toBinary(value)),
  },
};
