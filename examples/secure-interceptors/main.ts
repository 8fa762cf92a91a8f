// The whole chain on a server that somebody else makes: `npx tsx examples/secure-interceptors/main.ts`.
import { promisify } from "node:util";
import { Server } from "@grpc/grpc-js";
import { apiKey, secureInterceptors, serverCredentials } from "grpc-palisade";
import { developmentCertificates } from "../shared/certificates.ts";
import { callAll, handlers, keys, OrdersService, policy } from "../shared/orders.ts";

const { serverTls, clientTls } = await developmentCertificates();

const interceptors = secureInterceptors({
  authentication: apiKey({ store: keys }),
  authorization: policy,
  services: [OrdersService], // the policy is checked against them here
});

// The framework's part: it takes interceptors, and registers and binds as it always did.
const server = new Server({ interceptors, "grpc.max_concurrent_streams": 100 });
server.addService(OrdersService, handlers);
const port = await promisify(server.bindAsync.bind(server))("127.0.0.1:0", serverCredentials(serverTls));

await callAll(port, clientTls);
await promisify(server.tryShutdown.bind(server))();
await interceptors.close();
