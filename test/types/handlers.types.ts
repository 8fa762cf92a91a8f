// What `defineHandlers` accepts and refuses, for the definitions of each generator. Never run: the type check of this
// file, in the strictest settings, is the test (test/types/types.test.ts).
import { type ServerUnaryCall, type ServiceDefinition, status } from "@grpc/grpc-js";
import {
  defineHandlers,
  requirePrincipal,
  type SecureServer,
  StatusError,
  securityContext,
} from "../../src/index.ts";
import type { ShopHandlers } from "../generated/proto-loader.ts";
import { ShopService as protoLoader } from "../generated/proto-loader.ts";
import { shopDefinition as protobufTs } from "../generated/protobuf-ts.ts";
import { ShopService as grpcTools } from "../generated/shop_grpc_pb.cjs";
import { Order } from "../generated/shop_pb.cjs";
import { type ShopServer, ShopService as tsProto } from "../generated/ts-proto.ts";

declare const server: SecureServer;
declare const untyped: ServiceDefinition;

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function same<A, B>(_same: Same<A, B>): void {}

// --- each way to answer, for each generator ------------------------------------------------------------------------

server.addService(
  tsProto,
  defineHandlers(tsProto, {
    async getOrder(call) {
      same<typeof call.request.id, string>(true);
      const { tenant } = requirePrincipal(call);
      if (tenant !== call.request.id) throw new StatusError(status.NOT_FOUND, "no such order");
      return { id: call.request.id, owner: securityContext(call).peer.address };
    },
    async uploadOrders(call) {
      let id = "";
      for await (const order of call) id = (order as { id: string }).id;
      return { id, owner: "" };
    },
    async *listOrders(call) {
      same<typeof call.request.id, string>(true);
      yield { id: call.request.id, owner: "ada" };
    },
    async *trackOrders(call) {
      for await (const { id } of call) yield { id, owner: "" };
    },
  }),
);

defineHandlers(tsProto, {
  getOrder(call, callback) {
    callback(null, { id: call.request.id, owner: "" });
  },
  uploadOrders(call, callback) {
    call.on("data", ({ id }) => callback(null, { id, owner: "" }));
  },
  listOrders(call) {
    call.write({ id: call.request.id, owner: "" });
    call.end();
  },
  async trackOrders(call) {
    for await (const { id } of call) call.write({ id, owner: "" });
    call.end();
  },
});

server.addService(
  grpcTools,
  defineHandlers(grpcTools, {
    async getOrder(call) {
      return new Order().setId(call.request.getId());
    },
    uploadOrders(call, callback) {
      call.on("end", () => callback(null, new Order()));
    },
    async *listOrders(call) {
      yield new Order().setId(call.request.getId());
    },
    trackOrders(call) {
      call.on("end", () => call.end());
    },
  }),
);

server.addService(
  protobufTs,
  defineHandlers(protobufTs, {
    async getOrder(call) {
      same<typeof call.request.id, string>(true);
      return { id: call.request.id, owner: "" };
    },
    async uploadOrders(_call) {
      return { id: "", owner: "" };
    },
    async *listOrders(call) {
      yield { id: call.request.id, owner: "" };
    },
    async *trackOrders(call) {
      for await (const { id } of call) yield { id, owner: "" };
    },
  }),
);

server.addService(
  protoLoader,
  defineHandlers<ShopHandlers>(protoLoader, {
    async getOrder(call) {
      same<typeof call.request.id, string>(true);
      return { id: call.request.id };
    },
    uploadOrders(call, callback) {
      call.on("end", () => callback(null, {}));
    },
    async *listOrders(call) {
      yield { id: call.request.id };
    },
    trackOrders(call) {
      call.on("end", () => call.end());
    },
  }),
);

defineHandlers<ShopHandlers>(protoLoader, {
  async GetOrder(call) {
    return { id: call.request.id };
  },
  async UploadOrders() {
    return {};
  },
  async *ListOrders() {},
  async TrackOrders(call) {
    call.end();
  },
});

// Without the handlers' type, the messages are typed and the kinds are not.
defineHandlers(protoLoader, {
  async getOrder(call) {
    same<typeof call.request.id, string>(true);
    return { id: call.request.id };
  },
  uploadOrders(call, callback) {
    call.on("end", () => callback(null, { id: "" }));
  },
  async *listOrders(call) {
    same<typeof call.request.id, string>(true);
    yield { id: call.request.id };
  },
  async trackOrders(call) {
    call.write({ id: "" });
    call.end();
  },
});
defineHandlers(protoLoader, {
  GetOrder(call, callback) {
    // @ts-expect-error the answer has another shape
    callback(null, { id: 7 });
    // @ts-expect-error the request has no such field
    call.request.tenant;
  },
  async UploadOrders() {
    return {};
  },
  async *ListOrders() {},
  async TrackOrders(call) {
    call.end();
  },
});

// Without types of their own, handlers are taken as grpc-js takes them.
defineHandlers(untyped, {
  async getOrder(call) {
    return { id: call.request.id, tenant: requirePrincipal(call).tenant };
  },
  cancelOrder: (_call, callback) => callback(null, {}),
  async *listOrders(call) {
    yield { id: call.request.id };
  },
});
server.addService(untyped, {
  async getOrder(call: ServerUnaryCall<{ id: string }, { id: string }>) {
    return { id: call.request.id };
  },
});

// What was written for grpc-js alone fits as it is.
declare const existing: ShopServer;
server.addService(tsProto, existing);
defineHandlers(tsProto, existing);

// --- what is a mistake ---------------------------------------------------------------------------------------------

const good = {
  async getOrder() {
    return { id: "", owner: "" };
  },
  async uploadOrders() {
    return { id: "", owner: "" };
  },
  async *listOrders() {},
  async *trackOrders() {},
};
defineHandlers(tsProto, good);

// @ts-expect-error a method has no handler
defineHandlers(tsProto, {
  getOrder: good.getOrder,
  uploadOrders: good.uploadOrders,
  listOrders: good.listOrders,
});

defineHandlers(tsProto, {
  ...good,
  // @ts-expect-error there is no such method
  async deleteOrder() {},
});

defineHandlers(tsProto, {
  ...good,
  // @ts-expect-error an answer of another shape
  async getOrder() {
    return { id: 7, owner: "" };
  },
});

defineHandlers(tsProto, {
  ...good,
  // @ts-expect-error a promise without an answer
  async getOrder() {},
});

defineHandlers(tsProto, {
  ...good,
  // @ts-expect-error an answer that is neither promised nor called back
  getOrder() {
    return { id: "", owner: "" };
  },
});

defineHandlers(tsProto, {
  ...good,
  // @ts-expect-error one answer cannot be a generator's
  async *getOrder() {
    yield { id: "", owner: "" };
  },
});

defineHandlers(tsProto, {
  ...good,
  // @ts-expect-error a stream's answers are yielded or written, not returned
  async listOrders() {
    return [{ id: "", owner: "" }];
  },
});

defineHandlers(tsProto, {
  ...good,
  // @ts-expect-error yields another shape
  async *trackOrders() {
    yield { owner: "" };
  },
});

defineHandlers(tsProto, {
  ...good,
  getOrder(call, callback) {
    // @ts-expect-error the request has no such field
    call.request.tenant;
    // @ts-expect-error the answer lacks a field
    callback(null, { id: "" });
  },
});

defineHandlers(grpcTools, {
  // @ts-expect-error a plain object is not the generated message
  async getOrder() {
    return { id: "" };
  },
  async uploadOrders() {
    return new Order();
  },
  async *listOrders() {},
  async *trackOrders() {},
});

defineHandlers(protobufTs, {
  ...good,
  // @ts-expect-error an answer of another shape
  async getOrder() {
    return { id: 7, owner: "" };
  },
});

// @ts-expect-error an answer of another shape
defineHandlers<ShopHandlers>(protoLoader, {
  ...good,
  async getOrder() {
    return { id: 7 };
  },
});
