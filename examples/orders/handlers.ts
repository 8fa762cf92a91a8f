// The handlers of orders.v1.Orders. They are as unguarded as handlers are: whatever fails here, the chain answers for.
import {
  Metadata,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { requirePrincipal, StatusError, securityContext } from "grpc-palisade";
import type { OrderBook } from "./order-book.ts";
import type { ById, Order, OrderAnswer, OrderStatus, Text, UploadMessage } from "./service.ts";

export function ordersHandlers(book: OrderBook): UntypedServiceImplementation {
  return {
    async ping(call: ServerUnaryCall<Text, Text>) {
      return { text: call.request.text };
    },

    async getOrder(call: ServerUnaryCall<ById, OrderAnswer>) {
      return { order: book.find(requirePrincipal(call).tenant, call.request.id) };
    },

    listOrders(call: ServerWritableStream<{ readonly status: OrderStatus }, OrderAnswer>) {
      const wanted = call.request.status;
      for (const order of book.all(requirePrincipal(call).tenant)) {
        if (wanted === "ORDER_STATUS_UNSPECIFIED" || wanted === order.status) call.write({ order });
      }
      call.end();
    },

    async uploadOrders(call: ServerReadableStream<UploadMessage, unknown>) {
      // Who ordered is what the credential says, not what the message says, and not what a header says.
      const { subject, tenant } = requirePrincipal(call);
      if (tenant === undefined) throw new StatusError(status.FAILED_PRECONDITION, "the caller has no tenant");
      const orders: Order[] = [];
      let complete = false;
      for await (const message of call) {
        complete = message.complete;
        if (message.order !== null) orders.push(message.order);
        else if (!complete) throw new StatusError(status.INVALID_ARGUMENT, "a message without an order");
      }
      // The end of a stream does not say that everything was sent: grpc-js's client ends a stream that it cancels, too.
      if (!complete) throw new StatusError(status.ABORTED, "the upload is not complete; nothing was kept");
      for (const order of orders) {
        book.put({ ...order, customer: subject, tenant, status: "ORDER_STATUS_PLACED" });
      }
      return { accepted: orders.length };
    },

    watchOrders(call: ServerDuplexStream<ById, OrderAnswer>) {
      const { tenant } = requirePrincipal(call);
      securityContext(call).log.info("watches orders");
      const followed = new Set<string>();
      const unfollow = book.follow((order) => {
        if (order.tenant === tenant && followed.has(order.id)) call.write({ order });
      });
      call.on("data", ({ id }: ById) => {
        followed.add(book.find(tenant, id).id);
        // The headers tell the caller that changes are reported from now on.
        if (followed.size === 1) call.sendMetadata(new Metadata());
      });
      call.on("end", () => call.end());
      call.on("close", unfollow);
    },

    async cancelOrder(call: ServerUnaryCall<ById, OrderAnswer>) {
      const found = book.find(requirePrincipal(call).tenant, call.request.id);
      const order: Order = { ...found, status: "ORDER_STATUS_CANCELLED" };
      book.put(order);
      return { order };
    },

    // These two misbehave on purpose. Without the chain, either ends the process.

    async reject(call: ServerUnaryCall<Text, unknown>) {
      throw new Error(call.request.text);
    },

    throwInListener(call: ServerDuplexStream<Text, unknown>) {
      call.on("data", ({ text }: Text) => {
        throw new Error(text);
      });
    },
  };
}
