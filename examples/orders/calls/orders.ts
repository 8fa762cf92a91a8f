// The calls that most rows make, told in a line.
import { Buffer } from "node:buffer";
import { Metadata } from "@grpc/grpc-js";
import { answered, statusText } from "../answer.ts";
import type { Order, OrdersClient } from "../service.ts";

export async function getOrder(
  client: OrdersClient,
  id: string,
  metadata: Metadata = new Metadata(),
): Promise<string> {
  const { status, messages } = await answered<{ readonly order: Order }>((done) =>
    client.getOrder({ id }, metadata, {}, done),
  );
  return [status, ...messages.map(({ order }) => `${order.id} ${order.item}`)].join(", ");
}

export async function uploadOrders(
  client: OrdersClient,
  orders: readonly Partial<Order>[],
  metadata: Metadata = new Metadata(),
): Promise<string> {
  const { status, messages } = await answered<{ readonly accepted: number }>((done) => {
    const call = client.uploadOrders(metadata, done);
    for (const order of orders) call.write({ order });
    call.write({ complete: true });
    call.end();
  });
  return [status, ...messages.map(({ accepted }) => `${accepted} accepted`)].join(", ");
}

export async function cancelOrder(client: OrdersClient, id: string): Promise<string> {
  return (await answered((done) => client.cancelOrder({ id }, done))).status;
}

export async function ping(client: OrdersClient): Promise<string> {
  const { status, messages } = await answered<{ readonly text: string }>((done) =>
    client.ping({ text: "hello" }, done),
  );
  return [status, ...messages.map(({ text }) => text)].join(", ");
}

export function callUnknownMethod(client: OrdersClient): Promise<string> {
  const nothing = (): Buffer => Buffer.alloc(0);
  return new Promise((resolve) => {
    client.makeUnaryRequest("/orders.v1.Orders/DeleteAll", nothing, nothing, {}, (error) =>
      resolve(error === null ? "OK" : statusText(error)),
    );
  });
}
