// shop.proto as proto-loader loads it, with the types that proto-loader-gen-types writes for it.
import { fileURLToPath } from "node:url";
import type * as grpc from "@grpc/grpc-js";
import { loadPackageDefinition } from "@grpc/grpc-js";
import { loadSync, type MethodDefinition } from "@grpc/proto-loader";

export interface ById {
  id?: string;
}

export interface ById__Output {
  id: string;
}

export interface Order {
  id?: string;
  owner?: string;
}

export interface Order__Output {
  id: string;
  owner: string;
}

export interface ShopHandlers extends grpc.UntypedServiceImplementation {
  GetOrder: grpc.handleUnaryCall<ById__Output, Order>;
  ListOrders: grpc.handleServerStreamingCall<ById__Output, Order>;
  TrackOrders: grpc.handleBidiStreamingCall<ById__Output, Order>;
  UploadOrders: grpc.handleClientStreamingCall<Order__Output, Order>;
}

export interface ShopDefinition extends grpc.ServiceDefinition {
  GetOrder: MethodDefinition<ById, Order, ById__Output, Order__Output>;
  ListOrders: MethodDefinition<ById, Order, ById__Output, Order__Output>;
  TrackOrders: MethodDefinition<ById, Order, ById__Output, Order__Output>;
  UploadOrders: MethodDefinition<Order, Order, Order__Output, Order__Output>;
}

export interface ProtoGrpcType {
  shop: { v1: { Shop: { service: ShopDefinition } } };
}

const loaded = loadPackageDefinition(
  loadSync(fileURLToPath(new URL("./shop.proto", import.meta.url)), { defaults: true }),
) as unknown as ProtoGrpcType;

export const ShopService: ShopDefinition = loaded.shop.v1.Shop.service;
