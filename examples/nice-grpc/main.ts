// The whole chain in front of nice-grpc, whose handlers stay its own: `npx tsx examples/nice-grpc/main.ts`.
import { apiKey, currentContext, secureInterceptors, serverCredentials } from "grpc-palisade";
import { createServer } from "nice-grpc";
import { developmentCertificates } from "../shared/certificates.ts";
import { type ById, callAll, keys, type Order, OrdersService, policy } from "../shared/orders.ts";

const { serverTls, clientTls } = await developmentCertificates();

const interceptors = secureInterceptors({
  authentication: apiKey({ store: keys }),
  authorization: policy,
  services: [OrdersService],
});

// The caller, where a handler has no call to ask.
const order = async ({ id }: ById): Promise<Order> => ({
  id,
  owner: currentContext()?.principal?.subject ?? "nobody",
});

const server = createServer({ interceptors });
server.add(OrdersService, { GetOrder: order, CancelOrder: order });
const port = await server.listen("127.0.0.1:0", serverCredentials(serverTls));

await callAll(port, clientTls);
await server.shutdown();
await interceptors.close();
