import { jwt } from "grpc-palisade";
import { application } from "./application";

async function main(): Promise<void> {
  const { app } = await application({
    url: "0.0.0.0:50051",
    tls: { cert: "certs-dev/server.crt", key: "certs-dev/server.key" },
    authentication: jwt({
      issuer: "https://id.example",
      audience: "orders",
      jwksUri: "https://id.example/jwks",
    }),
  });
  app.enableShutdownHooks();
  await app.listen();
}

void main();
