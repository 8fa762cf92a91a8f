// The microservice without its surroundings, so that a test can start it with certificates and keys of its own.
import { join } from "node:path";
import type { INestMicroservice } from "@nestjs/common";
import { NestFactory } from "@nestjs/core";
import type { CustomStrategy } from "@nestjs/microservices";
import { type Authenticator, rbac, type SecureServerOptions } from "grpc-palisade";
import { type SecureStrategy, StatusErrorFilter, secureStrategy } from "grpc-palisade/nestjs";
import { AppModule } from "./app.module";

export interface Surroundings extends Pick<SecureServerOptions, "tls" | "logger"> {
  readonly url: string;
  readonly authentication: Authenticator;
}

export async function application(
  surroundings: Surroundings,
): Promise<{ app: INestMicroservice; strategy: SecureStrategy }> {
  const strategy = secureStrategy({
    package: "orders.v1",
    protoPath: join(__dirname, "orders.proto"),
    authorization: rbac({
      roles: { customer: {} },
      rules: { "/orders.v1.Orders/*": { roles: ["customer"] } },
    }),
    ...surroundings,
  });
  const app = await NestFactory.createMicroservice<CustomStrategy>(AppModule, {
    strategy,
    logger: ["error", "warn"],
  });
  app.useGlobalFilters(new StatusErrorFilter());
  return { app, strategy };
}
