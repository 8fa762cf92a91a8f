import { Injectable } from "@nestjs/common";
import { currentContext } from "grpc-palisade";
import type { Order } from "./orders.controller";

const book: readonly Order[] = [
  { id: "o-1", owner: "ada" },
  { id: "o-2", owner: "ada" },
  { id: "o-3", owner: "grace" },
];

@Injectable()
export class OrdersService {
  async find(id: string): Promise<Order | undefined> {
    return book.find((order) => order.id === id);
  }

  /** The verified caller is known everywhere below the controller. */
  mine(): readonly Order[] {
    return book.filter(({ owner }) => owner === currentContext()?.principal?.subject);
  }

  stamped(id: string): Order {
    return { id, owner: currentContext()?.principal?.subject ?? "nobody" };
  }
}
