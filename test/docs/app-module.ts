// The NestJS application that stands around the blocks about it. Apart from orders.ts, whose users need no NestJS.
import "reflect-metadata";
import { Controller, Module } from "@nestjs/common";
import { GrpcMethod } from "@nestjs/microservices";
import { requirePrincipal } from "../../src/index.ts";

class OrdersController {
  getOrder(
    { id }: { readonly id: string },
    _metadata: unknown,
    call: Parameters<typeof requirePrincipal>[0],
  ): object {
    return { id, owner: requirePrincipal(call).subject };
  }
}

// What decorators do, which the language does not have yet.
const getOrder = Object.getOwnPropertyDescriptor(OrdersController.prototype, "getOrder");
GrpcMethod("Orders", "GetOrder")(OrdersController.prototype, "getOrder", getOrder ?? {});
Controller()(OrdersController);

export class AppModule {}
Module({ controllers: [OrdersController] })(AppModule);
