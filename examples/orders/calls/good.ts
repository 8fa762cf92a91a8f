// What must get through.
import { once } from "node:events";
import { apiKeyCredentials, createSecureClient } from "grpc-palisade";
import { answered, streamed } from "../answer.ts";
import { clientTls } from "../certificates.ts";
import type { DemoCall } from "../demo-call.ts";
import { HealthClient, type Order } from "../service.ts";
import { cancelOrder, getOrder, ping, uploadOrders } from "./orders.ts";

export const goodCalls: readonly DemoCall[] = [
  {
    call: "unary: GetOrder with a good token",
    expected: "OK, o-1 anvil",
    make: (demo) => getOrder(demo.as("ada", "customer"), "o-1"),
  },
  {
    call: "server stream: ListOrders",
    expected: "OK, o-1 o-2",
    async make(demo) {
      const { status, messages } = await streamed(demo.as("ada", "customer").listOrders({}));
      return `${status}, ${messages.map(({ order }) => order.id).join(" ")}`;
    },
  },
  {
    call: "client stream: UploadOrders, two of them",
    expected: "OK, 2 accepted",
    make: (demo) => uploadOrders(demo.as("ada", "customer"), [{ id: "o-3" }, { id: "o-4" }]),
  },
  {
    call: "both streams: WatchOrders sees a cancellation",
    expected: "OK, o-2 ORDER_STATUS_CANCELLED",
    async make(demo) {
      const watch = demo.as("ada", "customer").watchOrders();
      const ended = streamed<unknown, { readonly order: Order }>(watch);
      watch.write({ id: "o-2" });
      await once(watch, "metadata");
      watch.once("data", () => watch.end());
      await cancelOrder(demo.as("root", "admin"), "o-2");
      const { status, messages } = await ended;
      return [status, ...messages.map(({ order }) => `${order.id} ${order.status}`)].join(", ");
    },
  },
  {
    call: "GetOrder with an API key",
    expected: "OK, o-1 anvil",
    make: (demo) => getOrder(demo.client(apiKeyCredentials(demo.apiKeys.good)), "o-1"),
  },
  {
    call: "Ping, which is public, without credentials",
    expected: "OK, hello",
    make: (demo) => ping(demo.client()),
  },
  {
    call: "health check without credentials",
    expected: "OK, SERVING",
    async make(demo) {
      const health = demo.closeLater(createSecureClient(HealthClient, demo.target, { tls: clientTls }));
      const { status, messages } = await answered<{ readonly status: string }>((done) =>
        health.check({}, done),
      );
      return [status, ...messages.map((message) => message.status)].join(", ");
    },
  },
];
