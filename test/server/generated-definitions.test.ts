// The definitions of all four generators register as they are, and their handlers answer in each way (C4).
import { createRequire } from "node:module";
import {
  type Client,
  type Metadata,
  type MethodDefinition,
  type ServiceDefinition,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import { defineHandlers, type HandlersFrom } from "../../src/chain/define-handlers.ts";
import { ConfigError } from "../../src/grpc/errors.ts";
import { rbac } from "../../src/middleware/authorization/rbac.ts";
import { ShopService as protoLoader, type ShopHandlers } from "../generated/proto-loader.ts";
import { shopDefinition as protobufTs } from "../generated/protobuf-ts.ts";
import { ShopService as tsProto } from "../generated/ts-proto.ts";
import { toMetadata } from "../harness/kinds.ts";
import { secured } from "../harness/secured.ts";
import { inTime } from "../harness/time.ts";

// CommonJS as grpc-tools writes it, loaded as its users load it.
const require = createRequire(import.meta.url);
const { ShopService: grpcTools } =
  require("../generated/shop_grpc_pb.cjs") as typeof import("../generated/shop_grpc_pb.cjs");
const { ById, Order } = require("../generated/shop_pb.cjs") as typeof import("../generated/shop_pb.cjs");
type Message = InstanceType<typeof Order>;

interface Generator {
  readonly service: ServiceDefinition;
  readonly handlers: UntypedServiceImplementation;
  readonly request: (id: string) => unknown;
  readonly idOf: (answer: unknown) => unknown;
}

const plain = {
  request: (id: string) => ({ id }),
  idOf: (answer: unknown) => (answer as { readonly id: string }).id,
};

const generators: Readonly<Record<string, Generator>> = {
  "proto-loader": {
    ...plain,
    service: protoLoader,
    handlers: defineHandlers<ShopHandlers>(protoLoader, {
      async getOrder(call) {
        return { id: call.request.id };
      },
      uploadOrders(call, callback) {
        const ids: string[] = [];
        call.on("data", ({ id }) => ids.push(id)).on("end", () => callback(null, { id: ids.join("+") }));
      },
      async *listOrders(call) {
        yield { id: call.request.id };
        yield { id: call.request.id };
      },
      async *trackOrders(call) {
        for await (const { id } of call) yield { id };
      },
    }),
  },
  "ts-proto": {
    ...plain,
    service: tsProto,
    handlers: defineHandlers(tsProto, {
      getOrder: (call, callback) => callback(null, { id: call.request.id, owner: "" }),
      async uploadOrders(call) {
        const ids: string[] = [];
        for await (const { id } of call) ids.push(id);
        return { id: ids.join("+"), owner: "" };
      },
      listOrders(call) {
        call.write({ id: call.request.id, owner: "" });
        call.write({ id: call.request.id, owner: "" });
        call.end();
      },
      async trackOrders(call) {
        for await (const { id } of call) call.write({ id, owner: "" });
        call.end();
      },
    }),
  },
  "grpc-tools": {
    service: grpcTools,
    request: (id) => new ById().setId(id),
    idOf: (answer) => (answer instanceof Order ? answer.getId() : undefined),
    handlers: defineHandlers(grpcTools, {
      async getOrder(call) {
        return new Order().setId(call.request.getId());
      },
      async uploadOrders(call) {
        const ids: string[] = [];
        for await (const order of call) ids.push((order as Message).getId());
        return new Order().setId(ids.join("+"));
      },
      async *listOrders(call) {
        yield new Order().setId(call.request.getId());
        yield new Order().setId(call.request.getId());
      },
      async *trackOrders(call) {
        for await (const asked of call) yield new Order().setId((asked as Message).getId());
      },
    }),
  },
  "protobuf-ts": {
    ...plain,
    request: (id) => ({ id, owner: "" }),
    service: protobufTs,
    handlers: defineHandlers(protobufTs, {
      async getOrder(call) {
        return { id: call.request.id, owner: "" };
      },
      async uploadOrders(call) {
        const ids: string[] = [];
        for await (const { id } of call) ids.push(id);
        return { id: ids.join("+"), owner: "" };
      },
      async *listOrders(call) {
        yield { id: call.request.id, owner: "" };
        yield { id: call.request.id, owner: "" };
      },
      async *trackOrders(call) {
        for await (const { id } of call) yield { id, owner: "" };
      },
    }),
  },
};

const shopPolicy = rbac({
  roles: { caller: {} },
  rules: { "/test.v1.Kinds/*": { roles: ["caller"] }, "/shop.v1.Shop/*": { roles: ["caller"] } },
});

/** Every message that a method answers to these requests. */
function answers(
  client: Client,
  method: MethodDefinition<unknown, unknown>,
  requests: readonly unknown[],
  metadata: Metadata,
): Promise<readonly unknown[]> {
  const { path, requestSerialize, responseDeserialize, requestStream, responseStream } = method;
  const options = { deadline: inTime() };
  return new Promise((resolve, reject) => {
    const received: unknown[] = [];
    const done = (error: Error | null, answer?: unknown): void =>
      error === null ? resolve([answer]) : reject(error);
    const send = (call: { write(request: unknown): void; end(): void }): void => {
      for (const request of requests) call.write(request);
      call.end();
    };
    if (!responseStream) {
      if (!requestStream)
        client.makeUnaryRequest(
          path,
          requestSerialize,
          responseDeserialize,
          requests[0],
          metadata,
          options,
          done,
        );
      else
        send(
          client.makeClientStreamRequest(
            path,
            requestSerialize,
            responseDeserialize,
            metadata,
            options,
            done,
          ),
        );
      return;
    }
    const call = requestStream
      ? client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadata, options)
      : client.makeServerStreamRequest(
          path,
          requestSerialize,
          responseDeserialize,
          requests[0],
          metadata,
          options,
        );
    call.on("data", (answer: unknown) => received.push(answer));
    call.on("error", reject);
    call.on("status", ({ code }: { code: status }) => {
      if (code === status.OK) resolve(received);
    });
    if ("write" in call) send(call as unknown as Parameters<typeof send>[0]);
  });
}

function named(service: ServiceDefinition, name: string): MethodDefinition<unknown, unknown> {
  const found = Object.entries(service).find(([key]) => key.toLowerCase() === name.toLowerCase());
  if (found === undefined) throw new Error(`no method ${name}`);
  return found[1];
}

describe("generated definitions", () => {
  it.each(Object.entries(generators))(
    "C4 %s: all four kinds register and answer",
    async (_name, generator) => {
      const { service, handlers, request, idOf } = generator;
      await using wall = await secured({
        authorization: shopPolicy,
        register: (server) => server.addService(service, handlers),
      });
      const client = wall.client();
      const metadata = toMetadata(await wall.authorized());
      const ids = async (name: string, requests: readonly unknown[]): Promise<readonly unknown[]> =>
        (await answers(client, named(service, name), requests, metadata)).map(idOf);
      const order = (id: string): unknown => (service === grpcTools ? new Order().setId(id) : request(id));
      expect(await ids("getOrder", [request("7")])).toEqual(["7"]);
      expect(await ids("uploadOrders", [order("1"), order("2")])).toEqual(["1+2"]);
      expect(await ids("listOrders", [request("8")])).toEqual(["8", "8"]);
      expect(await ids("trackOrders", [request("3"), request("4")])).toEqual(["3", "4"]);
    },
  );

  it.each(Object.entries(generators))(
    "C4 %s: a method without a handler is a ConfigError",
    (_name, { service }) => {
      const incomplete = { getOrder() {}, uploadOrders() {}, trackOrders: "later" };
      const define = (): unknown =>
        defineHandlers<ShopHandlers>(service, incomplete as unknown as HandlersFrom<ShopHandlers>);
      expect(define).toThrow(ConfigError);
      expect(define).toThrow(
        /\/shop\.v1\.Shop\/ListOrders: no handler[\s\S]*\/shop\.v1\.Shop\/TrackOrders: no handler/,
      );
    },
  );

  it.each([null, undefined, "handlers"])("C4 %j instead of handlers is a ConfigError", (handlers) => {
    const wrong = handlers as unknown as HandlersFrom<ShopHandlers>;
    expect(() => defineHandlers<ShopHandlers>(protoLoader, wrong)).toThrow(ConfigError);
  });
});
