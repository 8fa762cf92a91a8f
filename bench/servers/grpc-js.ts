// A server of grpc-js, as its documentation shows it: behind mutual TLS, where nothing else is asked for.
import { Buffer } from "node:buffer";
import { Server, ServerCredentials, type ServerOptions } from "@grpc/grpc-js";
import type { Identities, ServerSettings } from "../process/protocol.ts";
import { benchService, handlers, manyHandlers, manyMethods } from "./contract.ts";
import type { Started } from "./serve.ts";

export async function startGrpcJs(
  { identities, methods }: ServerSettings,
  options: ServerOptions,
  credentials: ServerCredentials = mutualTls(identities),
): Promise<Started> {
  const server = new Server(options);
  server.addService(benchService, handlers);
  if (methods > 0) server.addService(manyMethods(methods), manyHandlers(methods));
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", credentials, (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  return { port };
}

function mutualTls({ ca, server: { cert, key } }: Identities): ServerCredentials {
  return ServerCredentials.createSsl(
    Buffer.from(ca),
    [{ cert_chain: Buffer.from(cert), private_key: Buffer.from(key) }],
    true,
  );
}
