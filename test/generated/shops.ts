// The service of shop.proto as each generator makes it, and calls of its methods whose messages are bytes.
import { Buffer } from "node:buffer";
import { createRequire } from "node:module";
import { Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { type Client, type Metadata, type ServiceDefinition, type StatusObject, status } from "@grpc/grpc-js";
import type { MethodKind } from "../../src/grpc/method.ts";
import { inTime } from "../harness/time.ts";
import { ShopService as protoLoader } from "./proto-loader.ts";
import { shopDefinition as protobufTs } from "./protobuf-ts.ts";
import { ShopService as tsProto } from "./ts-proto.ts";

// CommonJS as grpc-tools writes it, loaded as its users load it.
const require = createRequire(import.meta.url);
export const { ShopService: grpcTools } =
  require("./shop_grpc_pb.cjs") as typeof import("./shop_grpc_pb.cjs");
export const { Order } = require("./shop_pb.cjs") as typeof import("./shop_pb.cjs");

export const descriptorSet: string = fileURLToPath(new URL("./shop.binpb", import.meta.url));

export interface Generator {
  readonly service: ServiceDefinition;
  readonly descriptorSet?: string;
  readonly answer: () => unknown;
}

export const generators: Readonly<Record<string, Generator>> = {
  "proto-loader": { service: protoLoader, answer: () => ({ id: "" }) },
  "grpc-tools": { service: grpcTools, descriptorSet, answer: () => new Order() },
  "ts-proto": { service: tsProto, descriptorSet, answer: () => ({ id: "", owner: "" }) },
  "protobuf-ts": { service: protobufTs, descriptorSet, answer: () => ({ id: "", owner: "" }) },
};

export type Answer = (error: null, answer: unknown) => void;
export interface AnyCall extends NodeJS.EventEmitter {
  readonly request: unknown;
  write(answer: unknown): void;
  end(): void;
}

/** The same four handlers under the names of every generator; `seen` counts the messages that reached them. */
export function handlersThat(answer: () => unknown, seen: unknown[]): Record<string, unknown> {
  const handlers = {
    getOrder(call: AnyCall, callback: Answer) {
      seen.push(call.request);
      callback(null, answer());
    },
    uploadOrders(call: AnyCall, callback: Answer) {
      call.on("data", (message) => seen.push(message)).on("end", () => callback(null, answer()));
    },
    listOrders(call: AnyCall) {
      seen.push(call.request);
      call.write(answer());
      call.end();
    },
    trackOrders(call: AnyCall) {
      call.on("data", (message) => {
        seen.push(message);
        call.write(answer());
      });
      call.on("end", () => call.end());
    },
  };
  return Object.fromEntries(
    Object.entries(handlers).flatMap(([name, handler]) => [
      [name, handler],
      [name[0]?.toUpperCase() + name.slice(1), handler],
    ]),
  );
}

export const methods: Readonly<Record<MethodKind, string>> = {
  unary: "GetOrder",
  client_stream: "UploadOrders",
  server_stream: "ListOrders",
  bidi_stream: "TrackOrders",
};

const asIs = (bytes: Buffer): Buffer => bytes;

/** The name of the status of a call whose messages are these bytes. */
export async function told(...call: Parameters<typeof statusOf>): Promise<string> {
  const { code } = await statusOf(...call);
  return status[code] ?? String(code);
}

export async function statusOf(
  client: Client,
  path: string,
  kind: MethodKind,
  sent: Metadata,
  messages: readonly Buffer[],
): Promise<StatusObject> {
  return new Promise((resolve) => {
    const options = { deadline: inTime() };
    const first = messages[0] ?? Buffer.alloc(0);
    const ignore = (): void => {};
    const call = {
      unary: () => client.makeUnaryRequest(path, asIs, asIs, first, sent, options, ignore),
      client_stream: () => client.makeClientStreamRequest(path, asIs, asIs, sent, options, ignore),
      server_stream: () => client.makeServerStreamRequest(path, asIs, asIs, first, sent, options),
      bidi_stream: () => client.makeBidiStreamRequest(path, asIs, asIs, sent, options),
    }[kind]();
    call.on("status", resolve);
    call.on("error", ignore);
    if (kind === "server_stream" || kind === "bidi_stream") call.on("data", ignore);
    if (call instanceof Writable) {
      for (const message of messages) call.write(message);
      call.end();
    }
  });
}

export function withId(id: string): Buffer {
  return Buffer.concat([Buffer.from([10, id.length]), Buffer.from(id)]);
}
