// A server of grpc-js behind mutual TLS, as its documentation shows it.
import { Buffer } from "node:buffer";
import { Server, ServerCredentials, type ServerOptions } from "@grpc/grpc-js";
import type { ServerSettings } from "../process/protocol.ts";
import { benchService, handlers, manyHandlers, manyMethods } from "./contract.ts";
import type { Started } from "./serve.ts";

export async function startGrpcJs(
  { identities, methods }: ServerSettings,
  options: ServerOptions,
): Promise<Started> {
  const server = new Server(options);
  server.addService(benchService, handlers);
  if (methods > 0) server.addService(manyMethods(methods), manyHandlers(methods));
  const { cert, key } = identities.server;
  const credentials = ServerCredentials.createSsl(
    Buffer.from(identities.ca),
    [{ cert_chain: Buffer.from(cert), private_key: Buffer.from(key) }],
    true,
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", credentials, (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  return { port };
}
