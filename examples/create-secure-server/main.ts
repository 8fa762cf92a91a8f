// Your own server, with everything: `npx tsx examples/create-secure-server/main.ts`.
import { apiKey, createSecureServer } from "grpc-palisade";
import { developmentCertificates } from "../shared/certificates.ts";
import { callAll, handlers, keys, OrdersService, policy } from "../shared/orders.ts";

const { serverTls, clientTls } = await developmentCertificates();

const server = createSecureServer({
  tls: serverTls,
  authentication: apiKey({ store: keys }),
  authorization: policy,
});
server.addService(OrdersService, handlers);
const { port } = await server.listen("127.0.0.1:0");

await callAll(port, clientTls);
await server.shutdown();
