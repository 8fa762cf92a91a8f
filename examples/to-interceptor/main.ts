// Single middleware on a grpc.Server, in the order that you give: `npx tsx examples/to-interceptor/main.ts`.
import { promisify } from "node:util";
import { Server } from "@grpc/grpc-js";
import { apiKey, type MethodInfo, serverCredentials, toInterceptor } from "grpc-palisade";
import { authentication, authorization, deadline, logging } from "grpc-palisade/middleware";
import { pino } from "pino";
import { developmentCertificates } from "../shared/certificates.ts";
import { callAll, handlers, keys, OrdersService, policy } from "../shared/orders.ts";

const { serverTls, clientTls } = await developmentCertificates();

/** What the policy is checked against. */
const methods: readonly MethodInfo[] = ["GetOrder", "CancelOrder"].map((name) => ({
  path: `/orders.v1.Orders/${name}`,
  service: "orders.v1.Orders",
  name,
  kind: "unary",
  known: true,
}));

const chain = toInterceptor(
  logging({ logger: pino() }),
  deadline({ maxUnaryMs: 10_000 }),
  authentication(apiKey({ store: keys })),
  authorization(policy, methods),
);

const server = new Server({ interceptors: [chain] });
server.addService(OrdersService, handlers);
const port = await promisify(server.bindAsync.bind(server))("127.0.0.1:0", serverCredentials(serverTls));

await callAll(port, clientTls);
await promisify(server.tryShutdown.bind(server))();
