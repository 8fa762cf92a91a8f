import type { Metadata, ServerUnaryCall } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import { Controller } from "@nestjs/common";
import { GrpcMethod, GrpcStreamMethod, RpcException } from "@nestjs/microservices";
import { requirePrincipal, StatusError } from "grpc-palisade";
import { from, map, type Observable, reduce } from "rxjs";
import { OrdersService } from "./orders.service";

export interface OrderRequest {
  readonly id: string;
}

export interface Order {
  readonly id: string;
  readonly owner: string;
}

@Controller()
export class OrdersController {
  constructor(private readonly orders: OrdersService) {}

  @GrpcMethod("Orders", "GetOrder")
  async getOrder(
    { id }: OrderRequest,
    _metadata: Metadata,
    call: ServerUnaryCall<OrderRequest, Order>,
  ): Promise<Order> {
    const { subject } = requirePrincipal(call);
    const order = await this.orders.find(id);
    if (order === undefined) throw new RpcException({ code: status.NOT_FOUND, message: "no such order" });
    if (order.owner !== subject) throw new StatusError(status.PERMISSION_DENIED, "not your order");
    return order;
  }

  @GrpcMethod("Orders", "ListOrders")
  listOrders(): Observable<Order> {
    return from(this.orders.mine());
  }

  @GrpcStreamMethod("Orders", "UploadOrders")
  uploadOrders(orders: Observable<Order>): Observable<Order> {
    return orders.pipe(
      reduce((ids: string[], { id }) => [...ids, id], []),
      map((ids) => this.orders.stamped(ids.join("+"))),
    );
  }

  @GrpcStreamMethod("Orders", "WatchOrders")
  watchOrders(asked: Observable<OrderRequest>): Observable<Order> {
    return asked.pipe(map(({ id }) => this.orders.stamped(id)));
  }
}
