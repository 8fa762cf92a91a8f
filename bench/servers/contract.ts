// The contract that every server serves, and the handlers that all servers made of grpc-js share.
import { fileURLToPath } from "node:url";
import {
  type handleBidiStreamingCall,
  type handleServerStreamingCall,
  type handleUnaryCall,
  loadPackageDefinition,
  type ServiceDefinition,
  type sendUnaryData,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import type { CallKind } from "../process/protocol.ts";

export interface Message {
  readonly payload: Uint8Array;
}

export interface Request extends Message {
  readonly messages: number;
}

/** Beside this program's folder in the build, as in the sources. */
const protoFile = fileURLToPath(new URL("../proto/bench.proto", import.meta.url));

const definitions = loadSync(protoFile);

/** The contract's four methods. */
export const benchService: ServiceDefinition = serviceDefinition("bench.v1.Bench");

function serviceDefinition(name: string): ServiceDefinition {
  const loaded = loadPackageDefinition(definitions);
  const service = name
    .split(".")
    .reduce<unknown>(
      (at, part) => (typeof at === "object" && at !== null ? Reflect.get(at, part) : undefined),
      loaded,
    );
  if (typeof service !== "function" || !("service" in service))
    throw new Error(`no service ${name} in ${protoFile}`);
  return service.service as ServiceDefinition;
}

/** What the contract was written in, for servers that want descriptors. */
export function fileDescriptors(): readonly Uint8Array[] {
  const request = definitions["bench.v1.Request"];
  const files = request !== undefined && "format" in request ? request.fileDescriptorProtos : undefined;
  if (!Array.isArray(files)) throw new Error("bench.v1.Request is no message");
  return files;
}

export const paths: Readonly<Record<CallKind | "hold", string>> = {
  unary: "/bench.v1.Bench/Unary",
  serverStream: "/bench.v1.Bench/ServerStream",
  bidiStream: "/bench.v1.Bench/BidiStream",
  hold: "/bench.v1.Bench/Hold",
};

export function pathOfMany(method: number): string {
  return `/bench.v1.Many/M${method}`;
}

/** A service of that many methods, each like `Unary`. */
export function manyMethods(count: number): ServiceDefinition {
  const { Unary } = benchService;
  if (Unary === undefined) throw new Error("the contract has no Unary");
  return Object.fromEntries(
    Array.from({ length: count }, (_, at) => [
      `M${at}`,
      { ...Unary, path: pathOfMany(at), originalName: `m${at}` },
    ]),
  );
}

const unary: handleUnaryCall<Request, Message> = (call, callback) =>
  callback(null, { payload: call.request.payload });

const serverStream: handleServerStreamingCall<Request, Message> = (call) => {
  const { payload, messages } = call.request;
  let left = messages;
  const write = (): void => {
    while (left > 0) {
      left -= 1;
      if (!call.write({ payload })) return void call.once("drain", write);
    }
    call.end();
  };
  write();
};

const bidiStream: handleBidiStreamingCall<Request, Message> = (call) => {
  call.on("data", ({ payload }: Request) => {
    if (call.write({ payload })) return;
    call.pause();
    call.once("drain", () => call.resume());
  });
  call.on("end", () => call.end());
};

/** The calls that wait to be answered. */
const waiting: (() => void)[] = [];

export function heldCalls(): number {
  return waiting.length;
}

export function releaseHeldCalls(): void {
  for (const answer of waiting.splice(0)) answer();
}

const hold = ({ request }: { readonly request: Request }, callback: sendUnaryData<Message>): void => {
  waiting.push(() => callback(null, { payload: request.payload }));
};

export const handlers: UntypedServiceImplementation = { unary, serverStream, bidiStream, hold };

/** Handlers of `manyMethods(count)`. */
export function manyHandlers(count: number): UntypedServiceImplementation {
  return Object.fromEntries(Array.from({ length: count }, (_, at) => [`M${at}`, unary]));
}
