// In the shape that grpc_tools_node_protoc_ts writes for grpc-tools' services.
import type * as grpc from "@grpc/grpc-js";
import type * as shop_pb from "./shop_pb.cjs";

interface IShopService extends grpc.ServiceDefinition<grpc.UntypedServiceImplementation> {
  getOrder: IShopService_IGetOrder;
  uploadOrders: IShopService_IUploadOrders;
  listOrders: IShopService_IListOrders;
  trackOrders: IShopService_ITrackOrders;
}

interface IShopService_IGetOrder extends grpc.MethodDefinition<shop_pb.ById, shop_pb.Order> {
  path: "/shop.v1.Shop/GetOrder";
  requestStream: false;
  responseStream: false;
  requestSerialize: grpc.serialize<shop_pb.ById>;
  requestDeserialize: grpc.deserialize<shop_pb.ById>;
  responseSerialize: grpc.serialize<shop_pb.Order>;
  responseDeserialize: grpc.deserialize<shop_pb.Order>;
}
interface IShopService_IUploadOrders extends grpc.MethodDefinition<shop_pb.Order, shop_pb.Order> {
  path: "/shop.v1.Shop/UploadOrders";
  requestStream: true;
  responseStream: false;
  requestSerialize: grpc.serialize<shop_pb.Order>;
  requestDeserialize: grpc.deserialize<shop_pb.Order>;
  responseSerialize: grpc.serialize<shop_pb.Order>;
  responseDeserialize: grpc.deserialize<shop_pb.Order>;
}
interface IShopService_IListOrders extends grpc.MethodDefinition<shop_pb.ById, shop_pb.Order> {
  path: "/shop.v1.Shop/ListOrders";
  requestStream: false;
  responseStream: true;
  requestSerialize: grpc.serialize<shop_pb.ById>;
  requestDeserialize: grpc.deserialize<shop_pb.ById>;
  responseSerialize: grpc.serialize<shop_pb.Order>;
  responseDeserialize: grpc.deserialize<shop_pb.Order>;
}
interface IShopService_ITrackOrders extends grpc.MethodDefinition<shop_pb.ById, shop_pb.Order> {
  path: "/shop.v1.Shop/TrackOrders";
  requestStream: true;
  responseStream: true;
  requestSerialize: grpc.serialize<shop_pb.ById>;
  requestDeserialize: grpc.deserialize<shop_pb.ById>;
  responseSerialize: grpc.serialize<shop_pb.Order>;
  responseDeserialize: grpc.deserialize<shop_pb.Order>;
}

export const ShopService: IShopService;

export interface IShopServer extends grpc.UntypedServiceImplementation {
  getOrder: grpc.handleUnaryCall<shop_pb.ById, shop_pb.Order>;
  uploadOrders: grpc.handleClientStreamingCall<shop_pb.Order, shop_pb.Order>;
  listOrders: grpc.handleServerStreamingCall<shop_pb.ById, shop_pb.Order>;
  trackOrders: grpc.handleBidiStreamingCall<shop_pb.ById, shop_pb.Order>;
}
