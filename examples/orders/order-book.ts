// The orders, in memory, kept apart by tenant.
import { EventEmitter } from "node:events";
import { status } from "@grpc/grpc-js";
import { StatusError } from "grpc-palisade";
import type { Order } from "./service.ts";

const maxOrdersPerTenant = 1_000;

export class OrderBook {
  readonly #tenants: Map<string, Map<string, Order>> = new Map();
  readonly #changes: EventEmitter = new EventEmitter().setMaxListeners(0);

  constructor(orders: readonly Order[]) {
    for (const order of orders) this.put(order);
  }

  /** An order of another tenant is not there, rather than forbidden: its existence is nobody else's business. */
  find(tenant: string | undefined, id: string): Order {
    const order = this.#of(tenant).get(id);
    if (order === undefined) throw new StatusError(status.NOT_FOUND, "no such order");
    return order;
  }

  all(tenant: string | undefined): readonly Order[] {
    return [...this.#of(tenant).values()];
  }

  put(order: Order): void {
    const orders = this.#of(order.tenant);
    if (orders.size >= maxOrdersPerTenant && !orders.has(order.id)) {
      throw new StatusError(status.RESOURCE_EXHAUSTED, "too many orders");
    }
    this.#tenants.set(order.tenant, orders.set(order.id, order));
    this.#changes.emit("change", order);
  }

  /** Calls `listener` for each change from now on; returns what ends that. */
  follow(listener: (order: Order) => void): () => void {
    this.#changes.on("change", listener);
    return () => this.#changes.off("change", listener);
  }

  #of(tenant: string | undefined): Map<string, Order> {
    return this.#tenants.get(tenant ?? "") ?? new Map();
  }
}

export function exampleOrders(): OrderBook {
  const placed = { quantity: 1, status: "ORDER_STATUS_PLACED" } as const;
  return new OrderBook([
    { id: "o-1", customer: "ada", tenant: "acme", item: "anvil", ...placed },
    { id: "o-2", customer: "ada", tenant: "acme", item: "rocket", ...placed },
    { id: "g-1", customer: "gil", tenant: "globex", item: "laser", ...placed },
  ]);
}
