// A program that the set-up file of docs/observability.md is loaded before: one call over a secured server and client.
import { allowAuthenticated, createSecureClient, createSecureServer, mtls } from "../../src/index.ts";
import { call, handlers, OrdersClient, OrdersService } from "./orders.ts";

const [setUp = "", certificates = ""] = process.argv.slice(2);
const file = (name: string): string => `${certificates}/${name}`;
const server = createSecureServer({
  tls: { cert: file("server.crt"), key: file("server.key"), clientCa: file("ca.crt") },
  authentication: mtls(),
  authorization: allowAuthenticated(),
  logger: false,
});
server.addService(OrdersService, handlers);
const { port } = await server.listen("127.0.0.1:0");
const client = createSecureClient(OrdersClient, `localhost:${port}`, {
  tls: { ca: file("ca.crt"), cert: file("client.crt"), key: file("client.key") },
});
console.log(JSON.stringify(await call(client, "getOrder")));

const scraped = await fetch(`http://127.0.0.1:${process.env["OTEL_EXPORTER_PROMETHEUS_PORT"]}/metrics`);
console.log(await scraped.text());

client.close();
await server.shutdown();
const { telemetry } = (await import(setUp)) as { telemetry: { shutdown(): Promise<void> } };
await telemetry.shutdown();
