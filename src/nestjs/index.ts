// `grpc-palisade/nestjs`: NestJS microservices behind the whole chain. Needs the packages of every NestJS microservice:
// @nestjs/common, @nestjs/microservices and rxjs.

import "./packages.ts";

export { type SecureStrategy, type SecureStrategyOptions, secureStrategy } from "./secure-strategy.ts";
export { StatusErrorFilter } from "./status-error-filter.ts";
