// shop.proto in the shape that grpc-tools writes its services.
const shop_pb = require("./shop_pb.cjs");

function serialize(type) {
  return (arg) => {
    if (!(arg instanceof type)) throw new Error("Expected argument of another type");
    return Buffer.from(arg.serializeBinary());
  };
}

function deserialize(type) {
  return (buffer_arg) => type.deserializeBinary(new Uint8Array(buffer_arg));
}

function method(name, requestStream, responseStream, requestType, responseType) {
  return {
    path: `/shop.v1.Shop/${name}`,
    requestStream,
    responseStream,
    requestType,
    responseType,
    requestSerialize: serialize(requestType),
    requestDeserialize: deserialize(requestType),
    responseSerialize: serialize(responseType),
    responseDeserialize: deserialize(responseType),
  };
}

exports.ShopService = {
  getOrder: method("GetOrder", false, false, shop_pb.ById, shop_pb.Order),
  uploadOrders: method("UploadOrders", true, false, shop_pb.Order, shop_pb.Order),
  listOrders: method("ListOrders", false, true, shop_pb.ById, shop_pb.Order),
  trackOrders: method("TrackOrders", true, true, shop_pb.ById, shop_pb.Order),
};
