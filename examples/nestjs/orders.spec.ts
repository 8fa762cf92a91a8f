import "reflect-metadata";
import { join } from "node:path";
import { type GrpcObject, loadPackageDefinition, type ServiceClientConstructor } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import type { INestMicroservice } from "@nestjs/common";
import { bearerToken, createSecureClient, jwt } from "grpc-palisade";
import { createCertificateAuthority, createTokenIssuer } from "grpc-palisade/testing";
import { application } from "./application";
import type { Order } from "./orders.controller";

const definition = loadPackageDefinition(loadSync(join(__dirname, "orders.proto")));
const OrdersClient = ((definition["orders"] as GrpcObject)["v1"] as GrpcObject)[
  "Orders"
] as ServiceClientConstructor;

let app: INestMicroservice;
let callAs: (claims: Record<string, unknown>, id: string) => Promise<Order>;
const cleanUp: (() => unknown)[] = [];

beforeAll(async () => {
  const ca = await createCertificateAuthority();
  const { cert, key } = await ca.issue({ dnsNames: ["localhost"], usage: "server" });
  const issuer = await createTokenIssuer({ audience: "orders" });
  const started = await application({
    url: "localhost:0",
    tls: { cert: Buffer.from(cert), key: Buffer.from(key) },
    authentication: jwt({ issuer: issuer.issuer, audience: "orders", jwksUri: issuer.jwksUri }),
    logger: false,
  });
  app = started.app;
  const { address } = await app.listen();
  callAs = async (claims, id) => {
    const token = await issuer.sign(claims);
    const client = createSecureClient(OrdersClient, address, {
      tls: { ca: Buffer.from(ca.caPem) },
      credentials: bearerToken(token),
    });
    try {
      return await new Promise((resolve, reject) => {
        client["GetOrder"]?.({ id }, (error: Error | null, order: Order) =>
          error === null ? resolve(order) : reject(error),
        );
      });
    } finally {
      client.close();
    }
  };
  cleanUp.push(
    () => app.close(),
    () => issuer[Symbol.asyncDispose](),
  );
});

afterAll(async () => {
  for (const close of cleanUp) await close();
});

test("a customer gets her own order", async () => {
  await expect(callAs({ sub: "ada", roles: ["customer"] }, "o-1")).resolves.toEqual({
    id: "o-1",
    owner: "ada",
  });
});

test("a StatusError of the controller is told to the caller", async () => {
  await expect(callAs({ sub: "ada", roles: ["customer"] }, "o-3")).rejects.toThrow(
    "7 PERMISSION_DENIED: not your order",
  );
});

test("so is an RpcException with a code", async () => {
  await expect(callAs({ sub: "ada", roles: ["customer"] }, "o-9")).rejects.toThrow(
    "5 NOT_FOUND: no such order",
  );
});

test("somebody without the role gets nothing", async () => {
  await expect(callAs({ sub: "ada", roles: [] }, "o-1")).rejects.toThrow(
    "7 PERMISSION_DENIED: permission denied",
  );
});
