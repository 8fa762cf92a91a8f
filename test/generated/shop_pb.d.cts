export class ById {
  getId(): string;
  setId(value: string): ById;
  serializeBinary(): Uint8Array;
  static deserializeBinary(bytes: Uint8Array): ById;
}

export class Order {
  getId(): string;
  setId(value: string): Order;
  getOwner(): string;
  setOwner(value: string): Order;
  serializeBinary(): Uint8Array;
  static deserializeBinary(bytes: Uint8Array): Order;
}
